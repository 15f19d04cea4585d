"""Model archives: are they whole, do their models load, fit the embedding config, and give finite scores for a sample?"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.checking import signatures
from persia.checking.report import Report
from persia.checking.samples import Sample
from persia.checking.scan import Rows, Scan
from persia.config import EmbeddingConfig, parse_embedding_config
from persia.errors import PersiaError
from persia.routing.lookup import split
from persia.routing.slots import make_slots
from persia.signature import Signature, read_signature
from persia.torchserve.archive.contents import Contents, open_archive
from persia.torchserve.archive.handler_files import PERSIA_HANDLER

__all__ = ["check_archive", "embeddings_of", "find_archives", "judges_dense"]

MAX_NUMBERS = 1 << 29
_Array = npt.NDArray[Any]


def find_archives(report: Report, store: Path | None, models: str, named: Sequence[Path], restored: bool) -> list[Path]:
    """The archives of a store that TorchServe would load (`models` as for it), and those that are named one by one.

    restored: TorchServe has a state of its own, by which it may need an archive that is named no more.
    """
    found = list(named)
    if store is None:
        return found
    wanted = [model.strip().rpartition("=")[2] for model in models.split(",") if model.strip()]
    in_store = sorted(path for path in store.iterdir() if path.suffix == ".mar" and not path.name.startswith("."))
    if "all" in wanted:
        found += in_store
        if not in_store:
            report.warn("archive", "", f"there is no archive in {store}", "pack the model with `persia-launcher archive`")
        return found
    for name in wanted:
        if (store / name).exists():
            found.append(store / name)
        else:
            have = ", ".join(path.name for path in in_store) or "none"
            say = report.warn if restored else report.fail
            say("archive", name, f"there is no such archive in {store}", f"there are: {have}")
    return found


def check_archive(
    report: Report, path: Path, config: EmbeddingConfig | None, sample: Sample | None, scan: Scan | None
) -> Contents | None:
    """Lines for one archive. None if it cannot be read."""
    subject = path.name
    try:
        archive = open_archive(path)
        signature = read_signature(archive.signature, str(path)) if archive.signature is not None else None
    except (PersiaError, OSError) as error:
        report.fail("archive", subject, str(error), "pack the model again with `persia-launcher archive`")
        return None
    text = f"{archive.name} {archive.version}, handler {archive.handler or 'none'}, {archive.model_bytes / 2**20:.1f} MiB"
    report.ok("archive", subject, text, model=archive.name, version=archive.version, bytes=archive.model_bytes)
    if archive.text_mode is not None:
        _check_text_model(report, path)
        return archive
    if not archive.handler:
        text = "it has no handler: the model server serves its tensors (docs/open-inference.md), TorchServe refuses it"
        report.warn(
            "archive", subject, text, "pack the model with `persia-launcher archive` if it takes features, or for TorchServe"
        )
        return archive
    fits = _check_own_config(report, subject, archive, config)
    dense: Sequence[_Array] = sample.batch.dense if sample is not None else []
    if signature is None:
        advice = "pack it again with --sample, or --features: then requests are checked, and features put in the model's order"
        report.warn("archive", subject, "it has no signature: features count by their place in requests", advice)
    elif config is not None:
        fits &= signatures.check_config(report, subject, signature, config)
        if sample is not None:
            placed = signatures.dense_of(report, subject, signature, sample, archive.drops_extra)
            fits &= placed is not None
            dense = placed if placed is not None else dense
        if fits:
            text = f"its signature fits: {len(signature.features)} features, {len(signature.dense)} dense tensors"
            report.ok("archive", subject, text)
    if fits:
        _try(report, path, archive, signature, config, sample, scan, dense)
    return archive


def _check_text_model(report: Report, path: Path) -> None:
    """Loads it as a worker would, which is all that can be known without texts."""
    lacking = [name for name in ("torch", "tokenizers") if importlib.util.find_spec(name) is None]
    if lacking:
        advice = "pip install 'persia-serve[transformers]' where TorchServe is to run"
        report.warn("archive", path.name, f"its text model was not loaded: there is no {lacking[0]} here", advice)
        return
    try:
        from persia.torchserve.archive.text.answers import load_text_model  # torch: a second

        model = load_text_model(path)
    except (PersiaError, OSError) as error:
        report.fail("archive", path.name, str(error), "pack the model again with `persia-launcher archive --transformers`")
        return
    labels, tokens = len(model.labels), int(model.tokenizer.max_length)
    named = f"{labels} labels, " if labels else ""
    report.ok(
        "archive",
        path.name,
        f"a text model for {model.mode}, which loads: {named}up to {tokens} tokens",
        labels=labels,
        tokens=tokens,
    )


def judges_dense(archive: Contents) -> bool:
    """Whether its signature says what dense tensors may hold; a text model takes none. Raises CorruptFile."""
    if archive.text_mode is not None:
        return True
    return archive.signature is not None and read_signature(archive.signature).dense_known


def _check_own_config(report: Report, subject: str, archive: Contents, config: EmbeddingConfig | None) -> bool:
    """Whether a handler that routes by itself, with an embedding config of its own, makes the same signs."""
    if archive.embedding_config is None or config is None:
        return True
    try:
        own = parse_embedding_config(archive.embedding_config)
    except PersiaError as error:
        report.fail("archive", subject, f"its own embedding config: {error}", "mend it, and pack the model again")
        return False
    if own.fingerprint == config.fingerprint:
        return True
    names = [name for name in {**own.slots, **config.slots} if own.slots.get(name) != config.slots.get(name)]
    text = f"its handler has an embedding config of its own, which differs from this one: {', '.join(names[:5])}"
    report.fail("archive", subject, text, "pack the archive with the embedding config of the table, or without one")
    return False


def embeddings_of(batch: _core.Batch, config: EmbeddingConfig, found: Rows) -> dict[str, npt.NDArray[np.float16]]:
    """The tensors that a lookup of the batch would give with these rows, by feature. Raises FeatureError, TooLarge."""
    builder = _core.TableBuilder()
    for dim in np.unique(found.dims).tolist():
        signs, rows = found.of_dim(dim)
        builder.put(signs, rows)
    table = _core.Table(builder)
    plan = _core.make_plan(batch, make_slots(config), 1)
    room, shapes = plan.room()
    (request,) = plan.requests
    parts, asked = request.parts.tobytes(), request.signs.tobytes()
    counts, samples = request.sum_counts.tobytes(), request.sum_samples.tobytes()
    numbers = _core.answer(table.pin(), parts, asked, counts, samples, MAX_NUMBERS)[0]
    plan.assemble([numbers], room)
    return dict(zip(plan.feature_names, split(room, shapes), strict=True))


def _try(
    report: Report,
    path: Path,
    archive: Contents,
    signature: Signature | None,
    config: EmbeddingConfig | None,
    sample: Sample | None,
    scan: Scan | None,
    dense: Sequence[_Array],
) -> None:
    """Loads the model, and asks it for the scores of the sample if there are rows to look up."""
    subject = path.name
    if importlib.util.find_spec("torch") is None:
        advice = "pip install 'persia-serve[torchserve]' where TorchServe is to run"
        report.warn("archive", subject, "its model was not loaded: there is no torch here", advice)
        return
    from persia.torchserve.archive.dense.answers import load_model_of, scores_of  # torch: a second

    try:
        if (
            sample is None
            or config is None
            or scan is None
            or not scan.whole
            or len(sample.features) < len(sample.batch.features)
        ):
            load_model_of(path)
            report.ok("archive", subject, "its model loads (scores need a sample, its rows, and known features)")
            return
        by_name = embeddings_of(sample.batch, config, scan.found)
        if signature is not None:
            embeddings: list[_Array] = [by_name[feature.name] for feature in signature.features]
        else:
            embeddings = list(by_name.values())
        outputs = scores_of(path, dense, embeddings)
    except (PersiaError, OSError) as error:
        ours = archive.handler == PERSIA_HANDLER.name
        advice = "pack the model again: our handler calls it with a list of dense tensors and a list of embeddings"
        if not ours:
            advice = "no matter if its own handler calls the model in another way than with two lists of tensors"
        (report.fail if ours else report.warn)("archive", subject, str(error), advice)
        return
    _judge(report, subject, outputs)


def _judge(report: Report, subject: str, outputs: Sequence[_Array]) -> None:
    scores = np.concatenate([np.zeros(0, np.float32), *(output.reshape(-1) for output in outputs)])
    finite = scores[np.isfinite(scores)]
    if len(finite) < len(scores):
        text = f"{len(scores) - len(finite)} of {len(scores)} scores of the sample are NaN or infinite"
        report.fail("archive", subject, text, "look for NaN in the sample's dense tensors, in rows, and in the model's weights")
        return
    if not len(scores):
        report.warn("archive", subject, "the model answers no numbers for the sample", "look what its forward() returns")
        return
    low, middle, high = float(finite.min()), float(finite.mean()), float(finite.max())
    text = f"scores of the sample from {low:.6g} to {high:.6g}, mean {middle:.6g}"
    figures = {"min": low, "mean": middle, "max": high}
    if len(scores) > 1 and low == high:
        report.warn(
            "archive", subject, f"{text}: all are the same", "look whether the sample's features reach the model", **figures
        )
    else:
        report.ok("archive", subject, text, **figures)
