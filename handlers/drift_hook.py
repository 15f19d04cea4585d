"""What handlers tell their DriftWatch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persia.dense.outputs import named_outputs
from persia.drift.opening import open_watch
from persia.torchserve.scores import REQUEST_ID
from persia.torchserve.settings import handler_settings

if TYPE_CHECKING:
    from persia.drift.watch import DriftWatch

__all__ = ["request_id", "watch_answers", "watch_of_model"]


def watch_of_model(context: Any) -> DriftWatch | None:
    """As the settings under `persia` in the archive's model-config.yaml say. Raises ConfigError, NotFound."""
    settings = handler_settings(getattr(context, "model_yaml_config", None))
    model = context.manifest["model"]
    directory = Path(context.system_properties["model_dir"])
    return open_watch(settings, str(model.get("modelName", "")), str(model.get("modelVersion") or "1.0"), directory)


def watch_answers(watch: DriftWatch, features: Sequence[Any], answers: Sequence[Any], name: Callable[[int], str]) -> None:
    """Of some requests the features, and what the model answered. name: gives the id of one by its place among them.

    Features that a subclass made without a lookup are left out.
    """
    for i, each in enumerate(features):
        lookup = getattr(each, "lookup", None)
        if lookup is not None and watch.wants(lookup.shapes.item(0)):
            watch.saw_batch(lookup, partial(_arrays, answers[i]), name(i))


def request_id(request: Any, context: Any, i: int) -> str:
    """What the caller calls its request i of a batch, under the key `request_id`; else what TorchServe does."""
    given = request.get(REQUEST_ID) if isinstance(request, Mapping) else None
    if given:
        return given if isinstance(given, str) else bytes(given).decode(errors="replace")
    return str(context.get_request_id(i) or "")


def _arrays(answer: Any) -> Mapping[str | None, Any]:
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in named_outputs(answer).items()}
