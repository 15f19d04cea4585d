"""A TorchServe handler for a dense model of any kind (persia.dense) that takes `(List[Tensor] dense, List[Tensor] embeddings)`.

A request's `input` has the byte batch as `batch`, or the JSON form of its features; other keys say how the scores come back
(persia.torchserve.scores). Each batch is checked against the archive's signature, and put into the order of the model
(persia.signature_check). Settings stand in the archive's model-config.yaml under `persia` (persia.torchserve.settings).

TorchServe wants exactly one class in a handler's file, so there is no other one here.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException

from persia.ctx import Features, InferCtx
from persia.dense.loading import Model, load_dense
from persia.errors import DeadlineExceeded, InvalidInput, PersiaError, TooLarge
from persia.handlers.accepted import MEDIA_TYPES, with_accepted_format
from persia.handlers.answer_details import ModelIdentity, details_of, read_archive_signature
from persia.handlers.answers import answer_of, format_of
from persia.handlers.cached_answers import CachedAnswers
from persia.handlers.deadlines import seconds_left
from persia.handlers.drift_hook import request_id, watch_answers, watch_of_model
from persia.handlers.handler_traces import handler_traces
from persia.handlers.inputs import RequestFeatures, as_inputs, wants_details, wants_headers
from persia.handlers.kept_answers import ring_of
from persia.handlers.merged_runs import MergedRuns
from persia.handlers.model_errors import error_of_model, scores_of
from persia.handlers.outcomes import Outcomes
from persia.handlers.refusals import answers_of, exception_of, takes_refusals, within_limit
from persia.handlers.request_lookups import RequestLookups
from persia.handlers.shared_lookups import features_together
from persia.handlers.tensor_answers import answer_tensors
from persia.handlers.tensor_requests import metadata_of
from persia.handlers.variant_choice import VariantChoice, variant_of
from persia.open_inference.tensors import ModelMetadata, Tensor, TensorRequest
from persia.signature_check import SignatureCheck
from persia.torchserve.details import detail_headers, with_details
from persia.torchserve.scores import BATCH, BODY, JSON
from persia.torchserve.settings import handler_settings

log = logging.getLogger(__name__)

# Lookups at the same time, of requests that TorchServe put together: they mostly wait.
LOOKUPS = 32

# Requests that a model server hands over at once: beyond these, one more saves little, and waits for all.
REQUESTS_AT_ONCE = 16

# The first calls of a TorchScript model are those in which it is specialised.
WARM_UP_CALLS = 3
WARM_UP_SECONDS = 2.0


class PersiaHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """Subclasses may override preprocess, inference and postprocess; each gets and gives one item for each request.

    In an item's place preprocess and postprocess may give the PersiaError that this request is refused with, and preprocess
    None for one whose caller waits no longer: the steps after do not get these.
    """

    @property
    def requests_at_once(self) -> int:
        """How many a model server hands over at once if they wait. One where a subclass may count on that."""
        steps = ("handle", "preprocess", "inference", "postprocess")
        own = all(getattr(type(self), step) is getattr(PersiaHandler, step) for step in steps)
        return REQUESTS_AT_ONCE if self.lookups.shares and own else 1

    def initialize(self, context: Any) -> None:
        """Loads the model. The embedding servers need not be there yet: a worker that waited for them would be killed."""
        handler_traces()  # what is wrong with them is said now
        settings = handler_settings(getattr(context, "model_yaml_config", None))
        logging.getLogger().setLevel(settings["log_level"])
        torch.set_num_threads(settings["threads"])
        with_name_of_torchscript(context)
        super().initialize(context)
        self.identity = ModelIdentity(context, Path(self.model_pt_path))
        self.signature = read_archive_signature(Path(context.system_properties["model_dir"]))
        drop = settings["extra_features"] == "drop"
        check = SignatureCheck(self.signature, drop) if self.signature is not None else None
        self.non_finite_scores = settings["non_finite_scores"]
        self.persia_context = InferCtx(
            settings["addresses"],
            self.device.index if self.device.type == "cuda" else None,
            global_config=settings["global_config"],
            embedding_config=settings["embedding_config"],
            timeout=settings["timeout_ms"] / 1000,
            expects=self.signature.features if self.signature is not None else None,
            dense=self.identity.dense,
        )
        self.settings = settings
        cache = settings["answer_cache_mib"]
        self.cached_answers = CachedAnswers(cache << 20) if cache else None
        variants = VariantChoice(settings["variants"], settings["variants_sticky_by"])
        self.lookups = RequestLookups(self.persia_context, check, settings["merge"] is not False, variants)
        self.merged_runs = MergedRuns() if settings["merge"] == "model" else None
        self.threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
        self.drift = watch_of_model(context)
        self.ring = ring_of(settings)
        if settings["warm_up"] is not None:
            self.warm_up(Path(context.system_properties["model_dir"]) / settings["warm_up"])

    def _load_torchscript_model(self, model_pt_path: str) -> Model:
        """TorchServe calls this for every file of that name, whatever is in it."""
        return load_dense(Path(model_pt_path), self.device, shared=True)

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

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes | str | PredictionException]:
        """Returns one answer for each request. An error that is raised fails all requests."""
        self.context = context
        try:
            callers = (context.get_all_request_header(i) for i in range(len(data)))
            with handler_traces().span("persia.handle", callers, requests=len(data)):
                outcomes = within_limit(context, self.outcomes_of(data), self.settings["max_answer_mib"])
            answers: list[bytes | str | PredictionException] = answers_of(context, outcomes)
            return answers
        except PredictionException:  # of a subclass
            raise
        except Exception as error:
            raise exception_of(error_of_model(error)) from error

    def tensor_metadata(self) -> ModelMetadata:
        """What the model takes and answers by the Open Inference Protocol."""
        return metadata_of(self.signature)

    def infer_tensors(self, requests: Sequence[TensorRequest], context: Any) -> list[list[Tensor] | PersiaError]:
        """The outputs of each request by the Open Inference Protocol, or the error that it alone is refused with."""
        self.context = context
        answers: list[list[Tensor] | PersiaError] = answer_tensors(self, requests)
        return answers

    def outcomes_of(self, data: list[dict[str, Any]]) -> list[bytes | PersiaError]:
        """Returns for each request its answer, or the error that this request alone is refused with.

        The answer to a request whose time is over is empty.
        """
        outcomes = Outcomes(self.context, len(data), takes_refusals(self.context))
        inputs = outcomes.step(lambda going: [self.inputs_of(data[i], self.context.get_all_request_header(i)) for i in going])
        answers: dict[int, tuple[bytes, bool]] = {}
        try:
            features = outcomes.step(lambda going: self.in_time(self.preprocess([inputs[i] for i in going])))
            answers = outcomes.step(
                lambda going: self.answers_to(
                    [inputs[i] for i in going],
                    [features[i] for i in going],
                    lambda i: request_id(data[going[i]], self.context, going[i]),
                )
            )
        finally:  # one error may be raised for all
            asked = ((variant_of(one), i in answers) for i, one in inputs.items())
            self.lookups.variants.counts.add(self.context, asked)
        for i in answers:
            if BODY in data[i]:
                self.context.set_response_content_type(i, MEDIA_TYPES[format_of(inputs[i])])
        settled: list[bytes | PersiaError] = outcomes.all(
            {i: self.detailed_answer(i, inputs[i], features[i], *answer) for i, answer in answers.items()}
        )
        return settled

    def inputs_of(self, request: dict[str, Any], headers: Any) -> dict[str, Any] | PersiaError:
        """Brings a request into the form that has a byte batch and a format, or returns what is wrong with the request."""
        try:
            inputs = with_accepted_format(as_inputs(request, headers, self.signature), headers)
            return self.lookups.variants.chosen(inputs, headers)
        except (InvalidInput, TooLarge) as error:
            return error

    def in_time(self, features: Sequence[Features | PersiaError | None]) -> list[Features | PersiaError]:
        """Turns each None of preprocess, which stands for a caller who no longer waits, into an error."""
        return [
            DeadlineExceeded("the caller's time was over before its embeddings came") if one is None else one
            for one in features
        ]

    def answers_to(
        self, requests: list[dict[str, Any]], features: list[Features], name: Callable[[int], str]
    ) -> list[tuple[bytes, bool] | PersiaError]:
        """Returns the answers without their details, and for each answer whether it was kept from an earlier request.

        name: gives the name of a request.
        """

        def score(indexes: list[int]) -> list[bytes | PersiaError]:
            scores = scores_of(self, [features[i] for i in indexes])
            fine = {i: one for i, one in zip(indexes, scores, strict=True) if not isinstance(one, PersiaError)}
            if self.drift is not None:
                scored = list(fine)
                watch_answers(self.drift, [features[i] for i in scored], list(fine.values()), lambda k: name(scored[k]))
            answers = zip(fine, self.postprocess(list(fine.values()), [requests[i] for i in fine]), strict=True) if fine else ()
            encoded = dict(answers)
            return [encoded[i] if i in fine else one for i, one in zip(indexes, scores, strict=True)]

        if self.cached_answers is None:
            answers, kept = score(list(range(len(features)))), [False] * len(features)
        else:
            answers, kept = self.cached_answers.answers(requests, features, score)
            self.count_cached(kept)
        return [
            answer if isinstance(answer, PersiaError) else (answer, was_kept)
            for answer, was_kept in zip(answers, kept, strict=True)
        ]

    def count_cached(self, kept: list[bool]) -> None:
        """Counts in TorchServe's metrics which answers were kept."""
        self.context.metrics.add_counter("AnswerCacheHits", kept.count(True))
        self.context.metrics.add_counter("AnswerCacheMisses", kept.count(False))

    def detailed_answer(self, i: int, request: dict[str, Any], features: Features, answer: bytes, cached: bool) -> bytes:
        """Adds what an answer was made of, to the answer or in headers, as the request asks for it; keeps a share of all."""
        ring = self.ring if self.ring is not None and self.ring.wants() else None
        in_body, in_headers = wants_details(request), wants_headers(self.context.get_all_request_header(i))
        if not (in_body or in_headers or ring):
            return answer
        details = details_of(self.identity, getattr(features, "lookup", None), cached)
        if ring and not ring.keep(details, request[BATCH], format_of(request).decode(), answer):
            self.context.metrics.add_counter("KeptAnswersDropped", 1)
        if not (in_body or in_headers):
            return answer
        for name, value in detail_headers(details).items():
            self.context.set_response_header(i, name, value)
        return with_details(answer, details, format_of(request) == JSON) if in_body else answer

    def preprocess(self, data: list[dict[str, Any]]) -> list[Features | PersiaError | None]:
        """Turns requests into tensors. Several requests are looked up at the same time, and are given up at the same time."""
        end = time.monotonic() + self.settings["timeout_ms"] / 1000
        with handler_traces().span("persia.lookup", requests=len(data)) as span:
            if len(data) > 1:
                return features_together(self.lookups, self.threads, data, end)
            features = self.features_of(data[0], seconds_left(data[0], end))
            if features.lookup is not None:
                span.set_attribute("persia.epoch", features.lookup.epoch)
            return [features]

    def inference(self, data: list[Features], *args: Any, **kwargs: Any) -> list[Any]:
        """Turns tensors into what the model answers: a tensor, a tuple or list of tensors, or a dict of tensors."""
        with handler_traces().span("persia.model", requests=len(data)), torch.inference_mode():
            if self.merged_runs is not None:
                return self.merged_runs.answers(self.model, data)
            return [self.model(features.dense, features.embeddings) for features in data]

    def postprocess(self, data: list[Any], requests: list[dict[str, Any]]) -> list[bytes | PersiaError]:
        """Turns scores into the bytes of each answer, in the format that its request asks for."""
        return [self.answer_to(scores, request) for scores, request in zip(data, requests, strict=True)]

    def answer_to(self, scores: Any, request: dict[str, Any]) -> bytes | PersiaError:
        """Turns the scores of one request into its answer, or returns what is wrong with the request."""
        try:
            answer: bytes = answer_of(scores, request, self.non_finite_scores)
            return answer
        except PersiaError as error:
            return error

    def features_of(self, request: dict[str, Any], seconds: float) -> RequestFeatures:
        """Looks up the embeddings of a request's batch, and puts its tensors into the model's order."""
        return self.lookups.look_up(self.lookups.open(request, seconds))


def with_name_of_torchscript(context: Any) -> None:
    """TorchServe loads TorchScript from files that end in .pt only; Persia's guide has .pth, and other kinds have their own."""
    model = context.manifest["model"]
    directory, name = Path(context.system_properties["model_dir"]), model.get("serializedFile", "")
    if name.endswith((".pth", ".pt2", ".onnx")) and "modelFile" not in model:
        renamed = f"{name}.pt"
        with suppress(FileExistsError):  # another worker was first
            os.symlink(name, directory / renamed)
        model["serializedFile"] = renamed
