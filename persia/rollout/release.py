"""What the values of a release of the Helm chart say about its embedding servers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from persia.errors import InvalidInput

__all__ = [
    "DEFAULT_SHARDS",
    "DEFAULT_START_SECONDS",
    "MOST_SHARDS",
    "Release",
    "check_name",
    "is_place",
    "merged",
    "read_release",
    "read_values",
]

DEFAULT_SHARDS = 2  # as in the chart's values.yaml
DEFAULT_START_SECONDS = 3600
MOST_SHARDS = 4096
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")  # as Helm wants it
_PLACE = re.compile(r"/|[a-z0-9]+://")  # as the chart wants it


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release that serves. `tier` is the release with the embedding servers, which may be the same."""

    name: str
    namespace: str
    tier: str
    shards: int
    checkpoint: str
    packets: str
    epochs: bool
    prunes: bool
    start_seconds: int

    @property
    def has_own_tier(self) -> bool:
        """Whether the embedding servers are in this very release."""
        return self.tier == self.name


def check_name(name: str, what: str) -> str:
    """Raises InvalidInput for what Helm would not take as a name."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"expected {what} of small letters, digits and -, at most 53 of them, got {name!r:.100}")
    return name


def is_place(text: str) -> bool:
    """Whether pods find files there: an absolute path or a URL."""
    return text.isprintable() and _PLACE.match(text) is not None


def read_values(paths: Sequence[Path]) -> dict[str, Any]:
    """Several files of values, of which a later one counts, as Helm puts them together. Raises InvalidInput, OSError."""
    values: dict[str, Any] = {}
    for path in paths:
        try:
            read = yaml.safe_load(path.read_bytes())
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidInput(f"{path} is no YAML: {' '.join(str(error).split())}") from None
        if read is not None and not isinstance(read, dict):
            raise InvalidInput(f"expected a mapping of values in {path}, got {type(read).__name__}")
        values = merged(values, read or {})
    return values


def merged(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; what `others` says counts, and null takes a key away."""
    whole = dict(values)
    for key, value in others.items():
        earlier = whole.get(key)
        if isinstance(value, dict) and isinstance(earlier, dict):
            whole[key] = merged(earlier, value)
        elif value is None:
            whole.pop(key, None)
        else:
            whole[key] = value
    return whole


def read_release(values: Mapping[str, Any], tier_values: Mapping[str, Any] | None, name: str, namespace: str) -> Release:
    """The release of these values.

    Args:
        values: Of the release whose middleware is asked.
        tier_values: Of the release that has its embedding servers, if that is another one.
        name: Of the release.
        namespace: Where it is.

    Raises:
        InvalidInput: A value has another type than the chart allows, or the values do not say where the embedding servers are.
    """
    check_name(name, "a release")
    check_name(namespace, "a namespace")
    tier = _text(values, "embeddingTier", "release")
    if tier and tier != name and tier_values is None:
        raise InvalidInput(
            f"the embedding servers of {name} are in the release {tier}: give its values, too, by --tier-values "
            f"(helm get values {tier} --namespace {namespace} --output yaml)"
        )
    own = tier_values if tier_values is not None and tier and tier != name else values
    shards = _number(own, "shards", "count", default=DEFAULT_SHARDS)
    if not 1 <= shards <= MOST_SHARDS:
        raise InvalidInput(f"expected shards.count from 1 to {MOST_SHARDS} in the values of {tier or name}, got {shards}")
    if not (_text(own, "checkpoint") or _text(own, "packets")):
        raise InvalidInput(
            f"the values of {tier or name} have neither checkpoint nor packets, without which no release is: give what "
            f"`helm get values {tier or name} --namespace {namespace} --output yaml` prints"
        )
    settings = _section(_section(own, "settings"), "embedding_parameter_server_config")
    return Release(
        name=name,
        namespace=namespace,
        tier=check_name(tier, "embeddingTier.release") if tier else name,
        shards=shards,
        checkpoint=_text(own, "checkpoint"),
        packets=_text(own, "packets"),
        epochs=_flag(own, "epochs"),
        start_seconds=_number(own, "shards", "startSeconds", default=DEFAULT_START_SECONDS),
        prunes=any(key.startswith("incremental_prune_") and bool(value) for key, value in settings.items()),
    )


def _section(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = values.get(key, {})
    if not isinstance(section, Mapping) or not all(isinstance(one, str) for one in section):
        raise InvalidInput(f"expected a section with keys in {key}, got {section!r:.100}")
    return section


def _value(values: Mapping[str, Any], path: tuple[str, ...], default: Any) -> Any:
    *sections, key = path
    for section in sections:
        values = _section(values, section)
    return values.get(key, default)


def _text(values: Mapping[str, Any], *path: str) -> str:
    value = _value(values, path, "")
    if not isinstance(value, str) or not value.isprintable():
        raise InvalidInput(f"expected a text in {'.'.join(path)}, got {value!r:.100}")
    return value


def _number(values: Mapping[str, Any], *path: str, default: int) -> int:
    value = _value(values, path, default)
    if isinstance(value, float) and value.is_integer():  # as `helm get values` may write it
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"expected a whole number in {'.'.join(path)}, got {value!r:.100}")
    return value


def _flag(values: Mapping[str, Any], *path: str) -> bool:
    value = _value(values, path, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"expected true or false in {'.'.join(path)}, got {value!r:.100}")
    return value
