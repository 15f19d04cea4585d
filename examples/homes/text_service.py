"""A text model as every home beside this file serves it: JSON in, JSON out, as the handler of TorchServe takes and gives it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from persia.text import TextModel, TextSettings
from persia.text.answers import Answers
from persia.text.requests import RequestReader

# The folder of the model, as save_pretrained writes it.
MODEL_VARIABLE = "TEXT_MODEL"


class TextService:
    """One for each process. More processes serve more than more threads do, so a process runs one text at a time."""

    def __init__(self, directory: Path) -> None:
        """Raises PersiaError for a folder that holds no model, OSError."""
        settings = TextSettings.of_directory(directory)
        torch.set_num_threads(settings.threads)
        self.model = TextModel.load(directory, settings)
        self._reader = RequestReader(self.model.mode)
        self._answers = Answers(self.model)
        self._one_at_a_time = threading.Lock()

    @classmethod
    def of_environment(cls) -> TextService:
        """Of the folder that TEXT_MODEL names."""
        return cls(Path(os.environ[MODEL_VARIABLE]))

    def answer(self, request: bytes | Mapping[str, Any]) -> str:
        """JSON such as {"text": "a text", "format": "scores"}, or its fields -> JSON.

        Raises InvalidInput for what the caller must mend.
        """
        asked = self._reader.read(request, "application/json")
        with self._one_at_a_time:
            outcomes = self.model.answer(asked.texts)
        answer, _ = self._answers.encode(outcomes, asked, wants_json=True)
        return answer


def refusal(error: Exception) -> dict[str, str | int]:
    """What to tell a caller, in the form of TorchServe's own errors."""
    return {"code": 400, "type": "INVALID_ARGUMENT", "message": str(error)}
