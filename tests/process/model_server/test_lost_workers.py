"""What the log and callers are told of a worker that is lost. Its process is a small script instead of the worker's module."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from persia._core.inference import ModelVersion, Reactor
from persia.model_server.worker_process import WorkerPlan, WorkerProcess
from tests.support.servers import PATIENCE, wait_until

# A model that is loaded, in the frames of the protocol: the code, words, and the end of the list of predictions.
LOADED = "struct.pack('!iii', 200, 0, -1)"
SCRIPT = """#!{python} -SE
import os, signal, socket, struct, sys
server = socket.socket(fileno=int(sys.argv[-1]))
server.recv(4096)
server.sendall({loaded})
{then}
"""

Hire = Callable[..., tuple[WorkerProcess, ModelVersion]]


@pytest.fixture
def hire(tmp_path: Path) -> Iterator[Hire]:
    """A worker that is started once, loads the model, and then does as a script says."""
    reactor = Reactor(1)
    workers: list[WorkerProcess] = []

    def hired(then: str, goodbye_seconds: float = 5.0) -> tuple[WorkerProcess, ModelVersion]:
        script = tmp_path / "worker"
        script.write_text(SCRIPT.format(python=sys.executable, loaded=LOADED, then=then))
        script.chmod(0o755)
        model = ModelVersion(
            reactor,
            "ctr",
            "1.0",
            batch_size=1,
            max_batch_delay=0.0,
            queue_size=8,
            max_body_bytes=1000,
            response_timeout=PATIENCE,
        )
        model.expect_workers(1)
        plan = WorkerPlan("ctr", tmp_path, "handler", 1, PATIENCE, -1.0, python=str(script), goodbye_seconds=goodbye_seconds)
        workers.append(WorkerProcess(9000, plan, model, None, lambda _: None, is_patient=False))
        workers[0].start()
        workers[0].wait_ready()
        return workers[0], model

    yield hired
    for worker in workers:
        worker.stop(drain=False)
        assert worker.join(PATIENCE)
    reactor.stop()


def ending(caplog: pytest.LogCaptureFixture) -> str:
    """What the log says of the worker's end."""
    words = "worker 9000 of ctr has ended: "
    lines = wait_until(lambda: [line for line in caplog.messages if line.startswith(words)], "the worker's end is in the log")
    return str(lines[0]).removeprefix(words)


def test_a_reply_that_cannot_be_read_is_described(hire: Hire, caplog: pytest.LogCaptureFixture) -> None:
    _, model = hire("server.recv(4096); server.sendall(struct.pack('!ii', 200, -2)); server.recv(1)")
    what = "it sent a reply that cannot be read: at byte 4: expected the length of a text, got -2"
    assert model.ask([], PATIENCE) == (b"", "worker died", f"Worker died: {what}")
    assert ending(caplog) == what


def test_an_answer_that_nobody_asked_for_is_described(hire: Hire, caplog: pytest.LogCaptureFixture) -> None:
    hire("server.sendall(" + LOADED + "); server.recv(1)")
    assert ending(caplog) == "it sent a reply while it had no request"


def test_a_process_that_ends_by_itself_is_not_killed_before_it_is_asked_how(
    hire: Hire, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "may_end")
    may_end = os.open(tmp_path / "may_end", os.O_RDWR)
    worker, _ = hire(f"server.close(); os.read(os.open('{tmp_path / 'may_end'}', os.O_RDONLY), 1); os._exit(3)")
    wait_until(lambda: not worker.is_ready, "the server has seen that the connection is closed")
    os.write(may_end, b"x")
    assert ending(caplog) == "exited with 3"
    os.close(may_end)


def test_a_process_that_has_closed_its_connection_and_goes_on_is_ended(hire: Hire, caplog: pytest.LogCaptureFixture) -> None:
    worker, _ = hire("server.close(); signal.pause()", goodbye_seconds=0.0)
    assert ending(caplog) == "closed its connection"
    assert worker.join(PATIENCE) and worker.pid is None


def test_who_asks_for_the_process_does_not_take_its_end_from_the_link(hire: Hire, tmp_path: Path) -> None:
    """The link answers 507 for a worker that was killed, and cannot see that of a process that somebody has waited for."""
    os.mkfifo(tmp_path / "may_end")
    may_end = os.open(tmp_path / "may_end", os.O_RDWR)
    # A child of no group that would end with its parent keeps the connection open, so that the link does not look yet.
    wait = f"os.read(os.open('{tmp_path / 'may_end'}', os.O_RDONLY), 1)"
    child = f"(os.setsid(), os.mkdir('{tmp_path / 'is_there'}'), {wait})"
    worker, _ = hire(f"{child} if os.fork() == 0 else signal.pause()")
    wait_until((tmp_path / "is_there").is_dir, "the child is there")
    process = worker.pid
    assert process is not None
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: worker.pid is None, "the process has ended")
    try:
        end = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    finally:
        os.write(may_end, b"x")
        os.close(may_end)
    assert end is not None and (end.si_code, end.si_status) == (os.CLD_KILLED, signal.SIGKILL)


FORKS = """
if os.fork() == 0:
    with open({notes!r}, "w") as notes:
        notes.write(str(os.getpid()) + os.linesep)
    signal.pause()
server.recv(1)
"""


@pytest.fixture
def child(hire: Hire, tmp_path: Path) -> tuple[WorkerProcess, int]:
    """A worker whose handler has forked, and the process that it has forked, which has the connection as well."""
    notes = tmp_path / "notes"
    worker, _ = hire(FORKS.format(notes=str(notes)))
    wait_until(lambda: notes.is_file() and notes.read_text().endswith("\n"), "the child is there")
    return worker, int(notes.read_text())


def is_there(pid: int) -> bool:
    """A process that has ended, and that nobody has asked how, is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("drain", [True, False])
def test_what_a_handler_has_forked_ends_with_its_worker(child: tuple[WorkerProcess, int], drain: bool) -> None:
    worker, forked = child
    assert is_there(forked) and os.getpgid(forked) != os.getpgid(0)
    worker.stop(drain=drain)
    assert worker.join(PATIENCE)
    wait_until(lambda: not is_there(forked), "the child has ended")


def test_a_worker_that_is_killed_takes_its_children_along(
    child: tuple[WorkerProcess, int], caplog: pytest.LogCaptureFixture
) -> None:
    worker, forked = child
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert ending(caplog) == "was ended by SIGKILL"
    wait_until(lambda: not is_there(forked), "the child has ended")
