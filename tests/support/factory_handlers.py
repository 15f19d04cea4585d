"""Handlers of handler_factory that run in the process of a test."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ts.context import Context, RequestProcessor

from persia.handlers.factory.handler import FactoryHandler, handler_factory


def linear() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Linear(2, 3)


def started(directory: Path, init: Callable[..., Any] = linear, *functions: Any, **options: Any) -> FactoryHandler:
    """config, checkpoint, gpu: of the archive; the others are init's."""
    config, checkpoint, gpu = (options.pop(key, None) for key in ("config", "checkpoint", "gpu"))
    handler = handler_factory(init, *functions, **options)()
    manifest = {"model": {"serializedFile": checkpoint} if checkpoint else {}}
    handler.initialize(Context("m", str(directory), manifest, 1, gpu, "1", model_yaml_config=config))
    return handler


class Answers(NamedTuple):
    values: list[Any]
    statuses: list[int]


def asked(handler: FactoryHandler, *samples: Any, **headers: str) -> Answers:
    """What callers get who send these samples together: JSON, without the form around it."""
    context = Context("m", "", {}, len(samples), None, "1")
    context.request_processor = [RequestProcessor({"Accept": "application/json", **headers}) for _ in samples]
    bodies = [{"data": sample if isinstance(sample, bytes) else json.dumps(sample).encode()} for sample in samples]
    answers = handler.handle(bodies, context)
    statuses = [context.get_response_status(i)[0] or 200 for i in range(len(samples))]
    parsed = [json.loads(answer) for answer in answers]
    return Answers([answer.get("output", answer.get("message")) for answer in parsed], statuses)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
