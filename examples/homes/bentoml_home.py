"""The text model behind BentoML, which makes the fields of a request arguments, and puts a page about them at /.

usage: TEXT_MODEL=folder bentoml serve bentoml_home:Text --port 8000
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import bentoml
from text_service import TextService

from persia.errors import InvalidInput


class Refused(bentoml.exceptions.BentoMLException):  # type: ignore[misc]  # BentoML is not installed where types are checked
    error_code = HTTPStatus.BAD_REQUEST


@bentoml.service(name="text", workers=1)
class Text:
    def __init__(self) -> None:
        self.service = TextService.of_environment()

    @bentoml.api(route="/predictions/text")
    def predictions(self, text: str, format: str = "json") -> dict[str, Any]:
        """The answer to one text."""
        try:
            answer: dict[str, Any] = json.loads(self.service.answer({"text": text, "format": format}))
        except InvalidInput as error:
            raise Refused(str(error)) from error
        return answer
