"""A TorchServe as one process: started, awaited until it can answer, stopped with all that it left behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from persia.errors import NotFound, Unavailable
from persia.system.address import join_address, open_listener
from persia.system.java import find_java
from persia.system.lock import lock_file
from persia.system.process import ends_with_parent
from persia.torchserve.run.options import Directories, Options, command, environment, log4j2, properties
from persia.torchserve.state import KEY_FILE
from persia.torchserve.tokens import Tokens

__all__ = ["TorchServe"]

# Of logs and sockets; an archive that does not fit is told by TorchServe.
ROOM_BYTES = 1 << 20
CONNECT_SECONDS = 5.0


class TorchServe:
    """Not safe for use by several threads. start() once; stop() at the end, also after a failure.

    state: a directory of its own, which is locked. What a TorchServe that was killed left in it is removed.
    """

    def __init__(self, options: Options, state: Path) -> None:
        self._wanted = options
        self.directories = Directories(state.absolute())
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._aborted = False
        self._log_begins: dict[str, int] = {}

    @property
    def address(self) -> str:
        """Of gRPC inference."""
        return join_address(_reachable(self.options.host), self.options.port)

    @property
    def management_address(self) -> str:
        return f"127.0.0.1:{self.options.management_port}"

    @property
    def health_address(self) -> str:
        """Where the launcher answers for it."""
        return join_address(_reachable(self.options.host), self.options.health_port)

    @property
    def health_listener(self) -> str:
        return join_address(self.options.host, self.options.health_port)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Starts the JVM and returns at once. Raises NotFound without Java or TorchServe, Unavailable if a port is taken."""
        java, ts_home = find_java(), _ts_home()
        self.directories.make()
        self._take_lock()
        self._sweep()
        self.options = _with_ports(self._wanted)
        self._check_room()
        self.directories.config.write_text(properties(self.options, self.directories))
        self.directories.log_config.write_text(log4j2(self.directories))
        self._log_begins = {path.name: path.stat().st_size for path in self.directories.logs.glob("*_log.log")}
        self.directories.work.mkdir(mode=0o700)
        with (self.directories.logs / "java.log").open("wb") as log:
            self._process = subprocess.Popen(
                # If the launcher is killed, TorchServe drains and ends too.
                ends_with_parent(command(java, ts_home, sys.executable, self.options, self.directories)),
                cwd=self.directories.work,
                env=environment(self.options, self.directories),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the whole group of a terminal: it would kill the workers while their requests are drained.
                start_new_session=True,
                # The directory is in use for as long as the JVM runs, should the launcher be killed.
                pass_fds=[self._lock] if self._lock is not None else [],
            )

    def tokens(self) -> Tokens:
        """For ourselves, also before anybody else has them."""
        return Tokens(file=self.directories.work / KEY_FILE) if self.options.tokens else Tokens()

    def publish_tokens(self) -> None:
        """From here on callers find them. As a link: TorchServe may be asked for new ones."""
        if self.options.tokens:
            new = self.directories.key_file.with_name(f"{KEY_FILE}.new")
            new.unlink(missing_ok=True)
            new.symlink_to((self.directories.work / KEY_FILE).relative_to(self.directories.state))
            new.replace(self.directories.key_file)

    def listens(self) -> bool:
        """Whether its listener of HTTP takes connections; it closes that first when it is asked to end."""
        family: int = socket.AF_UNIX
        address: str | tuple[str, int] = str(self.directories.http_management)
        if self.options.http_management_port is not None:
            family, address = socket.AF_INET, ("127.0.0.1", self.options.http_management_port)
        with socket.socket(family) as connection:
            connection.settimeout(CONNECT_SECONDS)
            try:
                connection.connect(address)
            except OSError:
                return False
        return True

    def check(self) -> None:
        """Raises Unavailable if it has ended, with what it said."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise Unavailable(f"TorchServe ended with {code}:\n{self.log_tail()}")

    def wait(self) -> int:
        """Until it ends by itself; its exit code."""
        assert self._process is not None, "not started"
        return self._process.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The end of its logs, for a message."""
        tails = []
        for name in ("java.log", "ts_log.log", "model_log.log"):
            if text := self.logged(name).splitlines()[-lines:]:
                tails.append("\n".join([f"{self.directories.logs / name}:", *text]))
        return "\n".join(tails)

    def logged(self, name: str) -> str:
        """What stands in a log since the start: with the same state directory there is more, of earlier lives."""
        try:
            with (self.directories.logs / name).open("rb") as file:
                begin = self._log_begins.get(name, 0)
                # A log that has become too long was set aside, and the file is new.
                file.seek(begin if begin <= os.fstat(file.fileno()).st_size else 0)
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def stop(self, seconds: float) -> bool:
        """Lets requests that run and wait finish for so long, then kills; False if it had to. Removes what it left behind.

        A request that can never be answered (its worker was unregistered) would hold it up for ever.
        """
        drained = True
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                drained = False
            _kill_group(self._process.pid)  # its workers, if they are still there
            self._process.wait()
        self._sweep()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        return drained and not self._aborted

    def abort(self) -> None:
        """Ends a stop() of another thread at once: nothing is drained any more."""
        self._aborted = True
        if self._process is not None:
            _kill_group(self._process.pid)

    def _take_lock(self) -> None:
        self._lock = lock_file(self.directories.lock)
        if self._lock is None:
            raise Unavailable(
                "another TorchServe, maybe one that still drains, uses the state directory: wait for its end, or choose "
                f"another --state ({self.directories.lock} is locked)"
            )

    def _check_room(self) -> None:
        """On a full disk the JVM ends without a word. Raises OSError."""
        with tempfile.TemporaryFile(dir=self.directories.temp) as file:
            try:
                file.write(bytes(ROOM_BYTES))
                file.flush()
            except OSError as error:
                error.filename = str(self.directories.temp)
                raise

    def _sweep(self) -> None:
        """Unpacked archives, sockets and keys, which outlive a TorchServe that was killed, and keys any."""
        if self._lock is None:
            return
        for path in (self.directories.key_file, self.directories.note_socket):
            path.unlink(missing_ok=True)
        for path in self.directories.temp.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _ts_home() -> Path:
    spec = importlib.util.find_spec("ts")
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / "frontend").is_dir():
        raise NotFound(
            "expected the package torchserve, which is not installed: `pip install '.[torchserve]'` in a checkout brings it"
        )
    return Path(spec.origin).parents[1]


def _with_ports(options: Options) -> Options:
    """With free ports for those that are 0. All are tried: TorchServe says nothing that a user would understand."""
    fields = {"port": options.host, "management_port": "127.0.0.1", "health_port": options.host}
    fields |= {"http_port": options.host, "http_management_port": "127.0.0.1"}
    ports = {}
    with ExitStack() as held:
        for field, host in fields.items():
            port = getattr(options, field)
            if port is None:
                continue
            try:
                listener = held.enter_context(open_listener(host, port))
            except OSError as error:
                raise Unavailable(f"expected a free address for {field}, got {host}:{port}: {error.strerror}") from error
            ports[field] = listener.getsockname()[1]
    return replace(options, **ports)


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _kill_group(pid: int) -> None:
    # The JVM began a session, so its workers are in the group of its number.
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
