"""The archives of a model store: which of them `--models` means, and what they are of."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from persia.errors import CorruptFile, InvalidInput, NotFound
from persia.torchserve.archive.contents import ArchiveManifest, read_manifest
from persia.torchserve.version_order import version_key
from persia.torchserve.wanted import Version, Wanted

__all__ = ["checksum_of", "models_of", "with_checksums"]

log = logging.getLogger("torchserve")


def checksum_of(archive: Path) -> str:
    """SHA-256, in hexadecimal digits. Raises OSError."""
    with archive.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def with_checksums(wanted: Wanted, store: Path) -> Wanted:
    """What is wanted, with the checksums of archives that have none yet: a restart then knows whether they are the same."""

    def checked(known: Version) -> Version:
        if known.sha256:
            return known
        try:
            return replace(known, sha256=checksum_of(store / known.archive))
        except OSError:  # it is gone since it was registered: the restart says so
            return known

    return replace(
        wanted,
        models={
            name: replace(model, versions={version: checked(known) for version, known in model.versions.items()})
            for name, model in wanted.models.items()
        },
    )


def models_of(
    store: Path, wanted: Sequence[str], passed: Collection[str] = (), settled: Collection[str] = ()
) -> Mapping[str, tuple[str, str]]:
    """File of the store: name and version. Read here, because TorchServe starts without a word if one is missing.

    passed: files that are passed by, be they there or not. settled: names of models of which the files are not taken anyway,
    so they may contradict each other. Raises NotFound, InvalidInput, CorruptFile.
    """
    files: dict[str, str] = {}  # each with the name that is given, if one is
    for item in [part.strip() for text in wanted for part in text.split(",") if part.strip()]:
        if item == "all":
            files |= dict.fromkeys((file for file in _newest_first(store) if file not in files), "")
        else:
            name, _, file = item.rpartition("=")
            before = files.get(file)
            if before and name and before != name:
                raise InvalidInput(f"expected one name for {file}, got {before} and {name}")
            files[file] = before or name
    found = {}
    for file, given in files.items():
        if file in passed:
            continue
        if not (store / file).is_file() or "/" in file:
            there = ", ".join(sorted(path.name for path in store.glob("[!.]*.mar"))) or "no .mar files"
            raise NotFound(f"expected {file} in {store}, got {there}")
        manifest: ArchiveManifest = read_manifest(store / file)
        found[file] = given or manifest.name, manifest.version
    pairs = [pair for pair in found.values() if pair[0] not in settled]
    twice = {pair for pair in pairs if pairs.count(pair) > 1}
    if twice:
        raise InvalidInput(f"expected each version of a model once, got several archives of {sorted(twice)}")
    return found


def _newest_first(store: Path) -> Iterator[str]:
    """All archives. TorchServe's default version is the one that comes first: so a swap outlives a restart.

    One that is broken is left out, where there are others: they shall come back after a restart.
    """
    manifests, broken = {}, []
    for path in store.glob("[!.]*.mar"):
        try:
            manifests[path.name] = read_manifest(path)
        except CorruptFile as error:
            broken.append(error)
    if broken and not manifests:
        raise broken[0]
    for reason in broken:
        log.error("left out: %s", reason)
    newest = sorted(manifests, key=lambda file: version_key(manifests[file].version), reverse=True)
    yield from sorted(newest, key=lambda file: manifests[file].name)
