"""What callers send -> texts and wishes. Texts come bare, in JSON, in forms, over gRPC; alone, in pairs, and in lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from persia.errors import InvalidInput, TooLarge

from .keys import KNOWN, REQUEST_ID, SECOND_KEY, TEXT_KEYS, check_inner_keys, check_keys
from .literals import parse_json, parse_literal, plain
from .tokenizer import Text
from .wishes import WISHES, check_no_wishes, shown, wishes_of

__all__ = ["Request", "RequestReader"]

# Texts are run one after the other, and a worker that takes longer than responseTimeout is killed.
MAX_TEXTS = 256

_HALF = re.compile("[\ud800-\udfff]")  # of a character, which JSON lets pass

_EXPECTED = 'expected a text as the body, or an object such as {"text": "..."} of Content-Type application/json'
_EXPECTED_QUESTION = 'expected an object such as {"question": "...", "context": "..."}'


@dataclass(frozen=True)
class Request:
    """texts: one, or several if `many`, whose answers go back as a list; under `predictions` if they came as `instances`."""

    texts: Sequence[Text]
    many: bool = False
    instances: bool = False
    format: str | None = None
    top_k: int | None = None
    target: Any = None


class RequestReader:
    """Reads requests for a mode. parses_text: whether a bare text may be an object, as in the example with captum."""

    def __init__(self, mode: str, parses_text: bool = False) -> None:
        self.is_question = mode == "question_answering"
        self.parses_text = parses_text
        self.expected = _EXPECTED_QUESTION if self.is_question else _EXPECTED

    def read(self, data: Any, content_type: str = "", explain: bool = False) -> Request:
        """data: what TorchServe hands over for one request. Raises InvalidInput."""
        try:
            return self._read(data, content_type, explain)
        except RecursionError as error:
            raise InvalidInput(f"{self.expected}, got objects nested too deep") from error

    def _read(self, data: Any, content_type: str, explain: bool) -> Request:
        fields = data if isinstance(data, Mapping) else {"body": data}
        names = fields.keys() - {REQUEST_ID}
        if names == {"body", "content_type"}:  # over gRPC, which has no headers
            content_type = plain(fields["content_type"])
        elif names != {"body"}:
            return self._of_fields(fields, explain)
        body = fields["body"]
        if isinstance(body, (Mapping, list)):
            return self._of_json(body)
        if isinstance(body, (bytes, bytearray)) and "json" in content_type:
            return self._of_json(parse_json(plain(body)))  # TorchServe could not read it, so that this says why
        return self._of_text(self._text(body), explain)

    def _of_fields(self, fields: Mapping[str, Any], explain: bool) -> Request:
        """Of a form, of gRPC's map, or of an object that an envelope took out of the body. Values are bytes, or JSON."""
        if not fields.keys() & KNOWN:
            return self._of_misused_form(fields)
        values = {key: plain(value) if isinstance(value, (bytes, bytearray)) else value for key, value in fields.items()}
        texts = [key for key in TEXT_KEYS if key in values]
        if len(texts) == 1 and isinstance(values[texts[0]], str) and SECOND_KEY not in values:
            request = self._of_text(values[texts[0]], explain)
            check_keys(values)
            return self._with_wishes(request, values)
        return self._of_json(values)

    def _of_misused_form(self, fields: Mapping[str, Any]) -> Request:
        """`curl -d 'a text'` sends a form, in which the text is the name of a field."""
        names = list(fields)
        if len(names) == 1 and fields[names[0]] in (b"", "", bytearray()):
            value = parse_literal(names[0])
            return self._of_json(value) if isinstance(value, (dict, list)) else self._of_text(names[0], False)
        shown = ", ".join(repr(name[:20]) for name in names[:3])
        got = f"a form with the fields {shown}" if names else "a form without fields, as `curl -d` sends"
        raise InvalidInput(
            f"{self.expected}, got {got}: send the text as the field `data`, or as a body of its own by "
            "curl -H 'Content-Type: text/plain' --data-binary"
        )

    def _of_text(self, text: str, explain: bool) -> Request:
        """The example takes a text to the letter, except where it expects an object: for questions, and with captum.

        Of such an object it ignores keys that it does not know, and so do we.
        """
        if self.is_question or self.parses_text or explain:
            value = parse_literal(text)
            if isinstance(value, Mapping) and (self.is_question or "text" in value):
                return self._of_json(value, ignores_keys=True)
        if self.is_question:
            raise InvalidInput(f"{_EXPECTED_QUESTION}, got a text that is neither JSON nor a literal of Python")
        return Request([Text(self._text(text))])

    def _of_json(self, value: Any, ignores_keys: bool = False) -> Request:
        if isinstance(value, list):
            return Request(self._several(value), many=True)
        if not isinstance(value, Mapping):
            return self._of_text(self._text(value), False)
        if "instances" in value:
            request = Request(self._several(value["instances"]), many=True, instances=True)
        else:
            key = self._text_key(value)
            texts = value[key] if key is not None else None
            is_list = isinstance(texts, list) and not isinstance(value.get(SECOND_KEY), str)
            request = Request(self._several(texts), many=True) if is_list else Request([self._one(value)])
        if not ignores_keys:
            check_keys(value)
        return self._with_wishes(request, value)

    def _several(self, values: Any) -> list[Text]:
        if not isinstance(values, list) or not values:
            raise InvalidInput(f"expected a list of at least one text, got {shown(values)}")
        if len(values) > MAX_TEXTS:
            raise TooLarge(f"expected at most {MAX_TEXTS} texts in a request, got {len(values)}: send several requests")
        return [self._numbered(i, value) for i, value in enumerate(values)]

    def _numbered(self, i: int, value: Any) -> Text:
        try:
            return self._inner(value)
        except InvalidInput as error:
            raise InvalidInput(f"entry {i} of the list: {error}") from error

    def _inner(self, value: Any) -> Text:
        """Of what stands in a list or in another object."""
        check_no_wishes(value)
        text = self._one(value)
        check_inner_keys(value)
        return text

    def _text_key(self, value: Mapping[str, Any]) -> str | None:
        """Under which name of several the text of an object stands."""
        there = [key for key in TEXT_KEYS if key in value]
        keys = [key for key in there if value[key] is not None] or there[:1]
        if len(keys) > 1:
            raise InvalidInput(
                f"expected one text, got {' and '.join(f'`{key}`' for key in keys)}: the second text of a pair is `text_pair`, "
                f"several texts are a list, and wishes ({', '.join(WISHES)}) stand beside the text"
            )
        return keys[0] if keys else None

    def _one(self, value: Any) -> Text:
        """Of a text, of two texts in a list, or of an object."""
        if isinstance(value, str) and not self.is_question:
            return Text(self._text(value))
        if isinstance(value, str):
            return self._of_text(value, False).texts[0]
        if isinstance(value, (list, tuple)) and len(value) == 2:
            return Text(self._text(value[0]), self._text(value[1]))
        if isinstance(value, Mapping) and ("question" in value or "context" in value):
            if missing := [key for key in ("question", "context") if key not in value]:
                raise InvalidInput(f"{_EXPECTED_QUESTION}, got no {missing[0]}")
            return Text(self._text(value["question"]), self._text(value["context"]))
        if isinstance(value, Mapping) and "datatype" in value:
            raise InvalidInput('expected {"instances": [...]}, got an input of the open inference protocol (v2)')
        if isinstance(value, Mapping) and (key := self._text_key(value)) is not None:
            inner, second = value[key], value.get(SECOND_KEY)
            return self._inner(inner) if second is None else Text(self._text(inner), self._text(second))
        raise InvalidInput(f"{self.expected}, got {shown(value)}")

    def _with_wishes(self, request: Request, value: Mapping[str, Any]) -> Request:
        """With those of an object around the texts over those beside a text."""
        wishes = wishes_of(value)
        return replace(
            request,
            format=wishes.format or request.format,
            top_k=wishes.top_k or request.top_k,
            target=wishes.target if wishes.target is not None else request.target,
        )

    def _text(self, value: Any) -> str:
        if isinstance(value, (bytes, bytearray)):
            return plain(value)
        if not isinstance(value, str):
            raise InvalidInput(f"{self.expected}, got {shown(value)}")
        if half := _HALF.search(value):
            raise InvalidInput(
                f"expected a text of whole characters, got half of one (\\u{ord(half[0]):04x}) at {half.start()}: in JSON "
                "a character beyond \\uffff is two such codes, or itself"
            )
        return value
