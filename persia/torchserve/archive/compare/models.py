"""A model in an archive as `compare` needs it: what it answers to samples, and a call of it that can be timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persia.errors import InvalidInput
from persia.torchserve.archive.compare.agreement import Answers
from persia.torchserve.archive.contents import open_archive

__all__ = ["ComparedModel", "open_compared"]


@dataclass(frozen=True)
class ComparedModel:
    """kind: the mode of a text model, or `dense`. calls: of which each can be timed. texts: the samples, if they are some."""

    name: str
    version: str
    kind: str
    labels: frozenset[str]
    samples: int
    answers: Callable[[], Answers]
    calls: Sequence[Callable[[], object]]
    texts: Sequence[str]
    archive_bytes: int
    model_bytes: int


def open_compared(archive: Path, samples: Path) -> ComparedModel:
    """Loads the model. Raises PersiaError if it does not load, or cannot take the samples; OSError."""
    contents = open_archive(archive)
    read = _text_model if contents.text_mode is not None else _dense_model
    about: dict[str, Any] = {"name": contents.name, "version": contents.version}
    sizes: dict[str, Any] = {"archive_bytes": archive.stat().st_size, "model_bytes": contents.model_bytes}
    return ComparedModel(**about, **read(archive, samples), **sizes)


def _text_model(archive: Path, samples: Path) -> dict[str, Any]:
    from persia.torchserve.archive.text.answers import answers_of, load_text_model
    from persia.torchserve.archive.text.samples import read_texts

    model = load_text_model(archive)
    texts = read_texts(samples, model.mode)
    return {
        "kind": model.mode,
        "labels": frozenset(model.labels),
        "samples": len(texts),
        "answers": lambda: answers_of(model, texts),
        "calls": [lambda text=text: model.answer([text]) for text in texts],
        "texts": [text.first if text.second is None else f"{text.first} / {text.second}" for text in texts],
    }


def _dense_model(archive: Path, samples: Path) -> dict[str, Any]:
    from persia.torchserve.archive.dense.answers import answers_of_outputs, load_model_of
    from persia.torchserve.archive.dense.trial import sample_from_npz, try_model

    if samples.suffix != ".npz":
        raise InvalidInput(
            f"expected samples for a dense model as .npz, with the arrays dense0, ... and emb0, ..., got {samples}: embeddings "
            "of a byte batch are in the tables, which archives do not have"
        )
    model = load_model_of(archive)
    sample = sample_from_npz(samples)
    return {
        "kind": "dense",
        "labels": frozenset(),
        "samples": sample.samples,
        "answers": lambda: answers_of_outputs(try_model(model, sample)),
        "calls": [lambda: try_model(model, sample)],
        "texts": [],
    }
