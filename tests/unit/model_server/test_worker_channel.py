"""What a worker sends when a handler has said more than the frames of the protocol take: the request fails, and no more."""

from __future__ import annotations

import mmap
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from persia._core.inference import WorkerChannel
from persia.model_server.worker_messages import REFUSAL, Prediction

MOST = 16 << 20
TOO_LONG = "x" * (MOST + 1)
PATIENCE = 60.0

Said = tuple[int, str, list[tuple[str, str, int, str, dict[str, str], bytes]], list[str]]


def said(code: int, message: str, *predictions: Prediction) -> Said:
    """The reply as the server reads it, and what the worker has for its log."""
    server, worker = socket.socketpair()
    with server, worker, server.makefile("rb") as stream, ThreadPoolExecutor() as threads:
        server.settimeout(PATIENCE)
        sent = threads.submit(WorkerChannel(worker.fileno()).reply, code, message, list(predictions))
        sent.add_done_callback(lambda _: worker.shutdown(socket.SHUT_WR))

        def number() -> int:
            return int(struct.unpack("!i", stream.read(4))[0])

        def text() -> str:
            return stream.read(number()).decode()

        code, message, read = number(), text(), []
        while (length := number()) >= 0:
            request_id = stream.read(length).decode()
            content_type, status, reason = text(), number(), text()
            headers = {text(): text() for _ in range(number())}
            read.append((request_id, content_type, status, reason, headers, stream.read(number())))
        return code, message, read, sent.result(PATIENCE)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"content_type": TOO_LONG}, f"a content type of at most {MOST} bytes from the handler, got {MOST + 1}"),
        ({"reason": TOO_LONG}, f"a reason of at most {MOST} bytes from the handler, got {MOST + 1}"),
        ({"headers": {TOO_LONG: ""}}, f"the name of a header of at most {MOST} bytes from the handler, got {MOST + 1}"),
        ({"headers": {"x": TOO_LONG}}, f"a header of at most {MOST} bytes from the handler, got {MOST + 1}"),
        ({"headers": {str(n): "" for n in range(10_001)}}, "at most 10000 headers from the handler, got 10001"),
        ({"body": mmap.mmap(-1, 1 << 31)}, f"a body of at most {(1 << 31) - 1} bytes from the handler, got {1 << 31}"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_answer_that_no_frame_takes_fails_its_own_request(wrong: dict[str, Any], what: str) -> None:
    good = Prediction("good", "text/plain", 200, "", {"x": "y"}, b"[1]")
    code, message, predictions, log = said(200, "ok", good._replace(request_id="bad", **wrong), good)
    assert (code, message, log) == (200, "ok", [f"expected {what}"])
    assert predictions == [("bad", "", 507, "", {REFUSAL: "true"}, f"expected {what}".encode()), tuple(good)]


def test_the_longest_text_is_sent() -> None:
    longest = Prediction("a", "", 200, "", {"x": "y" * MOST}, b"")
    assert said(200, "", longest) == (200, "", [tuple(longest)], [])


def test_words_that_no_frame_takes_are_described() -> None:
    words = f"expected words of at most {MOST} bytes from the handler, got {MOST + 1}"
    assert said(404, TOO_LONG) == (404, words, [], [words])
