"""A TorchServe handler for text models: sequence and token classification, question answering, embeddings.

It serves what TorchServe's example of Hugging Face's transformers serves, from the same archives, with the same answers. What
it does stands in persia.text, which works without TorchServe; docs/transformers.md says what callers may send.

TorchServe wants exactly one class in a handler's file, so there is no other one here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from persia.errors import PersiaError
from persia.handlers.drift_hook import request_id, watch_of_model
from persia.handlers.refusals import with_refusals
from persia.handlers.text_headers import accepts_json, content_type_of, wants_explanation
from persia.text import TextModel, TextSettings
from persia.text.answers import Answers
from persia.text.batch import Answered, BatchRunner, Prepared, each_by_itself
from persia.text.requests import RequestReader
from persia.text.watching import watch_texts

log = logging.getLogger(__name__)


class TransformersHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """A base to start from: each method gets and gives a list with one entry for each request.

    `initialize` loads the model, once. For each batch, `handle` calls `preprocess`, which reads what callers sent, `inference`,
    which runs the model, and `postprocess`, which writes answers. An entry that is a PersiaError is the refusal of that one
    request: pass it on as it is, and put one there to refuse a request yourself.
    """

    def initialize(self, context: Any) -> None:
        """Loads the model and its tokenizer from the archive alone, and runs it once."""
        directory = Path(context.system_properties["model_dir"])
        settings = TextSettings.of_directory(directory, getattr(context, "model_yaml_config", None))
        torch.set_num_threads(settings.threads)
        gpu = context.system_properties.get("gpu_id")
        device = f"cuda:{gpu}" if torch.cuda.is_available() and gpu is not None else "cpu"
        self.context = context
        self.model = TextModel.load(directory, settings, context.manifest["model"].get("serializedFile"), device)
        self.reader = RequestReader(self.model.mode, settings.captum_explanation)
        self.runner = BatchRunner(self.model)
        self.answers = Answers(self.model)
        self.drift = watch_of_model(context)
        self.initialized = True
        log.info("serves %s of at most %d tokens", self.model.mode, self.model.tokenizer.max_length)

    def handle(self, data: Sequence[Any], context: Any) -> list[str]:
        """One answer for each request. What is wrong with one of them is said to its caller alone."""
        self.context = context
        answers: list[str] = with_refusals(context, self.postprocess(self.inference(self.preprocess(data))))
        return answers

    def preprocess(self, data: Sequence[Any]) -> list[Prepared | PersiaError]:
        """What TorchServe hands over -> tokens, and how the answers are wanted."""
        self.names = [request_id(data[i], self.context, i) for i in range(len(data))]
        return [each_by_itself(self.prepare, data[i], i) for i in range(len(data))]

    def inference(self, data: Sequence[Prepared | PersiaError], *args: Any, **kwargs: Any) -> list[Answered | PersiaError]:
        """Tokens -> what the model gives for them, or the words of an explanation."""
        before = self.runner.cache.counts()
        answers: list[Answered | PersiaError] = self.runner.run(data)
        if self.model.settings.answer_cache_mib:
            now = self.runner.cache.counts()
            self.context.metrics.add_counter("AnswerCacheHits", now.hits - before.hits)
            self.context.metrics.add_counter("AnswerCacheMisses", now.misses - before.misses)
        if self.drift is not None:
            watch_texts(self.drift, self.model, self.names, answers)
        return answers

    def postprocess(self, data: Sequence[Answered | PersiaError]) -> list[str | PersiaError]:
        """What the model gave -> the bodies of the answers."""
        return [
            answered if isinstance(answered, PersiaError) else each_by_itself(self.write, answered, i)
            for i, answered in enumerate(data)
        ]

    def prepare(self, data: Any, i: int) -> Prepared:
        """Request i of the batch. Raises InvalidInput."""
        explain = wants_explanation(self.context, i)
        request = self.reader.read(data, content_type_of(self.context, i), explain)
        tokens = [self.model.tokenize(text) for text in request.texts]
        return Prepared(request, tokens, explain, accepts_json(self.context, i))

    def write(self, answered: Answered, i: int) -> str:
        """The body of the answer to request i of the batch."""
        if answered.explanation is not None:
            return answered.explanation
        body, is_json = self.answers.encode(answered.outcomes, answered.prepared.request, answered.prepared.wants_json)
        if is_json:
            self.context.set_response_content_type(i, "application/json")
        return body
