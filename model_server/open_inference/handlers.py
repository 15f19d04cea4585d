"""A worker's handler as the Open Inference Protocol sees it: of tensors, or of bodies as TorchServe passes them on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from persia.errors import ConfigError, PersiaError, TooLarge
from persia.open_inference.declared import declared_tensors
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorRequest

from ..torchserve_modules import PredictionException, Service

__all__ = ["HandlerRefusal", "ServedHandler"]

log = logging.getLogger(__name__)

_PLAIN_PLATFORM = "torchserve"


class HandlerRefusal(PersiaError):
    """What a handler raises with a status of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[1])


class ServedHandler:
    """What a worker's handler says of itself by its attributes, and its answers by the Open Inference Protocol.

    It takes tensors if it has the methods `tensor_metadata` and `infer_tensors`: see docs/open-inference.md. With
    `requests_at_once` it says how many requests it gets at once if they wait: see docs/model-server-tuning.md.
    """

    def __init__(self, service: Service) -> None:
        """Raises ConfigError for a wrong section `open_inference` of the archive."""
        self._context = service.context
        handler = getattr(service._entry_point, "__self__", None)  # of a function there is none
        self.takes_tensors = hasattr(handler, "infer_tensors") and hasattr(handler, "tensor_metadata")
        self._handler: Any = handler
        self.requests_at_once = _requests_at_once(handler)
        model = (service.context.manifest or {}).get("model", {})
        self.name = service.context.model_name
        self.version = str(model.get("modelVersion") or "1.0")

    def metadata(self) -> ModelMetadata:
        """What the handler says of its tensors; of one that takes none what the archive says."""
        if self.takes_tensors:
            metadata: ModelMetadata = self._handler.tensor_metadata()
            return metadata
        declared = declared_tensors(getattr(self._context, "model_yaml_config", None))
        return ModelMetadata(_PLAIN_PLATFORM, declared.inputs, declared.outputs)

    def infer(self, requests: Sequence[TensorRequest]) -> Sequence[Sequence[Tensor] | PersiaError]:
        """An answer or an error for each; an error that the handler raises is that of all."""
        try:
            answers: Sequence[Sequence[Tensor] | PersiaError] = self._handler.infer_tensors(requests, self._context)
        except PersiaError as error:
            return [error] * len(requests)
        except PredictionException as error:
            return [HandlerRefusal(error.error_code, error.message)] * len(requests)
        except MemoryError:
            log.exception("the handler ran out of memory")
            return [TooLarge("out of memory")] * len(requests)
        except Exception:
            log.exception("the handler failed")
            return [PersiaError("the handler failed: see the server's log")] * len(requests)
        if len(answers) != len(requests):
            log.error("expected %d answers of infer_tensors, got %d", len(requests), len(answers))
            return [PersiaError("the handler failed: it did not answer each request")] * len(requests)
        return answers


def _requests_at_once(handler: Any) -> int:
    """One unless it says otherwise. Raises ConfigError."""
    count = getattr(handler, "requests_at_once", 1)
    if type(count) is not int or count < 1:
        raise ConfigError(f"the handler's requests_at_once: expected a whole number, 1 or more, got {count!r}")
    return count
