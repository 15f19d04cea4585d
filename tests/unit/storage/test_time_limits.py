"""Calls that have no end of their own are given up, and a name node that hangs is a problem like one that is away."""

from __future__ import annotations

import socket
import threading

import pytest

from persia.storage.problems import StoreUnavailable
from persia.storage.time_limits import CALL, within
from tests.support.servers import PATIENCE, wait_until


def test_a_call_that_ends_in_time_is_as_if_there_were_no_limit() -> None:
    assert within(PATIENCE, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(PATIENCE, lambda: 1 // 0)
    with pytest.raises(TimeoutError, match="its own"):
        within(PATIENCE, _times_out)


def _times_out() -> None:
    raise TimeoutError("its own")


def test_one_that_does_not_goes_on_alone() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def call() -> None:
        may_end.wait()
        ended.set()

    with pytest.raises(TimeoutError, match=r"no answer came within 0\.01 s"):
        within(0.01, call)
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(PATIENCE)


def test_a_name_node_that_takes_a_request_and_answers_nothing() -> None:
    pytest.importorskip("hdfs_native")
    from persia.storage.hdfs import HdfsStore, Patience

    patience = Patience(read=0.05, write=0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        store = HdfsStore(f"hdfs://127.0.0.1:{listener.getsockname()[1]}/ctr", patience=patience)
        for ask in (lambda: store.stat("a"), lambda: store.directories(), lambda: store.create("a", b"a")):
            with pytest.raises(StoreUnavailable, match=r"no answer came within 0\.05 s; it is tried again later.*hdfs://"):
                ask()
    # Or they would come back while the interpreter ends, which the library does not survive.
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == CALL], "the calls have ended")
