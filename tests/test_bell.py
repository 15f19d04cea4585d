"""A bell wakes the one who waits for it, whoever rings."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
from servers import PATIENCE

from persia.rpc.bell import Bell


def test_it_is_heard_once_however_often_it_rang() -> None:
    bell = Bell()
    assert not bell.wait(0)
    bell.ring()
    bell.ring()
    assert bell.wait(PATIENCE)
    assert not bell.wait(0)
    bell.ring()
    bell.silence()
    assert not bell.wait(0)


def test_another_thread_may_ring_it() -> None:
    bell = Bell()
    threading.Timer(0.01, bell.ring).start()
    assert bell.wait(PATIENCE)


@pytest.fixture
def alarm() -> Iterator[None]:
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.mark.usefixtures("alarm")
def test_the_thread_that_waits_may_ring_it_itself() -> None:
    """In a signal's handler here, which like a finaliser comes between any two steps."""
    bell = Bell()

    def ring(number: int, frame: FrameType | None) -> None:
        bell.ring()

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for _ in range(1000):
        assert bell.wait(PATIENCE)
