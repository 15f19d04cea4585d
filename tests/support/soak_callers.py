"""Callers that ask a model server at a steady pace for a long time, over both wires, and check every answer."""

from __future__ import annotations

import http.client
import itertools
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import grpc

from persia.torchserve.schema import new_message, open_channel, predictions_call

__all__ = ["Callers", "Interval", "wires"]

PATIENCE = 900.0  # longer than the whole run may stand still because something else is measured
IDLE_SECONDS = 20.0  # after which a connection of HTTP/1.1 is made anew, as pools of connections do: a server may close it then
DIED = "Worker died."
LARGE = "x" * 200_000
LARGE_EVERY, GIVES_UP_EVERY, NEW_CONNECTION_EVERY = 50, 200, 500  # requests of a caller


class RequestFailedError(Exception):
    """In the server's words."""


class Wire(Protocol):
    def ask(self, text: str) -> str:
        """Raises RequestFailedError."""

    def give_up(self, text: str) -> None:
        """Asks, and leaves before the answer comes."""

    def close(self) -> None:
        """The next request makes a new connection."""


class GrpcWire:
    def __init__(self, address: str, model: str) -> None:
        self._address, self._model = address, model
        self._channel: grpc.Channel | None = None

    def ask(self, text: str) -> str:
        try:
            return bytes(self._call(text).result().prediction).decode()
        except grpc.RpcError as error:
            raise RequestFailedError(error.details()) from error

    def give_up(self, text: str) -> None:
        self._call(text).cancel()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _call(self, text: str) -> Any:
        if self._channel is None:
            self._channel = open_channel(self._address)
        request = new_message("PredictionsRequest", model_name=self._model, input={"do": text.encode()})
        return predictions_call(self._channel).future(request, timeout=PATIENCE)


class RestWire:
    def __init__(self, address: str, model: str) -> None:
        self._address, self._path = address, f"/predictions/{model}"
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def ask(self, text: str) -> str:
        try:
            answer = self._send(text).getresponse()
            body = answer.read().decode()
        except OSError as error:
            self.close()
            raise RequestFailedError(f"the connection failed: {error}") from error
        if answer.will_close:
            self.close()
        if answer.status != 200:
            raise RequestFailedError(body)
        return body

    def give_up(self, text: str) -> None:
        self._send(text)
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, text: str) -> http.client.HTTPConnection:
        if time.monotonic() - self._used > IDLE_SECONDS:
            self.close()
        self._used = time.monotonic()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address, timeout=PATIENCE)
        self._connection.request("POST", self._path, text.encode(), {"Content-Type": "text/plain"})
        return self._connection


def wires(grpc_address: str, rest_address: str, model: str, each: int = 2) -> list[Wire]:
    """So many callers over gRPC, and as many over REST."""
    return [wire for _ in range(each) for wire in (GrpcWire(grpc_address, model), RestWire(rest_address, model))]


class Interval(NamedTuple):
    """What became of the requests since the last one."""

    answered: int
    given_up: int
    died: int  # with the worker that had them
    lost: list[str]  # in the server's words
    seconds: list[float]  # that each answer took


class Callers:
    """One thread for each wire. Thread safety: one thread begins, takes and ends."""

    def __init__(self, wires: list[Wire]) -> None:
        self._wires = wires
        self._lock = threading.Lock()  # over what follows
        self._interval = Interval(0, 0, 0, [], [])
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, rate: float | None) -> None:
        """rate: requests a second of all of them together; None: each asks again as soon as it is answered."""
        pause = 0.0 if rate is None else len(self._wires) / rate
        self._done.clear()
        self._threads = [
            threading.Thread(target=self._run, args=(wire, pause, index / len(self._wires)), name=f"caller-{index}")
            for index, wire in enumerate(self._wires)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """When every request that is on its way has its answer."""
        self._done.set()
        for thread in self._threads:
            thread.join()
        for wire in self._wires:
            wire.close()

    def take(self) -> Interval:
        """What became of the requests since it was asked last."""
        with self._lock:
            taken, self._interval = self._interval, Interval(0, 0, 0, [], [])
        return taken

    def most(self, seconds: float) -> float:
        """How many requests a second are answered when nobody pauses: the median of ten parts of so many seconds."""
        self.begin(None)
        rates = []
        for _ in range(10):
            began = time.monotonic()
            self._done.wait(seconds / 10)
            rates.append(self.take().answered / (time.monotonic() - began))
        self.end()
        self.take()
        return statistics.median(rates)

    def _run(self, wire: Wire, pause: float, begins_after: float) -> None:
        """A caller that has come late does not catch up: its next request is due a pause later."""
        due = time.monotonic() + begins_after * pause
        for number in itertools.count(1):
            self._done.wait(max(0.0, due - time.monotonic()))
            if self._done.is_set():
                return
            due = max(due, time.monotonic() - pause) + pause
            self._ask(wire, number)

    def _ask(self, wire: Wire, number: int) -> None:
        text = LARGE if number % LARGE_EVERY == 0 else f"number {number}"
        if number % NEW_CONNECTION_EVERY == 0:
            wire.close()
        if number % GIVES_UP_EVERY == 0:
            wire.give_up(f"echo {text}")
            return self._note(lambda now: now._replace(given_up=now.given_up + 1))
        began = time.monotonic()
        try:
            answer = wire.ask(f"echo {text}")
        except RequestFailedError as error:
            words = str(error)
            if DIED in words:
                return self._note(lambda now: now._replace(died=now.died + 1))
            return self._note(lambda now: now._replace(lost=[*now.lost, words]))
        if answer != text:
            words = f"expected {text[:40]!r} of {len(text)} letters, got {answer[:40]!r} of {len(answer)}"
            return self._note(lambda now: now._replace(lost=[*now.lost, words]))
        took = time.monotonic() - began
        with self._lock:
            self._interval.seconds.append(took)
            self._interval = self._interval._replace(answered=self._interval.answered + 1)

    def _note(self, change: Callable[[Interval], Interval]) -> None:
        with self._lock:
            self._interval = change(self._interval)
