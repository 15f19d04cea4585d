"""What a check has found: a line for each thing looked at, as a table for people and as JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

__all__ = ["FAILED", "WARNED", "Finding", "Report"]

State = Literal["ok", "warn", "fail"]
Value = int | float | str | bool | None

WARNED, FAILED = 1, 2  # exit codes
COLUMNS = 120
_STATE_COLUMNS = 6
_SUBJECT_COLUMNS = 34


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`area` and `subject` say what was looked at, `text` what was found, `advice` what to do, `figures` the numbers."""

    state: State
    area: str
    subject: str
    text: str
    advice: str = ""
    figures: dict[str, Value] = {}


@dataclass
class Report:
    """Findings in the order in which they were made. `praise`: the verdict if nothing failed."""

    findings: list[Finding] = field(default_factory=list)
    praise: str = "ready to serve"

    def ok(self, area: str, subject: str, text: str, **figures: Value) -> None:
        self.findings.append(Finding(state="ok", area=area, subject=subject, text=text, figures=figures))

    def warn(self, area: str, subject: str, text: str, advice: str, **figures: Value) -> None:
        self._add("warn", area, subject, text, advice, figures)

    def fail(self, area: str, subject: str, text: str, advice: str, **figures: Value) -> None:
        self._add("fail", area, subject, text, advice, figures)

    def _add(self, state: State, area: str, subject: str, text: str, advice: str, figures: dict[str, Value]) -> None:
        self.findings.append(Finding(state=state, area=area, subject=subject, text=text, advice=advice, figures=figures))

    def count(self, state: State) -> int:
        return sum(finding.state == state for finding in self.findings)

    def exit_code(self, strict: bool) -> int:
        """0: nothing failed. 1: there are warnings, and they count. 2: something failed."""
        if self.count("fail"):
            return FAILED
        return WARNED if strict and self.count("warn") else 0

    def to_json(self) -> str:
        content = {
            "failures": self.count("fail"),
            "warnings": self.count("warn"),
            "findings": [msgspec.to_builtins(finding) for finding in self.findings],
        }
        return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()

    def lines(self, problems_only: bool = False) -> Iterator[str]:
        """The table, whose lines fit 120 columns, and a last line with the verdict."""
        shown = [finding for finding in self.findings if finding.state != "ok" or not problems_only]
        named = [(finding, f"{finding.area}: {finding.subject}" if finding.subject else finding.area) for finding in shown]
        width = min(max((len(name) for _, name in named), default=0), _SUBJECT_COLUMNS)
        for finding, name in named:
            yield from _rows(finding, name, width)
        yield self.verdict()

    def verdict(self) -> str:
        failures, warnings = self.count("fail"), self.count("warn")
        if failures:
            return f"not ready to serve: {_many(failures, 'failure')}, {_many(warnings, 'warning')}"
        return f"{self.praise}: no failures, {_many(warnings, 'warning')}"


def _rows(finding: Finding, name: str, width: int) -> Iterator[str]:
    begin = _STATE_COLUMNS + width + 2
    text = _wrapped(finding.text, COLUMNS - begin)
    if finding.advice:
        first, *rest = _wrapped(finding.advice, COLUMNS - begin - 3)
        text += [f"-> {first}", *(f"   {line}" for line in rest)]
    names = _wrapped(name, width)
    for i in range(max(len(text), len(names))):
        state = finding.state.upper() if i == 0 else ""
        subject = names[i] if i < len(names) else ""
        yield f"{state:<{_STATE_COLUMNS}}{subject:<{width}}  {text[i] if i < len(text) else ''}".rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
