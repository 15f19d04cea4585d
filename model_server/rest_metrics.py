"""`GET /metrics`, with `?name[]=` for those that are wanted."""

from __future__ import annotations

import logging

from persia._core.inference import Exchange, ExchangeQueue

from .exchanges import ExchangeThreads
from .metrics import Metrics
from .prometheus_text import CONTENT_TYPE

__all__ = ["RestMetrics"]

log = logging.getLogger(__name__)


class RestMetrics:
    """Answers what stands in a line, in a thread of its own."""

    def __init__(self, metrics: Metrics, line: ExchangeQueue) -> None:
        self._metrics = metrics
        self._threads = ExchangeThreads("metrics", line, self._answer, 1)

    def close(self, seconds: float) -> None:
        """Takes no more, and waits for so long for what is being answered."""
        self._threads.close(seconds)

    def _answer(self, exchange: Exchange) -> None:
        if exchange.segments != ["metrics"]:
            exchange.respond(404, [("content-type", "text/plain")], b"expected /metrics\n", close=True)
            return
        try:
            text = self._metrics.text([value for name, value in exchange.query if name == "name[]"])
        except Exception:
            log.exception("internal error of the metrics")
            exchange.respond(500, [("content-type", "text/plain")], b"see the server's log\n", close=True)
        else:
            exchange.respond(200, [("content-type", CONTENT_TYPE)], text.encode())
