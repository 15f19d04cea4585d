"""The text model in an archive, loaded in this process as a worker loads it."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import yaml

from persia.errors import InvalidInput
from persia.text import TextModel, TextSettings
from persia.torchserve.archive.contents import open_archive

__all__ = ["load_text_model"]


def load_text_model(archive: Path) -> TextModel:
    """Raises InvalidInput if the archive has no text model, other PersiaErrors if it does not load, OSError."""
    contents = open_archive(archive)
    if contents.text_mode is None:
        raise InvalidInput(f"expected an archive of a text model, got {archive} with the handler {contents.handler}")
    with tempfile.TemporaryDirectory(prefix="persia-archive-") as directory, zipfile.ZipFile(archive) as opened:
        opened.extractall(directory)
        config = Path(directory, contents.config_file)
        settings = yaml.safe_load(config.read_bytes()) if contents.config_file else None
        return TextModel.load(
            Path(directory), TextSettings.of_directory(Path(directory), settings), contents.model_file or None
        )
