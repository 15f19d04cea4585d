"""From files of texts to the windows of a baseline: the model of an archive is asked in this process."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from persia.drift.sketching import add_texts
from persia.drift.window import Window
from persia.errors import CorruptFile, InvalidInput, NotFound

if TYPE_CHECKING:
    from persia.text import TextModel

__all__ = ["windows_of_texts"]

_SEED = 0  # the same files make the same baseline
_TEXTS = 32  # that are answered before they are sketched


def windows_of_texts(paths: Sequence[Path], model: Path, window_samples: int) -> list[Window]:
    """Windows of so many texts, one on each line; the last window has what is left.

    model: an archive, or a folder with a text model.

    Raises PersiaError, OSError.
    """
    try:
        from persia.text.tokenizer import Text
        from persia.text.watching import texts_of
    except ModuleNotFoundError as error:
        raise NotFound(f"texts need {error.name}: pip install 'persia-serve[transformers]'") from error
    generator = np.random.default_rng(_SEED)
    windows = [Window()]
    with _model_of(model) as loaded:
        lines = list(_lines(paths))
        for begin in range(0, len(lines), _TEXTS):
            if windows[-1].samples >= window_samples:
                windows.append(Window())
            texts = [Text(line) for line in lines[begin : begin + _TEXTS]]
            add_texts(windows[-1], texts_of(loaded, loaded.answer(texts)), generator)
    return windows


def _lines(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{path}: expected texts in UTF-8, one on each line, got: {error}") from None
        yield from filter(str.strip, text.splitlines())


@contextmanager
def _model_of(path: Path) -> Iterator[TextModel]:
    """Raises CorruptFile for a file that is no archive, and what loading raises."""
    if path.is_dir():
        yield _loaded(path, {}, None)
        return
    with TemporaryDirectory(prefix="persia-drift-") as name:
        directory = Path(name)
        try:
            with zipfile.ZipFile(path) as opened:
                opened.extractall(directory)
            model = json.loads((directory / "MAR-INF" / "MANIFEST.json").read_text())["model"]
            config = yaml.safe_load((directory / model["configFile"]).read_text()) if model.get("configFile") else {}
        except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise CorruptFile(str(path), "a model archive (.mar)", str(error), 0) from error
        yield _loaded(directory, config, model.get("serializedFile"))


def _loaded(directory: Path, config: Any, weights: str | None) -> TextModel:
    from persia.text import TextModel, TextSettings

    return TextModel.load(directory, TextSettings.of_directory(directory, config), weights)
