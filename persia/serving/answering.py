"""How calls are answered in Python: once, message by message, or by a stream. A server's threads take turns at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias

from persia import _core

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Each", "Handler", "PythonMethod", "Stream", "StreamHandler", "Unary"]

# What a caller may leave untaken of a stream, beside what is on its way, before the next message is asked for.
MOST_UNSENT = 1 << 20

# The request's bytes, and the call: metadata, deadline, identity, whether somebody still waits, trailers.
Handler: TypeAlias = "Callable[[memoryview, _core.net.ServerCall], Buffer]"
StreamHandler: TypeAlias = "Callable[[memoryview, _core.net.ServerCall], Iterator[Buffer]]"


class PythonMethod(Protocol):
    """What answers the calls of one path. Raises what becomes the call's status."""

    takes_stream: bool

    def answer(self, call: _core.net.ServerCall) -> None:
        """One turn: a request, or the next message of an answer."""


class Unary:
    """One request, one answer."""

    takes_stream = False

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def answer(self, call: _core.net.ServerCall) -> None:
        call.reply(self._handler(_request_of(call), call))


class Each:
    """Any number of requests, each with its answer."""

    takes_stream = True

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def answer(self, call: _core.net.ServerCall) -> None:
        message = call.take_message()
        if message is None:  # the client has no more
            call.finish(0)
        else:
            call.send(self._handler(memoryview(message), call))


class Stream:
    """One request, and an answer of as many messages as its iterator gives.

    A turn is one message. The next turn comes when the caller has taken most of what was sent, so a slow caller holds up no
    thread and little memory; or when the call has ended: then the iterator is closed.
    """

    takes_stream = False

    def __init__(self, handler: StreamHandler) -> None:
        self._handler = handler
        self._under_way: dict[int, Iterator[Buffer]] = {}  # by the call's number

    def answer(self, call: _core.net.ServerCall) -> None:
        messages = self._under_way.pop(call.number, None)
        if messages is None:
            messages = iter(self._handler(_request_of(call), call))
        if call.has_ended:
            _close(messages)
            return
        for message in messages:
            call.send(message)
            self._under_way[call.number] = messages
            call.come_again(MOST_UNSENT)
            return
        call.finish(0)


def _request_of(call: _core.net.ServerCall) -> memoryview:
    message = call.take_message()
    assert message is not None, "the core gives a call of one request to nobody before it is there"
    return memoryview(message)


def _close(messages: Iterator[Buffer]) -> None:
    """A generator is told that nobody wants the rest; other iterators have nothing to be told."""
    close = getattr(messages, "close", None)
    if close is not None:
        close()
