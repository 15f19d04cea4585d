"""`from_torch`: a model in plain PyTorch becomes a directory from which it is served."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from persia.config import parse_embedding_config
from persia.errors import ExportError
from persia.signature import IdKind
from persia.writers import IncrementalDumper

from .checkpoint import SampleRows, write_tables
from .dense_half import find, own_outputs, save_scripted, split_outputs
from .features import UsedFeature, embedding_config, resolve
from .looked_up import different_feature, recorded
from .proof import Outputs, Proof, check_range, compare_embeddings, compare_outputs, largest_difference
from .sample import Expected, Sample, batch_bytes, named_outputs
from .serving import served_answer, write_archive
from .tables import Table, kind_of

__all__ = ["Export", "from_torch"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """A directory that serves a model, and the proof that it does.

    Attributes:
        directory: All of it.
        name: Of the model, which requests ask for.
        version: Of the model.
        rows: How many rows the table of each feature has.
        proof: What was compared.
    """

    directory: Path
    name: str
    version: str
    rows: Mapping[str, int]
    proof: Proof

    @property
    def embedding_config(self) -> Path:
        """The id features, as all servers, writers and checks take them."""
        return self.directory / "embedding_config.yml"

    @property
    def global_config(self) -> Path:
        """For `persia-launcher up`."""
        return self.directory / "global_config.yaml"

    @property
    def checkpoint(self) -> Path:
        """The rows of all tables."""
        return self.directory / "checkpoint"

    @property
    def incremental_dir(self) -> Path:
        """Where servers look for packets of changed rows."""
        return self.directory / "incremental_dir"

    @property
    def model_store(self) -> Path:
        """The directory of archives."""
        return self.directory / "store"

    @property
    def dense_model(self) -> Path:
        """The dense half in TorchScript."""
        return self.directory / "dense.pt"

    @property
    def archive(self) -> Path:
        """The dense half with its handler."""
        return self.model_store / f"{self.name}-{self.version}.mar"

    @property
    def sample(self) -> Path:
        """The sample as a byte batch, as callers send it."""
        return self.directory / "sample.bin"

    def dumper(self, **options: Any) -> IncrementalDumper:
        """Writes changed and deleted rows by feature and id while the model is served. options: those of IncrementalDumper."""
        return IncrementalDumper(self.incremental_dir, embedding_config=self.embedding_config, **options)


def from_torch(
    model: torch.nn.Module,
    features: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    sample: Mapping[str, Any],
    dense: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
    inputs: Any = None,
    scores: Any = None,
    dense_half: str | torch.nn.Module | None = None,
    name: str = "model",
    version: str = "1.0",
    shards: int = 1,
    tolerance: float = 1e-5,
    overwrite: bool = False,
) -> Export:
    """Writes all that serves the model to the directory `out`, which appears only once the scores of a sample are proved.

    The model consists of tables and a dense half, a module with `forward(dense: List[Tensor], embeddings: List[Tensor])`: the
    dense tensors in the order of `dense`, and the embeddings in the order of `features`.

    Args:
        model: The whole model, or its dense half alone.
        features: By name, each id feature's table, or a Feature that says more. Their order is that of the embeddings.
        out: The directory; made by this call.
        sample: By name, the ids of some samples for each feature, as callers will send them (PersiaBatch.from_dict).
        dense: By name, the dense inputs of the same samples.
        weights: By name, the weights of the ids of weighted features.
        inputs: The same samples as the model's own forward takes them: its arguments, or a mapping of keyword arguments.
        scores: What the model answers to the sample, in place of `inputs`, where the model cannot be called here.
        dense_half: The dense half, or its path in the model, such as "dense". None: the model is its own dense half.
        name: Under which callers ask for the model.
        version: Of the model.
        shards: For how many embedding servers the checkpoint is written. Any other number can load it, too.
        tolerance: By how much scores may differ besides rounding to f16: absolute, and relative above 1.
        overwrite: Whether `out` is replaced if it is there.

    Raises:
        ExportError: The model cannot be served as it is, or what is served is not the model. Nothing is at `out`.
        FeatureError: The sample is wrong; names the feature.
        OSError: The system refuses.
    """
    target = Path(out).resolve()
    _check_target(target, overwrite)
    used = resolve(model, features)
    half = find(model, dense_half)
    own = _Own.of(model, inputs, scores, dense_half)
    taken = _Taken(model, used, half, own, Sample(batch_bytes(list(features), sample, dense, weights), used))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as directory:
        draft = Export(Path(directory) / target.name, name, version, {}, Proof(0, 0.0, {}))
        rows, counts = _write(draft, target, taken, shards)
        proof = _prove(draft, taken, rows, _kinds(used, sample), shards, tolerance)
        if target.exists():
            target.rename(Path(directory) / "replaced")
        draft.directory.rename(target)
    _tell(target, proof)
    return Export(target, name, version, {feature.name: counts[feature.table] for feature in used}, proof)


def _tell(target: Path, proof: Proof) -> None:
    for text in proof.not_tried:
        log.warning("the proof has a gap: %s", text)
    log.info("%s: %s", target, proof)


def _check_target(target: Path, overwrite: bool) -> None:
    """Raises ExportError if an export would replace what is to stay."""
    if target.exists() and not overwrite:
        raise ExportError(f"{target} is there already: choose another directory, or say overwrite=True")
    if packets := sorted((target / "incremental_dir").glob("s*/inc_*")):
        raise ExportError(
            f"{target} has update packets, such as {packets[0].name}, which an export would throw away: export to another "
            "directory, or move `incremental_dir` out of the way"
        )


@dataclass(frozen=True)
class _Own:
    """Where the model's own scores come from: its forward, given scores, or its dense half."""

    inputs: Any
    scores: Any

    @classmethod
    def of(cls, model: torch.nn.Module, inputs: Any, scores: Any, dense_half: Any) -> _Own:
        if inputs is not None and scores is not None:
            raise ExportError("`inputs` and `scores` are two ways to the model's own scores: give one")
        if inputs is not None and dense_half is None:
            raise ExportError(
                "`inputs` says that the model takes ids by itself, so a part of it is the dense half: name this module as "
                "`dense_half`, such as dense_half='dense'"
            )
        if dense_half is not None and inputs is None and scores is None:
            raise ExportError(
                f"the scores of the whole {type(model).__name__} are what served scores are compared with: give `inputs`, the "
                "sample as its forward takes it, or `scores`, what it answers"
            )
        return cls(inputs, scores)


@dataclass(frozen=True)
class _Taken:
    """A model that was taken apart, and the sample by which the parts are compared with it."""

    model: torch.nn.Module
    features: list[UsedFeature]
    half: torch.nn.Module
    own: _Own
    sample: Sample


def _write(draft: Export, target: Path, taken: _Taken, shards: int) -> tuple[dict[Table, SampleRows], dict[Table, int]]:
    """All files but the archive, with the paths that they will have at the target."""
    for directory in (draft.directory, draft.model_store, draft.incremental_dir):
        directory.mkdir()
    text = yaml.safe_dump(embedding_config(taken.features), sort_keys=False, allow_unicode=True)
    draft.embedding_config.write_text("# The id features of the model. Their order is part of it.\n" + text)
    draft.sample.write_bytes(taken.sample.data)
    settings = {
        "common_config": {"infer_config": {"embedding_checkpoint": str(target / draft.checkpoint.name)}},
        "embedding_parameter_server_config": {
            "enable_incremental_update": True,
            "incremental_dir": str(target / draft.incremental_dir.name),
        },
    }
    draft.global_config.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    config = parse_embedding_config(text, str(draft.embedding_config))
    save_scripted(taken.half, draft.dense_model)  # before the tables, which may be large: authors err here most
    return write_tables(draft.checkpoint, taken.features, config, shards, taken.sample.wanted())


def _prove(
    draft: Export,
    taken: _Taken,
    rows: dict[Table, SampleRows],
    kinds: dict[str, IdKind],
    shards: int,
    tolerance: float,
) -> Proof:
    """Writes the archive, and compares what is served with the model. Raises ExportError, FeatureError."""
    sample = taken.sample
    ids = {feature.name: sample.ids_with_rows(feature, rows) for feature in taken.features}
    _check_ids(ids)
    expected = [sample.expected(feature, rows) for feature in taken.features]
    check_range(taken.features, expected)
    full = _check_split(taken, expected, tolerance)
    single = [feature.name for feature in taken.features if sample.is_single(feature)]
    files = (draft.dense_model, draft.model_store, draft.sample, draft.embedding_config)
    write_archive(draft.name, draft.version, *files, single=single, ids=kinds)
    answered = _check_served(draft, taken, expected, shards, tolerance)
    return Proof(sample.size, largest_difference(full, answered), ids, sample.not_tried())


def _kinds(features: list[UsedFeature], sample: Mapping[str, Any]) -> dict[str, IdKind]:
    """What callers send as ids, by feature: without those whose table has hashes where the sample has text."""
    return {
        feature.name: feature.table.ids
        for feature in features
        if kind_of(feature.name, sample[feature.name]) == feature.table.ids
    }


def _check_ids(ids: Mapping[str, tuple[int, int]]) -> None:
    """Raises ExportError for a feature of whose ids in the sample none has a row: the mapping of ids to rows is wrong."""
    for name, (asked, found) in ids.items():
        if not found:
            raise ExportError(
                f"none of the sample's {asked} ids of feature `{name}` has a row in the feature's table: does `ids` name the "
                "id of each row as callers send it?"
            )


def _check_split(taken: _Taken, expected: list[Expected], tolerance: float) -> Outputs:
    """The model's own scores, which those of its dense half must equal. Raises ExportError."""
    split = named_outputs(split_outputs(taken.half, taken.sample.dense, [each.values.astype("f4") for each in expected]))
    own, features = taken.own, taken.features
    if own.inputs is None and own.scores is None:
        return split
    with recorded(features) as looked_up:
        full = named_outputs(own_outputs(taken.model, own.inputs) if own.scores is None else own.scores)
    hint = different_feature(features, expected, looked_up, tolerance) or (
        "The tables' rows seem right. The usual causes: the model's forward does something besides its dense half, or hands it "
        "features in another order than `features` has; `dense` has the dense tensors in another order; `sample` has ids of "
        "padding, which callers do not send; the rows of several ids are pooled in another way (mean or sum, weights)"
    )
    compare_outputs(full, split, tolerance, "the dense half on the tables' rows does not give the model's own scores", hint)
    return full


def _check_served(draft: Export, taken: _Taken, expected: list[Expected], shards: int, tolerance: float) -> Outputs:
    """The served scores, of which embeddings and dense half are compared one by one. Raises ExportError."""
    served = draft.directory.parent / "served"
    served.mkdir()
    answered, embeddings = served_answer(served, draft.checkpoint, draft.embedding_config, shards, draft.archive, draft.sample)
    compare_embeddings(taken.features, expected, embeddings, "the served embeddings are not those of the tables")
    rounded = named_outputs(split_outputs(taken.half, taken.sample.dense, embeddings))
    hint = "The archive scores the same embeddings in another way than the module that was scripted"
    compare_outputs(rounded, answered, tolerance, "the served scores are not those of the dense half", hint)
    return answered
