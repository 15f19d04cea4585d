"""Handlers in the test's own process, called as TorchServe calls them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ts.context import Context, RequestProcessor


class Counters(collections.Counter[str]):
    """What TorchServe's metrics do with the counters of a handler."""

    def add_counter(self, name: str, value: float) -> None:
        self[name] += int(value)


class HandlerHere:
    """A handler that has loaded the files of a directory, as of an archive that was unpacked."""

    def __init__(
        self, handler: Callable[[], Any], directory: Path, weights: str, model_config: Mapping[str, Any] | None = None
    ) -> None:
        self.context = Context("m", str(directory), {"model": {"serializedFile": weights}}, 8, None, None)
        self.context.metrics = Counters()
        self.context.model_yaml_config = dict(model_config or {})
        self.handler = handler()
        self.handler.initialize(self.context)

    def answer(self, *data: Any, explain: Sequence[int] = (), headers: Mapping[str, Any] | None = None) -> list[Any]:
        """The bodies of the answers to a batch. explain: which of its requests came to /explanations."""
        self.context.request_processor = [
            RequestProcessor({"explain": str(i in explain), **(headers or {})}) for i in range(len(data))
        ]
        return list(self.handler.handle(list(data), self.context))

    def statuses(self) -> list[int]:
        """Of the batch that was answered last."""
        return [processor.get_response_status_code() for processor in self.context.request_processor]
