"""YAML text -> nodes.

Of PyYAML only the parser is used, for four reasons: its loaders drop the lines, so no error could name one; they let the
last of two equal keys win; they follow YAML 1.1, where `on` is a boolean and `2022-01-01` a date, while Persia's parser
kept both as text; and they expand aliases without a bound. Here a scalar stays text until the reader knows which type is
wanted, and size, depth and expansion are limited.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from persia.config.nodes import List, Map, Node, Scalar, child_path, describe
from persia.errors import ConfigError

MAX_BYTES = 16 << 20
MAX_NODES = 500_000  # after the expansion of aliases
MAX_DEPTH = 32

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STRING_TAG = "tag:yaml.org,2002:str"


def parse_tree(data: bytes | str, file: str | None = None) -> Map:
    """The mapping that a config file holds. Raises ConfigError for everything that is not one."""
    builder = _Builder(file)
    try:
        for event in yaml.parse(_decode(data, file), Loader=_Loader):
            builder.add(event)
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (error.problem or ""):  # newer releases of PyYAML have a limit of their own, and look ahead
            raise ConfigError(f"expected at most {MAX_DEPTH} levels, got more", file=file) from None
        mark: Any = error.problem_mark or error.context_mark
        column = f" at column {mark.column + 1}" if mark else ""
        hint = " (is the line indented too far?)" if "mapping values are not allowed" in (error.problem or "") else ""
        problem = f"not valid YAML{column}: {error.problem or error.context}{hint}"
        raise ConfigError(problem, file=file, line=mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, ValueError) as error:  # PyYAML lets chr() of an escape like "\U00110000" fail as it will
        raise ConfigError(f"not valid YAML: {error}", file=file) from None
    root = builder.root
    if root is None or (isinstance(root, Scalar) and root.is_null):
        raise ConfigError("the file is empty: expected a mapping", file=file)
    if not isinstance(root, Map):
        raise root.error(f"expected a mapping, got {describe(root)}")
    return root


def _decode(data: bytes | str, file: str | None) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"expected at most {MAX_BYTES} bytes, got more", file=file)
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            problem = f"expected UTF-8, got the byte 0x{error.object[error.start]:02x} (byte {error.start} of the file)"
            raise ConfigError(problem, file=file, line=line) from None
    if found := _UNPRINTABLE.search(data):
        line = data.count("\n", 0, found.start()) + 1
        raise ConfigError(f"expected text, got the control character U+{ord(found[0]):04X}", file=file, line=line)
    return data


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    node: List | Map
    anchor: str | None
    key: Scalar | None = None  # of a mapping: the key whose value comes next
    key_lines: dict[str, int] = field(default_factory=dict)


class _Builder:
    """Turns the parser's events into nodes, on a stack of its own: deep nesting cannot overflow Python's."""

    def __init__(self, file: str | None) -> None:
        self.root: Node | None = None
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._nodes = 0
        self._documents = 0

    def add(self, event: yaml.Event) -> None:
        mark: Any = event.start_mark
        line = mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise ConfigError("expected one YAML document, got a second", file=self._file, line=line)
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self._open.pop()
            self._remember(closed.anchor, closed.node)
        elif isinstance(event, yaml.NodeEvent):
            path, line = self._next_place(line)
            node = self._node(event, path, line)
            self._place(node)
            if isinstance(event, yaml.CollectionStartEvent):
                assert isinstance(node, (List, Map))
                self._open.append(_Open(node, event.anchor))
                if len(self._open) > MAX_DEPTH:
                    raise node.error(f"expected at most {MAX_DEPTH} levels, got more")
            elif isinstance(event, yaml.ScalarEvent):
                self._remember(event.anchor, node)

    def _remember(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _next_place(self, line: int) -> tuple[str, int]:
        """Path and line of the node that comes next; a value has the line of its key."""
        if not self._open:
            return "$", line
        top = self._open[-1]
        if isinstance(top.node, List):
            return child_path(top.node.path, len(top.node.items)), line
        if top.key is None:
            return top.node.path, line
        return child_path(top.node.path, top.key.text), top.key.line

    def _node(self, event: yaml.NodeEvent, path: str, line: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            # An anchor is remembered when its value is complete, so a value cannot hold itself.
            if (target := self._anchors.get(str(event.anchor))) is None:
                raise ConfigError(f"the alias `*{event.anchor}` names no complete value above it", path, self._file, line)
            return self._copy(target, path, line, len(self._open) + 1)
        assert isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent))
        tag = event.tag
        if tag not in (None, "!") and not (tag == _STRING_TAG and isinstance(event, yaml.ScalarEvent)):
            raise ConfigError(f"expected no YAML tag, got `{tag}`", path, self._file, line)
        self._count(path, line)
        if isinstance(event, yaml.ScalarEvent):
            return Scalar(path, line, self._file, event.value, plain=tag is None and event.style in (None, ""))
        kind = List if isinstance(event, yaml.SequenceStartEvent) else Map
        return kind(path, line, self._file)

    def _copy(self, node: Node, path: str, line: int, depth: int) -> Node:
        """An alias gets a copy, so that a path names the place of use; the count bounds the work of nested aliases."""
        self._count(path, line)
        if depth > MAX_DEPTH and not isinstance(node, Scalar):
            raise ConfigError(f"expected at most {MAX_DEPTH} levels (aliases expanded), got more", path, self._file, line)
        if isinstance(node, List):
            items = [self._copy(item, child_path(path, i), line, depth + 1) for i, item in enumerate(node.items)]
            return List(path, line, self._file, items)
        if isinstance(node, Map):
            entries = {key: self._copy(value, child_path(path, key), line, depth + 1) for key, value in node.entries.items()}
            return Map(path, line, self._file, entries)
        assert isinstance(node, Scalar)
        return Scalar(path, line, self._file, node.text, node.plain)

    def _count(self, path: str, line: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ConfigError(f"expected at most {MAX_NODES} values (aliases expanded), got more", path, self._file, line)

    def _place(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        top = self._open[-1]
        if isinstance(top.node, List):
            top.node.items.append(node)
        elif top.key is not None:
            top.node.entries[top.key.text] = node
            top.key = None
        elif not isinstance(node, Scalar):
            raise node.error(f"expected a name as key, got {describe(node)}")
        elif node.text in top.key_lines:
            problem = f"the key `{node.text}` stands twice, first on line {top.key_lines[node.text]}"
            raise ConfigError(problem, child_path(node.path, node.text), self._file, node.line)
        else:
            top.key = node
            top.key_lines[node.text] = node.line
