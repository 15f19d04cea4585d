"""TorchServe's config.properties, with the environment's values over it where the file allows that."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persia.errors import ConfigError
from persia.torchserve.java_properties import read_properties

__all__ = ["Properties"]

_ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^\]]+\]|[^:/]*)(?::(?P<port>\d+))?/?$")
_PREFIX = "TS_"
_TRUE = "true"
# These have a meaning of their own, and are no keys of the file.
_OWN_VARIABLES = frozenset(["TS_CONFIG_FILE", "TS_METRICS_CONFIG"])
# Only if the key that stands beside it is true in the file.
_GUARDED = {"allowed_urls": "use_env_allowed_urls"}
# TorchServe takes these of the environment without being told to.
_ALWAYS = frozenset(
    [
        "decode_input_request",
        "disable_token_authorization",
        "enable_model_api",
        "service_envelope",
        "token_expiration_min",
    ]
)


class Properties:
    """Values by key, each with the place that it is from. An empty value counts as none.

    Every key that is asked for is remembered, so that unused() can tell which ones of the file nobody asked for.
    """

    def __init__(self, path: Path | None, environment: Mapping[str, str] = os.environ) -> None:
        """Raises OSError."""
        self._values: dict[str, tuple[str, str]] = {}
        self._asked = set(_GUARDED.values())
        if path is not None:
            for entry in read_properties(path):
                self._values[entry.key] = (_filled(entry.value, environment).strip(), f"{path}, line {entry.line}")
        self._take_environment(environment)
        self._values = {key: value for key, value in self._values.items() if value[0]}

    def _take_environment(self, environment: Mapping[str, str]) -> None:
        everything = self.flag("enable_envvars_config")
        for name, value in environment.items():
            key = name[len(_PREFIX) :].lower()
            if not name.startswith(_PREFIX) or name in _OWN_VARIABLES or not (everything or key in _ALWAYS):
                continue
            if key in _GUARDED and not self.flag(_GUARDED[key]):
                continue
            self._values[key] = (value, f"${name}")

    def unused(self) -> dict[str, str]:
        """The keys of the file that nobody has asked for, and where they stand."""
        return {key: place for key, (_, place) in self._values.items() if key not in self._asked and not place.startswith("$")}

    @property
    def asked(self) -> frozenset[str]:
        """The keys that were asked for, whether the file has them or not."""
        return frozenset(self._asked)

    def text(self, key: str) -> str | None:
        """None: nothing says it."""
        self._asked.add(key)
        return self._values[key][0] if key in self._values else None

    def number(self, key: str, default: int, most: int | None = None) -> int:
        """most: None: any number will do. Raises ConfigError."""
        value = self.text(key)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit()):
            raise self.wrong(key, "a number")
        # Leading zeros aside, one with more digits is larger; int() refuses those with thousands of them.
        if most is not None and int(value) > most:
            raise self.wrong(key, f"a number of at most {most}")
        return int(value)

    def optional_number(self, key: str) -> int | None:
        """None: nothing says it. Raises ConfigError."""
        return None if self.text(key) is None else self.number(key, 0)

    def flag(self, key: str, default: bool = False) -> bool:
        """Whatever is not `true` is false, as in TorchServe."""
        value = self.text(key)
        return default if value is None else value.lower() == _TRUE

    def words(self, key: str) -> list[str]:
        """What stands between commas."""
        return [part.strip() for part in (self.text(key) or "").split(",") if part.strip()]

    def mapping(self, key: str) -> dict[str, Any]:
        """A JSON object; an empty one if nothing says it. Raises ConfigError."""
        value = self.text(key)
        if value is None:
            return {}
        try:
            found = json.loads(value)
        except ValueError as error:
            raise self.wrong(key, f"JSON ({error})") from error
        if not isinstance(found, dict):
            raise self.wrong(key, "a JSON object")
        return found

    def pattern(self, key: str) -> re.Pattern[str] | None:
        """A regular expression; None: nothing says it. Raises ConfigError."""
        value = self.text(key)
        return None if value is None else self._compiled(key, value)

    def patterns(self, key: str) -> tuple[re.Pattern[str], ...]:
        """Regular expressions between commas. Raises ConfigError."""
        return tuple(self._compiled(key, part) for part in self.words(key))

    def address(self, key: str, default: str) -> str:
        """`host:port` or `unix:/path` of an address of HTTP. Raises ConfigError."""
        value = self.text(key)
        if value is None or value.startswith("unix:"):
            return value or default
        matched = _ADDRESS.fullmatch(value)
        if matched is None:
            raise self.wrong(key, "an address such as http://127.0.0.1:8080 or unix:/path")
        return f"{matched['host']}:{matched['port'] or 80}"

    def is_https(self, key: str) -> bool:
        """Whether an address of HTTP begins so."""
        return (self.text(key) or "").startswith("https://")

    def _compiled(self, key: str, text: str) -> re.Pattern[str]:
        try:
            return re.compile(text)
        except re.error as error:
            raise self.wrong(key, f"a regular expression ({error})") from error

    def place(self, key: str) -> str:
        """Where its value is from. REQUIRES: it has one."""
        return self._values[key][1]

    def wrong(self, key: str, expected: str) -> ConfigError:
        """The error of a value that is not as expected."""
        value, place = self._values[key]
        return ConfigError(f"{place}: expected {expected} for {key}, got {value!r}", f"$.{key}")


def _filled(value: str, environment: Mapping[str, str]) -> str:
    """With the environment's values in place of `$$NAME$$`."""
    return re.sub(r"\$\$(\w+)\$\$", lambda match: environment.get(match[1], match[0]), value)
