"""A sample of requests against the embedding config and the rows: does each feature ask for rows that there are?"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.checking import guesses
from persia.checking.guesses import PROBES, Guess
from persia.checking.leaves import sample_bytes
from persia.checking.report import Report
from persia.checking.scan import Scan
from persia.config import EmbeddingConfig, Slot
from persia.errors import PersiaError
from persia.signs import signs_of
from persia.weights import WEIGHTS

__all__ = ["Sample", "check_numbers", "check_sample", "read_sample"]

_U64 = npt.NDArray[np.uint64]
_FEW_IDS = 5  # so few may be new by chance
_LOW = 0.5  # a share of ids with rows below this is worth a warning
_NEARLY_NONE = 0.1
_SEND_FEWER = "send no more than the model was trained with"
_CHANCE = 0.01  # a part of the table is enough if no hit at all were so seldom, though a share of _LOW had rows


@dataclass
class AskedFeature:
    """A feature of the sample that the config has. `signs` (rounds, ids) are those of its distinct ids."""

    slot: Slot
    ids: _U64
    signs: _U64
    ids_per_sample: npt.NDArray[np.uint32]
    guesses: list[Guess] = field(default_factory=list)


@dataclass
class Sample:
    """`wanted`: all signs that the table is to be asked for, distinct and ascending. `weights`: such dense tensors, by name."""

    path: Path
    batch: _core.Batch
    features: list[AskedFeature]
    wanted: _U64
    weights: frozenset[str]

    @property
    def samples(self) -> int:
        return self.batch.features[0].batch_size if self.batch.features else 0


def read_sample(report: Report, path: Path, config: EmbeddingConfig) -> Sample | None:
    """The first batch of a file, or None and the reason in the report. Says what its features and dense tensors lack."""
    try:
        batch = _core.decode_batch(sample_bytes(path))
    except (PersiaError, OSError) as error:
        report.fail("sample", path.name, str(error), "name a byte batch (.bin), or a file that `persia-launcher infer` reads")
        return None
    features = []
    for feature in batch.features:
        slot = config.slots.get(feature.name)
        if slot is None:
            near = difflib.get_close_matches(feature.name, config.slots, 1)
            hint = f"is it {near[0]}? " if near else ""
            advice = f"{hint}name the features of requests as in the embedding config: {_listed(list(config.slots))}"
            report.fail("sample", feature.name, "the embedding config has no such feature", advice)
            continue
        ids = np.unique(feature.ids)
        asked = AskedFeature(slot, ids, signs_of(ids, slot), np.array(feature.ids_per_sample))
        asked.guesses = guesses.guesses_of(slot, config, ids[:: max(len(ids) // PROBES, 1)][:PROBES])
        features.append(asked)
    parts = [part.reshape(-1) for asked in features for part in (asked.signs, *(guess.signs for guess in asked.guesses))]
    wanted = np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]))
    weights = frozenset(f"{name}{WEIGHTS}" for name, slot in config.slots.items() if slot.weighted)
    sample = Sample(path, batch, features, wanted, weights)
    _check_names(report, sample, config)
    _check_dense(report, sample, config)
    return sample


def check_sample(report: Report, sample: Sample, scan: Scan) -> None:
    """A line for each feature: how many of its distinct ids have rows."""
    for asked in sample.features:
        _check_feature(report, asked, scan)


def check_numbers(report: Report, sample: Sample) -> None:
    """What dense tensors had better not hold where no signature says what the model takes, or what is converted for it."""
    for i, (array, name) in enumerate(zip(sample.batch.dense, sample.batch.dense_names, strict=True)):
        subject = f"dense {name or i}"
        if name in sample.weights:
            continue
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            advice = "fill missing values in as in training"
            report.warn("sample", subject, f"{bad} of {array.size} numbers are NaN or infinite", advice, non_finite=bad)
        if array.dtype == np.float64:
            advice = "send float32, as models are trained with it: a model refuses float64, or computes with it"
            report.warn("sample", subject, "it is float64", advice)


def _check_names(report: Report, sample: Sample, config: EmbeddingConfig) -> None:
    names = [feature.name for feature in sample.batch.features]
    text = f"{sample.samples} samples, {len(names)} features, {len(sample.batch.dense)} dense tensors"
    if missing := [name for name in config.slots if name not in names]:
        advice = "send every feature that the model was trained with, also if it is empty: models take them by their place"
        report.warn("sample", sample.path.name, f"{text}; without {_listed(missing)}, which the config has", advice)
    else:
        report.ok("sample", sample.path.name, text, samples=sample.samples)


def _check_feature(report: Report, asked: AskedFeature, scan: Scan) -> None:
    name, count = asked.slot.name, len(asked.ids)
    if not count:
        report.warn(
            "sample", name, "no sample has an id: its embeddings are zeros", "look whether requests fill the feature in"
        )
        return
    have = scan.found.have(asked.signs).all(axis=0)
    hits = int(have.sum())
    seen = scan.share ** len(asked.signs)  # the chance that an id's rows, one of each round, are among those that were read
    share = min(hits / (count * seen), 1.0) if seen else 0.0
    enough = scan.whole or (1 - _LOW * seen) ** count < _CHANCE
    about = "" if scan.whole else "about "
    text = f"{hits} of {count} distinct ids have a row ({share:.0%})"
    if not scan.whole:
        part = f"{hits} were found in the {scan.share:.0%} of the table that was read"
        text = f"about {share:.0%} of {count} distinct ids have a row: {part}" if hits or enough else f"of {count} ids {part}"
    figures = {"ids": count, "with_rows": hits, "exact": scan.whole}
    if _carry_the_prefix(asked):
        advice = "send ids, not signs: the prefix of the group is added to whatever is sent, and leads to other ids' rows"
        report.fail("sample", name, f"{text}; but its ids have the group's prefix already: they are signs", advice, **figures)
    elif share < _LOW and (told := guesses.best_guess(asked.guesses, scan.found, share, scan.share)):
        guess, other = told
        # Small numbers have rows in many tables: where some ids have rows as they are, the guess may be wrong.
        say = report.fail if enough and share < _NEARLY_NONE else report.warn
        say("sample", name, f"{text}; {about}{other:.0%} have one {guess.text}", guess.advice, **figures)
    elif share < _LOW and not enough:
        text += "; not enough of the table was read to say"
        report.warn("sample", name, text, "--full reads all, a larger --time-limit more", **figures)
    elif share < _LOW and guesses.looks_like_floats(asked.ids):
        advice = "send ids as 64-bit integers: a float64 has no room for more than 2^53"
        report.fail("sample", name, f"{text}; its ids have lost their last bits, as in a float64", advice, **figures)
    elif hits == 0:
        advice = "are its ids written as signs, or hashed in another way than in training?"
        if guesses.looks_like_hashes(asked.ids):
            advice = "its ids look like hashes: is it another hash, or are other bytes hashed, than in training?"
        (report.fail if count >= _FEW_IDS else report.warn)("sample", name, text, advice, **figures)
    elif share < _LOW:
        advice = "ids without a row count as zeros: expected of many new ids, else look how ids are made"
        report.warn("sample", name, text, advice, **figures)
    else:
        report.ok("sample", name, text, **figures)
    _check_hashes_modulo(report, asked)
    _check_length(report, asked)


def _check_hashes_modulo(report: Report, asked: AskedFeature) -> None:
    """Of hashes from 2^63 on, remainders with and without a sign are different ones, and both have rows."""
    modulo = asked.slot.modulo
    if modulo & (modulo - 1) and guesses.looks_like_hashes(asked.ids):
        text = f"its ids look like hashes, of which `modulo: {modulo}` takes those from 2^63 on as negative numbers, as torch"
        advice = f"if training took them without a sign, as TensorFlow's hash buckets do, send hash % {modulo} in their place"
        report.warn("sample", asked.slot.name, text, advice)


def _carry_the_prefix(asked: AskedFeature) -> bool:
    """Whether nearly all ids are signs of their own group already."""
    slot = asked.slot
    if not slot.prefix or slot.hash_stack_rounds or len(asked.ids) < _FEW_IDS:
        return False
    shift = np.uint64(64 - slot.prefix_bits)
    return bool(np.mean(asked.ids >> shift == np.uint64(slot.group_number + 1)) > 0.9)


def _check_length(report: Report, asked: AskedFeature) -> None:
    """Raw features have room for so many ids of a sample; what is beyond is cut."""
    slot = asked.slot
    if slot.embedding_summation:
        return
    longest = int(asked.ids_per_sample.max(initial=0))
    cut = int((asked.ids_per_sample > slot.sample_fixed_size).sum())
    if not cut:
        return
    samples, room = len(asked.ids_per_sample), slot.sample_fixed_size
    text = f"{cut} of {samples} samples have more than {room} ids (up to {longest}): "
    if slot.keep == "all":
        report.fail("sample", slot.name, f"{text}requests with such a sample are refused", _SEND_FEWER, cut=cut)
        return
    text += f"the {slot.keep} {room} are kept, others are cut"
    advice = f"{_SEND_FEWER}, or set `keep` to the end that counts: first or last"
    report.warn("sample", slot.name, text, advice, cut=cut)


def _check_dense(report: Report, sample: Sample, config: EmbeddingConfig) -> None:
    """What is known to be wrong with dense tensors whatever the model."""
    batch = sample.batch
    for i, (array, name) in enumerate(zip(batch.dense, batch.dense_names, strict=True)):
        subject = f"dense {name or i}"
        if name in config.slots:
            advice = f"send {name} as ids (IDTypeFeature): a dense tensor of that name goes to the model as numbers"
            report.fail("sample", subject, "a dense tensor has the name of a feature of ids", advice)
        if name in sample.weights:
            continue
        if any(_same(array, label) for label in batch.labels) or (name and name in batch.label_names):
            advice = "take it out of the dense tensors: the model would see what it is to predict"
            report.fail("sample", subject, "it is one of the sample's labels", advice)


def _same(array: npt.NDArray[Any], label: npt.NDArray[Any]) -> bool:
    """Whether a dense tensor has the very numbers of a label; of constant ones that says nothing."""
    flat, other = array.reshape(-1), label.reshape(-1)
    return flat.size > 1 and flat.shape == other.shape and np.array_equal(flat, other) and bool((flat != flat[0]).any())


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:4])} and {len(names) - 4} more"
