"""How a process learns that it is to stop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import wait_until

SERVER = """
from persia.system.signals import StopSignal
stop = StopSignal()
stop.serving()
wait = stop.wait
"""
LAUNCHER = """
from persia.system.signals import events_of_signals
wait = events_of_signals().get
"""
REST = """
import signal, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
# The kernel gives the signal to the other thread: as with one that comes just before the main thread waits, nothing
# interrupts the wait itself.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("waiting", flush=True)
wait()
print("asked", flush=True)
"""


@pytest.mark.parametrize("begin", [SERVER, LAUNCHER], ids=["server", "launcher of TorchServe"])
def test_a_signal_that_does_not_interrupt_the_wait_ends_it_all_the_same(begin: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", begin + REST], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    main_thread = Path(f"/proc/{process.pid}/task/{process.pid}/stat")
    wait_until(lambda: main_thread.read_text().rpartition(")")[2].split()[0] == "S", "it waits")
    process.send_signal(signal.SIGTERM)
    try:
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert out == "asked\n"
    assert process.returncode == 0


@pytest.mark.parametrize("begin", [SERVER, LAUNCHER], ids=["server", "launcher of TorchServe"])
@pytest.mark.parametrize("command", [[], ["nohup"]], ids=["terminal", "nohup"])
def test_a_hangup_ends_it_unless_it_is_to_be_ignored(command: list[str], begin: str) -> None:
    program = begin + 'print("waiting", flush=True)\nwait()\nprint("asked")'
    process = subprocess.Popen(
        [*command, sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    (ignored,) = re.findall(r"^SigIgn:\t(.*)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert int(ignored, 16) & 1 << (signal.SIGHUP - 1) == bool(command)
    process.send_signal(signal.SIGHUP)
    if command:
        process.send_signal(signal.SIGTERM)
    try:
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "asked\n")
