"""`GET /metrics`, with `?name[]=` for those that are wanted."""

from __future__ import annotations

import logging

from persia._core.inference import Exchange

from .metrics import Metrics
from .prometheus_text import CONTENT_TYPE

__all__ = ["RestMetrics"]

log = logging.getLogger(__name__)


class RestMetrics:
    """Thread safety: any thread may use it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def answer(self, exchange: Exchange) -> None:
        """The page; raises nothing."""
        try:
            text = self._metrics.text([value for name, value in exchange.query if name == "name[]"])
        except Exception:
            log.exception("internal error of the metrics")
            exchange.respond(500, [("content-type", "text/plain")], b"see the server's log\n", close=True)
        else:
            exchange.respond(200, [("content-type", CONTENT_TYPE)], text.encode())
