"""What the handler knows of its archive, and tells of each answer."""

from __future__ import annotations

import hashlib
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from persia import __version__
from persia.checkpoint_id import checkpoint_name
from persia.dense_version import DenseVersion
from persia.routing.lookup import Lookup
from persia.signature import SIGNATURE_FILE, Signature, read_signature
from persia.torchserve.details import Details, FeatureDetails

__all__ = ["ModelIdentity", "details_of", "read_archive_signature"]

log = logging.getLogger(__name__)

_HASH_DIGITS = 16


class ModelIdentity:
    """The name and version of a model, and a hash of its file, which is read when it is first asked for."""

    def __init__(self, context: Any, file: Path) -> None:
        """context: TorchServe's, of a worker."""
        manifest = context.manifest["model"]
        self.name = str(manifest.get("modelName", ""))
        self.version = str(manifest.get("modelVersion") or "1.0")
        self.dense = DenseVersion(str(getattr(context, "model_name", None) or self.name), self.version)  # as it is served
        self._file = file

    @cached_property
    def hash(self) -> str:
        digest = hashlib.sha256()
        with self._file.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()[:_HASH_DIGITS]


def read_archive_signature(directory: Path) -> Signature | None:
    """The signature in an unpacked archive; None, with a warning, if the archive has none. Raises CorruptFile, OSError."""
    path = directory / SIGNATURE_FILE
    try:
        return read_signature(path.read_bytes(), str(path))
    except FileNotFoundError:
        log.warning(
            "the archive has no signature: requests are not checked, and features keep the order in which they come; "
            "`persia-launcher archive --sample` (or `--features`) writes one"
        )
        return None


def details_of(identity: ModelIdentity, lookup: Lookup | None, cached: bool = False) -> Details:
    """What an answer was made of. lookup: None if a subclass of the handler did it in its own way."""
    details = Details(
        model=identity.name,
        model_version=identity.version,
        model_hash=identity.hash,
        release=__version__,
        cached=cached,
    )
    if lookup is None:
        return details
    checkpoint, config = lookup.checkpoint_id, lookup.embedding_config_id
    return msgspec.structs.replace(
        details,
        table_versions=tuple(lookup.versions),
        checkpoint=checkpoint_name(checkpoint) if checkpoint else None,
        epoch=lookup.epoch or None,
        variant=lookup.variant or None,
        embedding_config=f"{config:016x}" if config else None,
        new_ids=lookup.absent,
        wrong_dim=lookup.wrong_dim,
        missing_shards=tuple(lookup.missing_shards),
        features={name: FeatureDetails(*counts) for name, *counts in lookup.features},
    )
