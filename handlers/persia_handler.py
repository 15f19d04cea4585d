"""A TorchServe handler for a TorchScript model that takes `(List[Tensor] dense, List[Tensor] embeddings)`.

A request's `input` has the byte batch as `batch`, or the JSON form of its features; other keys say how the scores come back
(persia.torchserve.scores). Each batch is checked against the archive's signature, and put into the order of the model
(persia.signature_check). Settings stand in the archive's model-config.yaml under `persia` (persia.torchserve.settings).

TorchServe wants exactly one class in a handler's file, so there is no other one here.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException

from persia import _core
from persia.ctx import Features, InferCtx
from persia.errors import DeadlineExceeded, InvalidInput, PersiaError, TooLarge
from persia.handlers.answer_details import ModelIdentity, details_of, read_archive_signature
from persia.handlers.answers import answer_of, format_of
from persia.handlers.drift_hook import request_id, watch_answers, watch_of_model
from persia.handlers.inputs import RequestFeatures, as_inputs, wants_details, wants_headers
from persia.handlers.refusals import exception_of
from persia.signature_check import SignatureCheck
from persia.torchserve.details import detail_headers, with_details
from persia.torchserve.scores import BATCH, BODY, DEADLINE, JSON
from persia.torchserve.settings import handler_settings

log = logging.getLogger(__name__)
T = TypeVar("T")

# Lookups at the same time, of requests that TorchServe put together: they mostly wait.
LOOKUPS = 32

# What TorchServe adds to answers between worker and front end, and then some.
ANSWER_FRAMES = 64 << 10

# The first calls of a TorchScript model are those in which it is specialised.
WARM_UP_CALLS = 3
WARM_UP_SECONDS = 2.0


class PersiaHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """Subclasses may override preprocess, inference and postprocess; each gets and gives one item for each request.

    preprocess may give None for a request whose caller waits no longer: the other two do not get that one.
    """

    def initialize(self, context: Any) -> None:
        """Loads the model. The embedding servers need not be there yet: a worker that waited for them would be killed."""
        settings = handler_settings(getattr(context, "model_yaml_config", None))
        logging.getLogger().setLevel(settings["log_level"])
        torch.set_num_threads(settings["threads"])
        as_torchscript(context)
        super().initialize(context)
        self.identity = ModelIdentity(context.manifest["model"], Path(self.model_pt_path))
        self.signature = read_archive_signature(Path(context.system_properties["model_dir"]))
        drop = settings["extra_features"] == "drop"
        self.check = SignatureCheck(self.signature, drop) if self.signature is not None else None
        self.non_finite_scores = settings["non_finite_scores"]
        self.persia_context = InferCtx(
            settings["addresses"],
            self.device.index if self.device.type == "cuda" else None,
            global_config=settings["global_config"],
            embedding_config=settings["embedding_config"],
            timeout=settings["timeout_ms"] / 1000,
            expects=self.signature.features if self.signature is not None else None,
        )
        self.timeout = settings["timeout_ms"] / 1000
        self.max_answer = settings["max_answer_mib"] << 20
        self.threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
        self.drift = watch_of_model(context)
        if settings["warm_up"] is not None:
            self.warm_up(Path(context.system_properties["model_dir"]) / settings["warm_up"])

    def warm_up(self, path: Path) -> None:
        """Scores a batch some times, if its embeddings can be had."""
        request = {BATCH: path.read_bytes()}
        end = time.monotonic() + WARM_UP_SECONDS
        try:
            self.persia_context.wait_for_serving(WARM_UP_SECONDS)
            for _ in range(WARM_UP_CALLS):
                self.inference([self.features_of(request, max(0.001, end - time.monotonic()))])
        except Exception as error:  # also of a subclass that is not ready yet: no worker dies of it
            log.warning("not warmed up: %s: %s", type(error).__name__, error)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """One answer for each request. TorchServe fails all of them with the one error that is raised."""
        self.context = context
        try:
            answers = self.answers_of(data)
            if (size := sum(map(len, answers))) > (most := self.max_answer - ANSWER_FRAMES):
                what = "an answer" if len(data) == 1 else f"{len(data)} answers, which go together,"
                limit = f"{most} bytes ({self.max_answer >> 20} MiB, less what TorchServe adds)"
                raise TooLarge(f"expected {what} of at most {limit}, got {size}: ask for `raw`, or for less")
            return answers
        except PredictionException:  # of a subclass
            raise
        except PersiaError as error:
            raise exception_of(error) from error
        except Exception as error:
            if out_of_memory(error):
                raise PredictionException(f"out of memory: {last_line(error)}", 413) from error
            log.exception("the model failed")
            raise PredictionException(f"the model failed: {last_line(error)}", 500) from error

    def answers_of(self, data: list[dict[str, Any]]) -> list[bytes]:
        """One for each request; empty for one that is late, which is no reason to fail those that came with it."""
        inputs = [request if BATCH in request else self.inputs_of(data, i) for i, request in enumerate(data)]
        found = self.preprocess(inputs)
        in_time = [i for i, features in enumerate(found) if features is not None]
        if not in_time:
            raise DeadlineExceeded(f"the time of all {len(data)} callers was over before their embeddings came")
        scores = self.inference([features for features in found if features is not None])
        if self.drift is not None:
            names = [request_id(data[i], self.context, i) for i in in_time]
            watch_answers(self.drift, names, [found[i] for i in in_time], scores)
        answers = [b""] * len(data)
        for i, answer in zip(in_time, self.postprocess(scores, [inputs[i] for i in in_time]), strict=True):
            if BODY in data[i] and format_of(inputs[i]) == JSON:
                self.context.set_response_content_type(i, "application/json")
            in_body = wants_details(inputs[i])
            if in_body or wants_headers(self.context.get_all_request_header(i)):
                details = details_of(self.identity, getattr(found[i], "lookup", None))
                for name, value in detail_headers(details).items():
                    self.context.set_response_header(i, name, value)
                if in_body:
                    answer = with_details(answer, details, format_of(inputs[i]) == JSON)
            answers[i] = answer
        return answers

    def inputs_of(self, data: list[dict[str, Any]], i: int) -> dict[str, Any]:
        """A request that did not come with a byte batch, with one."""
        return self.named(i, len(data), as_inputs, data[i], self.context.get_all_request_header(i), self.signature)

    def preprocess(self, data: list[dict[str, Any]]) -> list[Features | None]:
        """Requests -> their tensors. Several are looked up at the same time, and are given up at the same time."""
        end = time.monotonic() + self.timeout
        if len(data) == 1:
            return [self.features_of(data[0], self.seconds_left(data[0], end))]
        return list(self.threads.map(self.features_in_time, data, range(len(data)), repeat(len(data)), repeat(end)))

    def inference(self, data: list[Features], *args: Any, **kwargs: Any) -> list[Any]:
        """Tensors -> what the model answers: a tensor, a tuple or list of tensors, or a dict of them."""
        with torch.inference_mode():
            return [self.model(features.dense, features.embeddings) for features in data]

    def postprocess(self, data: list[Any], requests: list[dict[str, Any]]) -> list[bytes]:
        """Scores -> what goes over the wire, as each request asks for it."""
        return [answer_of(scores, request, self.non_finite_scores) for scores, request in zip(data, requests, strict=True)]

    def features_of(self, request: dict[str, Any], seconds: float) -> RequestFeatures:
        """The tensors of a request's batch."""
        format_of(request)  # before anything is done for it
        batch = request.get(BATCH)
        if not isinstance(batch, (bytes, bytearray)):
            got = sorted(request) or "nothing"
            also = "over HTTP a body of Content-Type application/json is taken, too"
            raise InvalidInput(f"expected a byte batch as `{BATCH}` in the input, got {got}; {also}")
        end = time.monotonic() + seconds
        decoded = _core.decode_batch(bytes(batch))  # as bytes, which the decoder need not copy before it checks them
        if self.check is None:
            return RequestFeatures.of(self.persia_context.get_embedding_from_decoded(decoded, end=end))
        placing, dense = self.check.place(decoded)
        found = self.persia_context.get_embedding_from_decoded(decoded, dense=dense, end=end)
        self.check.check_embeddings(placing, found.lookup.shapes, dense)
        return RequestFeatures.of(found, placing)

    def features_in_time(self, request: dict[str, Any], i: int, count: int, end: float) -> Features | None:
        """Of one of several: None if the caller's time is over first. What is wrong fails all of them, and says whose it is."""
        try:
            features: Features = self.named(i, count, lambda: self.features_of(request, self.seconds_left(request, end)))
            return features
        except DeadlineExceeded:
            if self.caller_seconds(request) < end - time.monotonic():
                return None
            raise  # `timeout_ms` is over, and the caller waits to hear it

    def named(self, i: int, count: int, work: Callable[..., T], *arguments: Any) -> T:
        """Does some work for one of several requests; an error that is the request's own says which one it was."""
        try:
            return work(*arguments)
        except (InvalidInput, TooLarge) as error:
            if count == 1:
                raise
            kind = TooLarge if isinstance(error, TooLarge) else InvalidInput
            raise kind(f"request {i + 1} of {count} that TorchServe put together: {error}") from error

    def seconds_left(self, request: dict[str, Any], end: float) -> float:
        """What the embeddings may take. Nobody waits for work that is late, so it is not begun."""
        left = self.caller_seconds(request)
        if left <= 0:
            raise DeadlineExceeded(f"the caller's time was over {-left:.3f} s before its request was reached")
        return min(end - time.monotonic(), left)

    def caller_seconds(self, request: dict[str, Any]) -> float:
        """How long the caller still waits, by its own word; negative if it does no longer."""
        deadline = request.get(DEADLINE)
        if deadline is None:
            return math.inf
        try:
            return int(bytes(deadline)) / 1000 - time.time()
        except (ValueError, OverflowError):  # no number, or one of 400 digits
            raise InvalidInput(f"expected milliseconds since 1970 as `{DEADLINE}`, got {bytes(deadline)[:40]!r}") from None


def as_torchscript(context: Any) -> None:
    """TorchServe loads TorchScript from files that end in .pt only; Persia's guide has .pth."""
    model = context.manifest["model"]
    directory, name = Path(context.system_properties["model_dir"]), model.get("serializedFile", "")
    if name.endswith(".pth") and "modelFile" not in model:
        renamed = f"{name[:-4]}.pt"
        with suppress(FileExistsError):  # a real one, or another worker was first
            os.symlink(name, directory / renamed)
        model["serializedFile"] = renamed


def out_of_memory(error: Exception) -> bool:
    """TorchScript raises a RuntimeError like any other, on the CPU and on GPUs."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in ("can't allocate memory", "out of memory"))


def last_line(error: Exception) -> str:
    """TorchScript puts its stack before the reason."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
