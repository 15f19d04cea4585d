"""Prometheus' text format, with the names as they are: TorchServe's counters do not end in `_total`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

__all__ = ["CONTENT_TYPE", "Family", "Sample", "histogram_samples", "text_of", "torchserve_family"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """One line. `suffix`: behind the family's name."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


class Family(NamedTuple):
    """A metric. `kind`: counter, gauge or histogram.

    `of_torchserve`: it is written as TorchServe's Java writes it: with a comma behind the last label, and also without samples.
    """

    name: str
    help: str
    kind: str
    samples: list[Sample]
    of_torchserve: bool = False


def histogram_samples(labels: Mapping[str, str], bounds: Iterable[float], counts: Iterable[int], total: float) -> list[Sample]:
    """counts: within each bound, and more than the one before; the last one beyond all of them."""
    samples = []
    count = 0
    for bound, within in zip((*map(_number, bounds), "+Inf"), counts, strict=True):
        count += within
        samples.append(Sample({**labels, "le": bound}, count, "_bucket"))
    return [*samples, Sample(labels, count, "_count"), Sample(labels, total, "_sum")]


def text_of(families: Iterable[Family], names: Collection[str] = ()) -> str:
    """names: only lines with these names; empty: all of them."""
    lines: list[str] = []
    for family in families:
        samples = [sample for sample in family.samples if not names or family.name + sample.suffix in names]
        if not samples and not (family.of_torchserve and (not names or family.name in names)):
            continue
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        end = "," if family.of_torchserve else ""
        lines += [f"{family.name}{sample.suffix}{_labels(sample.labels, end)} {_number(sample.value)}" for sample in samples]
    return "".join(f"{line}\n" for line in lines)


def torchserve_family(name: str, kind: str, unit: str, samples: list[Sample]) -> Family:
    """As TorchServe describes its metrics."""
    return Family(name, f"Torchserve prometheus {kind} metric with unit: {unit}", kind, samples, of_torchserve=True)


def _labels(labels: Mapping[str, str], end: str) -> str:
    if not labels:
        return ""
    inner = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())
    return f"{{{inner}{end}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    return repr(float(value))
