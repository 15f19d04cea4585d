"""`handler_factory`, and the TorchServe handler that it makes of a user's functions."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from persia.errors import InvalidInput, PersiaError
from persia.handlers.refusals import with_refusals
from persia.system.lock import locked

from .answers import answer_of, wants_json
from .checkpoint import load_weights
from .extra_files import unpack_extra_files
from .failures import failure_of, memory_failure
from .inputs import value_of
from .machine import device_of, limit_gpu_memory, limit_memory
from .neighbours import depends_on_neighbours
from .samples import groups_of, rows_of, stacked, tensors_of
from .settings import FactorySettings

__all__ = ["FactoryHandler", "handler_factory"]

log = logging.getLogger(__name__)


def identity(value: Any) -> Any:
    """What stands for a function that a user does not give."""
    return value


def handler_factory(
    init_function: Callable[..., torch.nn.Module],
    preprocess_function: Callable[[Any], Any] = identity,
    postprocess_function: Callable[[Any], Any] = identity,
    install_packages: Callable[[], Any] | None = None,
    unpack_dependencies: Callable[[], Any] | None = None,
    *args: Any,
    **kwargs: Any,
) -> type[FactoryHandler]:
    """A handler class, for a variable of the caller's module, in which TorchServe finds it.

    init_function: gets args and kwargs, and returns the model. The weights of the checkpoint are loaded into it.
    preprocess_function: from one request's data to what the model takes, without a batch dimension: a tensor, a tuple of
    arguments, or a dict of named ones; numbers, arrays and lists of numbers become tensors.
    postprocess_function: from one sample's output, without a batch dimension, to what its caller gets.
    install_packages, unpack_dependencies: called before the model is made, whenever a worker starts.
    """
    functions = {
        "init_function": staticmethod(partial(init_function, *args, **kwargs)),
        "preprocess_function": staticmethod(preprocess_function),
        "postprocess_function": staticmethod(postprocess_function),
        "install_function": staticmethod(install_packages or _nothing),
        "unpack_function": staticmethod(unpack_dependencies or _nothing),
        "__module__": sys._getframe(1).f_globals["__name__"],
    }
    return type("Handler", (FactoryHandler,), functions)


def _nothing() -> None:
    """What stands for a step that a user does not need."""


class FactoryHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """preprocess, inference and postprocess get and give one item for each request: a value, or the error of this request."""

    init_function: Callable[[], torch.nn.Module]
    preprocess_function: Callable[[Any], Any]
    postprocess_function: Callable[[Any], Any]
    install_function: Callable[[], Any]
    unpack_function: Callable[[], Any]

    def initialize(self, context: Any) -> None:
        """Makes the model, and loads its weights. Raises PersiaError, OSError."""
        self.context = context
        config = getattr(context, "model_yaml_config", None) or {}
        self.settings = FactorySettings.of(config)
        self.model_dir = Path(context.system_properties["model_dir"])
        self.device = device_of(context.system_properties.get("gpu_id"), config.get("deviceType"))
        torch.set_num_threads(self.settings.threads)
        if self.settings.max_gpu_memory_mb is not None:
            limit_gpu_memory(self.settings.max_gpu_memory_mb, self.device)
        with locked(self.model_dir / ".starting"):  # no other worker of the same model: they share its folder
            self.install_packages()
            unpack_extra_files(self.model_dir)
            self.unpack_dependencies()
        if self.settings.max_memory_mb is not None:
            limit_memory(self.settings.max_memory_mb)
        self.model = _run("loading the model", partial(self.load_model, context.manifest["model"].get("serializedFile")))
        self.together = self.settings.stack and not depends_on_neighbours(self.model)
        self.initialized = True

    def install_packages(self) -> None:
        _run("install_packages", type(self).install_function)

    def unpack_dependencies(self) -> None:
        _run("unpack_dependencies", type(self).unpack_function)

    def load_model(self, checkpoint: str | None) -> torch.nn.Module:
        """checkpoint: a file in the model's folder; None leaves the weights as init_function made them."""
        model: Any = _run("init_function", type(self).init_function)
        if not isinstance(model, torch.nn.Module):
            raise InvalidInput(f"expected init_function to return a torch.nn.Module, got {type(model).__name__}")
        if checkpoint is not None:
            load_weights(model, self.model_dir / checkpoint)
        return model.eval().to(self.device)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One answer for each request. An error is its request's own."""
        self.context = context
        answers: list[Any] = with_refusals(context, self.postprocess(self.inference(self.preprocess(data))))
        return answers

    def preprocess(self, data: Sequence[dict[str, Any]]) -> list[Any]:
        """From requests to what the model takes."""
        return [_outcome(self.prepared, request, "preprocess_function") for request in data]

    def prepared(self, request: dict[str, Any]) -> Any:
        return tensors_of(self.preprocess_function(value_of(request)))

    def inference(self, data: Sequence[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """From what the model takes to what it answers."""
        outcomes = list(data)
        for group in groups_of(data) if self.together else [[i] for i in range(len(data))]:
            samples = [data[i] for i in group]
            outputs = samples if isinstance(samples[0], PersiaError) else self.outputs_of(samples)
            for i, output in zip(group, outputs, strict=True):
                outcomes[i] = output
        return outcomes

    def outputs_of(self, samples: list[Any]) -> list[Any]:
        """Of samples that are alike. If the model fails, it gets them one by one: one of them may be the reason."""
        try:
            with torch.inference_mode():
                output = self.call(stacked(samples, self.device))
            return rows_of(output, len(samples))
        except Exception as error:
            if len(samples) == 1:
                return [failure_of(error, "the model")]
            return [output for sample in samples for output in self.outputs_of([sample])]

    def call(self, batch: Any) -> Any:
        """The model, with a tuple as its arguments, a dict as its named ones, and anything else as the only one."""
        if type(batch) is tuple:
            return self.model(*batch)
        return self.model(**batch) if isinstance(batch, dict) else self.model(batch)

    def postprocess(self, data: Sequence[Any]) -> list[Any]:
        """From what the model answers to what callers get."""
        return [outcome if isinstance(outcome, PersiaError) else self.answer(outcome, i) for i, outcome in enumerate(data)]

    def answer(self, output: Any, i: int) -> str | PersiaError:
        as_json = self.settings.answers == "json" or wants_json(self.context.get_all_request_header(i))
        found = _outcome(
            lambda row: answer_of(self.postprocess_function(row), as_json), output, "postprocess_function", of_input=False
        )
        if as_json and isinstance(found, str):
            self.context.set_response_content_type(i, "application/json")
        answer: str | PersiaError = found
        return answer


def _outcome(function: Callable[[Any], Any], value: Any, where: str, *, of_input: bool = True) -> Any:
    """What the function makes of the value, or the error of this sample."""
    try:
        return function(value)
    except Exception as error:
        return failure_of(error, where, of_input=of_input)


def _run(name: str, function: Callable[[], Any]) -> Any:
    """A step before the first request. Raises PersiaError with the step's name."""
    try:
        return function()
    except PersiaError:
        raise
    except Exception as error:
        raise memory_failure(error, name) or PersiaError(f"{name} failed: {type(error).__name__}: {error}") from error
