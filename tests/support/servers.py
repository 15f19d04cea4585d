"""Real server processes for tests: started on a free port, awaited by what they say, stopped or killed."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import grpc
import numpy as np
import numpy.typing as npt
import yaml
from typing_extensions import Self

from persia.errors import Unavailable
from persia.v1 import embedding_pb2 as pb
from persia.v1 import embedding_pb2_grpc as pb_grpc
from persia.v1 import middleware_pb2

T = TypeVar("T")
PATIENCE = 60.0  # seconds until a condition that should have come is called a failure
SHORTEST_PAUSE, LONGEST_PAUSE = 0.001, 0.02  # seconds between two looks at what is awaited


def free_port() -> int:
    """One that nobody listens on. Below those that the kernel gives to clients, or one of them might be given to somebody."""
    for port in random.sample(range(20_000, 32_000), 1000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Asks again and again, less and less often; returns what the condition did.

    Whoever only yields the processor in between takes half of it from what is awaited.
    """
    end, pause = time.monotonic() + seconds, SHORTEST_PAUSE
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")


def once_available(call: Callable[[], T]) -> T:
    """What the call returns as soon as it is not Unavailable any more."""

    def answers() -> list[T]:
        with contextlib.suppress(Unavailable):
            return [call()]
        return []

    (answer,) = cast(list[T], wait_until(answers, "a call is answered"))
    return answer


def whole_lines(path: Path, begin: int) -> str:
    """What stands in a file that others append to, from a byte on, up to the last line that is whole.

    Readers see half of one write: where the line crosses into the next page of the file, its first half is there before the
    second, and a port that is cut short is a port too.
    """
    with path.open("rb") as file:
        file.seek(begin)
        said = file.read()  # in one go: what is appended meanwhile may not be taken for a line of its own
    return said[: said.rfind(b"\n") + 1].decode()


Status = TypeVar("Status", pb.StatusResponse, middleware_pb2.MiddlewareStatusResponse)


class ServerProcess(Generic[Status]):
    """A server in a process of its own. With `with`, it is killed at the end."""

    def __init__(self, log_path: Path, command: list[str]) -> None:
        self.log_path, self.command = log_path, command
        self.start()

    def start(self) -> None:
        """Starts it (again); returns at once."""
        with self.log_path.open("ab") as log:
            self._log_begin = log.tell()
            environment = os.environ | {"PYTHONFAULTHANDLER": "1"}
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)
        self._channel: grpc.Channel | None = None

    def log(self) -> str:
        """What it said since it was started last."""
        return whole_lines(self.log_path, self._log_begin)

    @property
    def address(self) -> str:
        def listening() -> re.Match[str] | None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log()}"
            return re.search(r"listening on (\S+)", self.log())

        match: re.Match[str] = wait_until(listening, "the server listens")
        return match[1]

    @property
    def channel(self) -> grpc.Channel:
        if self._channel is None:
            sizes = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
            self._channel = grpc.insecure_channel(self.address, options=sizes)
        return self._channel

    def ask_status(self) -> Status:
        """One call of the server's own Status."""
        raise NotImplementedError

    def status(self) -> Status:
        try:
            return self.ask_status()
        except grpc.RpcError as error:
            code = self.process.poll()
            if code is None:  # it hangs: faulthandler says where
                self.process.send_signal(signal.SIGABRT)
                self.process.wait(PATIENCE)
            raise AssertionError(
                f"no status of {self.log_path}, which {'hangs' if code is None else f'ended with {code}'}:\n{self.log()}"
            ) from error

    def wait_ready(self) -> Self:
        wait_until(lambda: self.status().ready, "the server is ready")
        return self

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        if self._channel is not None:
            self._channel.close()


class EmbeddingServer(ServerProcess[pb.StatusResponse]):
    """One shard."""

    def __init__(
        self,
        directory: Path,
        embedding_config: Path,
        *,
        checkpoint: Path | str | None = None,
        incremental_dir: Path | str | None = None,
        index: int = 0,
        count: int = 1,
        settings: dict[str, Any] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        infer = {"embedding_checkpoint": str(checkpoint)} if checkpoint else {}
        server: dict[str, Any] = dict(settings or {})
        if incremental_dir is not None:
            server |= {"enable_incremental_update": True, "incremental_dir": str(incremental_dir)}
        config = directory / f"global_{index}.yml"
        config.write_text(
            yaml.safe_dump({"common_config": {"infer_config": infer}, "embedding_parameter_server_config": server})
        )
        command = [sys.executable, "-m", "persia.embedding_server", "--port", "0", "--global-config", str(config)]
        command += ["--embedding-config", str(embedding_config), *arguments]
        command += ["--replica-index", str(index), "--replica-size", str(count)]
        super().__init__(directory / f"server_{index}.log", command)

    @property
    def stub(self) -> pb_grpc.EmbeddingServerStub:
        return pb_grpc.EmbeddingServerStub(self.channel)

    def ask_status(self) -> pb.StatusResponse:
        response: pb.StatusResponse = self.stub.Status(pb.StatusRequest(), timeout=PATIENCE, wait_for_ready=True)
        return response

    def rows(
        self, signs: npt.NDArray[np.uint64], dim: int, epoch: int = 0
    ) -> tuple[npt.NDArray[np.float32], pb.LookupResponse]:
        """epoch: whose rows are wanted; 0: the newest ones. Where the server does not have it, the answer is of epoch 0."""
        parts = np.array([0, 0, dim, 1, len(signs), 0], np.uint32).tobytes()
        response = self.stub.Lookup(pb.LookupRequest(parts=parts, signs=signs.tobytes(), epoch=epoch), timeout=PATIENCE)
        return np.frombuffer(response.numbers, np.float32).reshape(-1, dim), response

    def wait_for_packets(self, count: int) -> pb.StatusResponse:
        status: pb.StatusResponse = wait_until(
            lambda: status if (status := self.status()).packets_applied >= count else None, f"{count} packets are applied"
        )
        return status

    def metrics(self, form: str) -> list[tuple[str, str]]:
        """The groups of the lines of that form. REQUIRES: it has `--metrics-port 0`."""
        match = re.search(r"metrics on (\S+)\n", self.log())
        assert match is not None
        with urllib.request.urlopen(match[1], timeout=PATIENCE) as response:
            return re.findall(f"^{form}$", response.read().decode(), re.MULTILINE)
