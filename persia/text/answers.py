"""What goes back: by default the bytes of the example's own handler, otherwise JSON that says more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .bodies import check_numbers, json_body
from .model import Outcome, TextModel
from .requests import Request
from .tasks import Span, probabilities, spans_of

__all__ = ["Answers"]

DEFAULT_TOP_K = 5


class Answers:
    """Writes answers for a model."""

    def __init__(self, model: TextModel) -> None:
        self.model = model
        self.labels = model.labels

    def encode(self, outcomes: Sequence[Outcome], request: Request, wants_json: bool = False) -> tuple[str, bool]:
        """The body, and whether it is to be called JSON. wants_json: of callers who said so in the header `Accept`.

        Raises PersiaError for numbers that are none.
        """
        for i, outcome in enumerate(outcomes):
            check_numbers(outcome.numbers, f" for text {i} of the list" if request.many else "")
        form = self._form(request, wants_json)
        if form == "text":
            values = [self._plain(outcome) for outcome in outcomes]
        elif form == "workshop":
            values = [self._best(outcome, request.top_k) for outcome in outcomes]
        else:
            values = [self._detailed(outcome, form, request.top_k) for outcome in outcomes]
        if request.many:
            whole: Any = {"predictions": values} if request.instances else values
        else:
            whole = [values[0]] if form == "workshop" else values[0]
        return whole if isinstance(whole, str) else json_body(whole), form not in ("text", "workshop")

    def _form(self, request: Request, wants_json: bool) -> str:
        if request.format is not None:
            return request.format
        settings = self.model.settings
        if self.model.mode == "sequence_classification" and (settings.is_workshop or settings.top_k) and not wants_json:
            return "workshop"
        if request.top_k is not None:
            return "top_k"
        return "json" if wants_json else "text"

    def _plain(self, outcome: Outcome) -> Any:
        """As the example has it."""
        mode, numbers = self.model.mode, outcome.numbers
        if mode == "sequence_classification":
            return self.labels[int(numbers[0].argmax())]
        if mode == "token_classification":
            best = numbers.argmax(axis=-1)
            return [[word, self.labels[int(i)]] for word, i in zip(outcome.tokens.words, best, strict=True)]
        if mode == "question_answering":
            return self._span_text(outcome, self._spans(outcome)[:1])
        return [float(value) for value in numbers[0]]

    def _best(self, outcome: Outcome, top_k: int | None) -> dict[str, float]:
        """The workshop's answer: the best labels with their probabilities."""
        return {entry["label"]: entry["score"] for entry in self._top(self._scores(outcome.numbers[0]), top_k)}

    def _detailed(self, outcome: Outcome, form: str, top_k: int | None) -> dict[str, Any]:
        mode, tokens = self.model.mode, outcome.tokens
        if mode == "sequence_classification":
            value = self._labelled(outcome.numbers[0], form, top_k)
            if form == "offsets":
                value["tokens"] = self._placed(outcome)
        elif mode == "token_classification":
            value = {"tokens": self._tagged(outcome, form, top_k)}
        elif mode == "question_answering":
            value = self._answered(outcome, form, top_k)
        else:
            value = {"embedding": [float(number) for number in outcome.numbers[0]]}
        kept = sum(sequence is not None for sequence in tokens.sequences)
        return {**value, "token_count": kept, "truncated": tokens.left_out > 0}

    def _labelled(self, logits: np.ndarray, form: str, top_k: int | None) -> dict[str, Any]:
        scores = self._scores(logits)
        best = int(logits.argmax())
        value: dict[str, Any] = {"label": self.labels[best], "score": scores[best]}
        if form == "top_k":
            value["top_k"] = self._top(scores, top_k)
        elif form in ("scores", "logits"):
            value["scores"] = [{"label": self.labels[i], "score": score} for i, score in enumerate(scores)]
        if form == "logits":
            value["scores"] = [{**entry, "logit": float(logits[i])} for i, entry in enumerate(value["scores"])]
        return value

    def _tagged(self, outcome: Outcome, form: str, top_k: int | None) -> list[dict[str, Any]]:
        """Of the tokens of the text alone: nobody asks what a [SEP] is."""
        placed = self._placed(outcome)
        rows = [row for row, sequence in zip(outcome.numbers, outcome.tokens.sequences, strict=True) if sequence is not None]
        return [{**place, **self._labelled(row, form, top_k)} for place, row in zip(placed, rows, strict=True)]

    def _placed(self, outcome: Outcome) -> list[dict[str, Any]]:
        """The tokens of the text, with the characters that they stand for."""
        tokens, found = outcome.tokens, []
        for word, (start, end), sequence in zip(tokens.words, tokens.offsets, tokens.sequences, strict=True):
            if sequence is not None:
                place = {"token": word, "start": start, "end": end}
                found.append(place if outcome.text.second is None else {**place, "of": sequence})
        return found

    def _answered(self, outcome: Outcome, form: str, top_k: int | None) -> dict[str, Any]:
        spans = self._spans(outcome)
        value = self._spanned(outcome, spans[:1])
        if form == "top_k":
            most = top_k or self.model.settings.top_k or DEFAULT_TOP_K
            value["top_k"] = [self._spanned(outcome, [span]) for span in spans[:most]]
        elif form == "logits":
            starts, ends = outcome.numbers
            value |= {"start_logits": [float(x) for x in starts], "end_logits": [float(x) for x in ends]}
            value["words"] = list(outcome.tokens.words)
        elif form == "offsets":
            value["tokens"] = self._placed(outcome)
        return value

    def _spanned(self, outcome: Outcome, spans: Sequence[Span]) -> dict[str, Any]:
        start, end = self._characters(outcome, spans)
        score = spans[0].score if spans else 0.0
        return {"answer": self._span_text(outcome, spans), "score": score, "start": start, "end": end}

    def _spans(self, outcome: Outcome) -> list[Span]:
        return spans_of(outcome.numbers, outcome.tokens.sequences, self.model.settings)

    def _span_text(self, outcome: Outcome, spans: Sequence[Span]) -> str:
        """The example's is made of tokens, in the case and with the blanks that these have; ours is cut out of the context."""
        if self.model.settings.qa_span == "example":
            return self.model.tokenizer.text_of(outcome.tokens.words[spans[0].start : spans[0].end + 1])
        start, end = self._characters(outcome, spans)
        return "" if start is None else (outcome.text.second or "")[start:end]

    def _characters(self, outcome: Outcome, spans: Sequence[Span]) -> tuple[int | None, int | None]:
        """Where in the context the answer stands, if it stands there."""
        tokens = outcome.tokens
        if not spans or {tokens.sequences[i] for i in (spans[0].start, spans[0].end)} != {1} or spans[0].end < spans[0].start:
            return None, None
        return tokens.offsets[spans[0].start][0], tokens.offsets[spans[0].end][1]

    def _scores(self, logits: np.ndarray) -> list[float]:
        return [float(score) for score in probabilities(logits, self.model.problem_type)]

    def _top(self, scores: Sequence[float], top_k: int | None) -> list[dict[str, Any]]:
        most = top_k or self.model.settings.top_k or DEFAULT_TOP_K
        best = sorted(range(len(scores)), key=lambda i: -scores[i])[:most]
        return [{"label": self.labels[i], "score": scores[i]} for i in best]
