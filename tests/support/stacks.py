"""`persia-launcher up`, and other processes that say how far they are, for tests."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from typing_extensions import Self

from tests.support.golden import GOLDEN
from tests.support.places import ROOT
from tests.support.servers import PATIENCE, wait_until

LAUNCHER = Path(sys.executable).with_name("persia-launcher")
MIX = GOLDEN / "mix"


class Logged:
    """A process that is told from its output how far it is. With `with`, it gets a Ctrl-C at the end."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)

    def said(self, pattern: str) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.log.read_text())
            assert match or self.process.poll() is None, self.log.read_text()
            return match

        match: re.Match[str] = wait_until(found, f"it says {pattern!r}")
        return match

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE)


class Up(Logged):
    """`persia-launcher up` in a process of its own."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        metrics: bool = False,
        security: Mapping[str, object] | None = None,
        **infer_config: object,
    ) -> None:
        directory.mkdir(exist_ok=True)
        config = directory / "global_config.yaml"
        infer_config |= {"embedding_checkpoint": str(MIX / "ckpt")}
        common = {"infer_config": infer_config, "metrics_config": {"enable_metrics": metrics}}
        config.write_text(
            yaml.safe_dump({"common_config": common, **({} if security is None else {"security": dict(security)})})
        )
        self.state = directory / "state"
        command = [str(LAUNCHER), "up", "--global-config", str(config), "--state", str(self.state)]
        command += ["--embedding-config", str(MIX / "embedding_config.yml"), *arguments]
        super().__init__(command, directory / "up.log")

    def children(self) -> dict[int, str]:
        found = {}
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
                for pid in task.read_text().split():
                    found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found
