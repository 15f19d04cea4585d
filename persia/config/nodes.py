"""The tree that a config file is read into: text that knows its path and line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from persia.errors import ConfigError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass
class Node:
    """A place in a file. `line` is the line of its key, if it has one."""

    path: str
    line: int
    file: str | None

    def error(self, problem: str) -> ConfigError:
        return ConfigError(problem, self.path, self.file, self.line)


@dataclass
class Scalar(Node):
    text: str = ""
    plain: bool = True  # written without quotes: may mean a number, a boolean or null

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass
class List(Node):
    items: list[Node] = field(default_factory=list)


@dataclass
class Map(Node):
    entries: dict[str, Node] = field(default_factory=dict)


def child_path(parent: str, key: str | int) -> str:
    """`$.a` and `b` -> `$.a.b`; a key that a dot would make ambiguous is quoted: `$.a["my key"]`."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if _IDENTIFIER.fullmatch(key) else f'{parent}["{key}"]'


def describe(node: Node) -> str:
    """What stands at `node`, for the `got` of a message."""
    if isinstance(node, List):
        return "a list"
    if not isinstance(node, Scalar):
        return "a mapping"
    if node.is_null:
        return "nothing (null)"
    text = node.text if len(node.text) <= 60 else node.text[:57] + "..."
    return f"`{text}`" if node.plain else f"the text {text!r}"
