"""What happened to those who asked, as a table: a row for each kind of event."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEAD = "| event | times | ready again after | lookups | slowest | predictions | slowest | failed | wrong | epochs |"
RULE = "|---|---|---|---|---|---|---|---|---|---|"


@dataclass
class Asked:
    """All that callers of one kind asked for during events of one kind."""

    answers: int = 0
    failed: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    epochs: int = 0
    said: Counter[str] = field(default_factory=Counter)  # failures and wrong answers, for whoever looks for the reason

    def add(self, happened: Mapping[str, Any]) -> None:
        """happened: as Callers.take() has it."""
        self.answers += happened["answers"]
        self.failed += happened["failed"]
        self.wrong.update(happened["wrong"])
        self.slowest = max(self.slowest, happened["worst_seconds"])
        self.epochs += max(0, happened["last_epoch"] - happened["first_epoch"])
        self.said.update(happened["failures"])
        self.said.update(happened["examples"])

    @property
    def is_good(self) -> bool:
        """No request failed and no answer is wrong, there were some, and their rows have become newer meanwhile."""
        return not self.failed and not self.wrong and self.answers > 0 and self.epochs > 0


@dataclass
class Row:
    """All events of one kind, and what callers said of the time from the begin of each to its end."""

    event: str
    seconds: list[float] = field(default_factory=list)
    lookups: Asked = field(default_factory=Asked)
    predictions: Asked = field(default_factory=Asked)

    def add(self, seconds: float, lookups: Mapping[str, Any], predictions: Mapping[str, Any]) -> None:
        self.seconds.append(seconds)
        self.lookups.add(lookups)
        self.predictions.add(predictions)

    @property
    def is_good(self) -> bool:
        return self.lookups.is_good and self.predictions.is_good

    def __str__(self) -> str:
        middle, longest = statistics.median(self.seconds), max(self.seconds)
        after = f"{middle:.1f} s" if len(self.seconds) == 1 else f"{middle:.1f} s, at most {longest:.1f} s"
        columns = [self.event, str(len(self.seconds)), after]
        for asked in (self.lookups, self.predictions):
            columns += [f"{asked.answers + asked.failed:,}", f"{asked.slowest * 1000:.0f} ms"]
        wrong = self.lookups.wrong + self.predictions.wrong
        columns.append(str(self.lookups.failed + self.predictions.failed))
        columns.append(", ".join(f"{count} {what}" for what, count in sorted(wrong.items())) or "0")
        return "| " + " | ".join([*columns, str(self.lookups.epochs)]) + " |"


def table(rows: list[Row]) -> str:
    return "\n".join([HEAD, RULE, *map(str, rows)])


def faults(rows: list[Row]) -> str:
    """What is not as it has to be; empty: nothing."""
    lines = []
    for row in rows:
        if not row.is_good:
            lines.append(f"{row.event}: expected answers without a failure, of newer epochs, got {row}")
            said = row.lookups.said + row.predictions.said
            lines += [f"  {count} x {what}" for what, count in said.most_common(10)]
    return "\n".join(lines)
