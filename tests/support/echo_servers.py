"""The server of grpc_echo_server.py in a process of its own, and where it is to be found."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path

from persia.v1 import embedding_pb2 as pb
from tests.support.servers import PATIENCE, ServerProcess, wait_until

SERVICE = "test.Echo"


class EchoServer(ServerProcess[pb.StatusResponse]):
    """certificates: a directory of `persia-launcher certificates`: mutual TLS; None: plain text. anyone: clients need none."""

    def __init__(self, directory: Path, *addresses: str, certificates: Path | None = None, anyone: bool = False) -> None:
        self.certificates = certificates
        command = [sys.executable, "-m", "tests.support.grpc_echo_server"]
        if certificates:
            command += ["--certificates", str(certificates), *(["--anyone"] if anyone else [])]
        directory.mkdir(parents=True, exist_ok=True)
        self._count = len(addresses) or 1
        super().__init__(directory / "echo.log", [*command, *(addresses or ["127.0.0.1:0"])])

    @property
    def addresses(self) -> list[str]:
        self.wait_for_line(r"listening on \S+", self._count)
        return re.findall(r"listening on (\S+)\n", self.log())

    def wait_for_line(self, form: str, times: int = 1) -> None:
        """It has said so at least so many times."""

        def said() -> bool:
            assert self.process.poll() is None or self.process.returncode == 0, self.log()
            return len(re.findall(f"^{form}$", self.log(), re.MULTILINE)) >= times

        wait_until(said, f"the server says {form}")

    def wait_for_calls(self, count: int) -> None:
        """So many are under way."""

        def are() -> bool:
            self.process.send_signal(signal.SIGUSR2)
            return f"\ncalls {count}\n" in self.log()

        wait_until(are, f"the server has {count} calls")

    def counts(self) -> dict[str, int]:
        """Ends it, and returns what it counted."""
        assert self.terminate() == 0, self.log()
        counts: dict[str, int] = json.loads(self.log().rpartition("stopped with ")[2])
        return counts


__all__ = ["PATIENCE", "SERVICE", "EchoServer"]
