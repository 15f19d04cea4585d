"""The requests of a batch: each is read, run and answered by itself, and nothing is run twice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from persia.answer_cache import AnswerCache
from persia.errors import PersiaError

from .explanations import explain
from .model import Outcome, TextModel
from .requests import Request
from .tokenizer import Tokens

__all__ = ["Answered", "BatchRunner", "Prepared", "each_by_itself"]

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """A request with the tokens of its texts. explain: the caller wants the reasons of an answer instead of the answer."""

    request: Request
    tokens: Sequence[Tokens]
    explain: bool = False
    wants_json: bool = False


@dataclass(frozen=True)
class Answered:
    """A request with what the model said of its texts, or with the body of an explanation."""

    prepared: Prepared
    outcomes: Sequence[Outcome] = ()
    explanation: str | None = None


def each_by_itself(work: Callable[..., T], *arguments: Any) -> T | PersiaError:
    """Does some work for one request; what is wrong with it is its own result, so that the others of its batch go on."""
    try:
        return work(*arguments)
    except PersiaError as error:
        return error
    except Exception as error:
        log.exception("a request failed")
        lines = str(error).strip().splitlines()  # TorchScript puts its stack before the reason
        return PersiaError(f"the model failed: {lines[-1] if lines else type(error).__name__}")


class BatchRunner:
    """Runs each distinct text of a batch once, by itself; keeps what it found, if settings let it."""

    def __init__(self, model: TextModel) -> None:
        self.model = model
        self.cache = AnswerCache(model.settings.answer_cache_mib << 20)

    def run(self, batch: Sequence[Prepared | PersiaError]) -> list[Answered | PersiaError]:
        """What each asked for. Errors stay as they are, and where they are."""
        numbers = iter(self._numbers([tokens for entry in batch for tokens in _to_predict(entry)]))
        return [each_by_itself(self._finish, entry, [next(numbers) for _ in _to_predict(entry)]) for entry in batch]

    def _finish(self, entry: Prepared | PersiaError, numbers: Sequence[np.ndarray | PersiaError]) -> Answered:
        if isinstance(entry, PersiaError):
            raise entry
        if entry.explain:
            return Answered(entry, explanation=explain(self.model, entry.request))
        outcomes = []
        for text, tokens, found in zip(entry.request.texts, entry.tokens, numbers, strict=True):
            if isinstance(found, PersiaError):
                raise found
            outcomes.append(self.model.outcome(text, tokens, found))
        return Answered(entry, outcomes)

    def _numbers(self, tokens: Sequence[Tokens]) -> list[np.ndarray | PersiaError]:
        """The numbers for each (tasks.numbers_of), or what was wrong with it. Texts are the same if their tokens are."""

        def run(i: int) -> bytes:
            return _to_bytes(self.model.run(tokens[i]))

        def make(missing: list[int]) -> list[bytes | PersiaError]:
            return [each_by_itself(run, i) for i in missing]

        found = self.cache.answers([each.key for each in tokens], make)
        return [each if isinstance(each, PersiaError) else _of_bytes(each) for each in found]


def _to_predict(entry: Prepared | PersiaError) -> Sequence[Tokens]:
    return () if isinstance(entry, PersiaError) or entry.explain else entry.tokens


def _to_bytes(numbers: np.ndarray) -> bytes:
    return len(numbers).to_bytes(4, "little") + np.ascontiguousarray(numbers, np.float32).tobytes()


def _of_bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.float32, offset=4).reshape(int.from_bytes(data[:4], "little"), -1)
