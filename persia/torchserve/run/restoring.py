"""What a TorchServe is to start with: the models as they were left, and those that the command line adds to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from persia.errors import CorruptFile
from persia.torchserve.archive.contents import read_manifest
from persia.torchserve.run.store import checksum_of, models_of
from persia.torchserve.wanted import Version, Wanted

__all__ = ["Planned", "Start", "plan_start"]

log = logging.getLogger("torchserve")


@dataclass(frozen=True)
class Planned:
    """A version that is to be registered. min_workers: None where the archive says how many."""

    name: str
    version: str
    archive: str
    is_default: bool
    min_workers: int | None = None
    max_workers: int | None = None


@dataclass(frozen=True)
class Start:
    """models: of each name the default first, as TorchServe makes the first one that it registers the default.

    left: what is wanted already. lost: what of it cannot be restored, and why.
    """

    models: Sequence[Planned]
    left: Wanted = field(default_factory=lambda: Wanted({}))
    lost: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def lost_versions(self) -> Mapping[tuple[str, str], Version]:
        return {(name, version): self.left.models[name].versions[version] for name, version in self.lost}


def plan_start(store: Path, given: Sequence[str], workers: int | None, left: Wanted | None) -> Start:
    """given: `--models`; workers: `--workers`; left: what was noted, None at the first start. Raises NotFound, InvalidInput."""
    wanted = left or Wanted({})
    # A newer version may have taken the place of what an earlier start brought, and the archive may have gone since.
    passed = {file for file, name in wanted.brought.items() if name in wanted.models}
    brought = models_of(store, given, passed, settled=wanted.models)
    models, lost = _left(store, wanted)
    names = {name: None for name, _ in brought.values() if name not in wanted.models}
    for name in names:
        files = {file: version for file, (found, version) in brought.items() if found == name}
        for number, (file, version) in enumerate(files.items()):
            models.append(Planned(name, version, file, number == 0))
    if left is not None:
        _say_what_stays(left, brought)
    new = workers is not None and workers != wanted.workers
    if new and left is not None and left.models:
        log.info("--workers %d is new: all models get so many workers, whatever they had", workers)
    if workers is not None:
        # Those that were left keep what they were scaled to since.
        models = [
            replace(model, min_workers=workers, max_workers=workers) if new or model.min_workers is None else model
            for model in models
        ]
    wanted = Wanted(
        wanted.models,
        {**wanted.brought, **{file: name for file, (name, _) in brought.items()}},
        workers if workers is not None else wanted.workers,
    )
    return Start(models, wanted, lost)


def _left(store: Path, wanted: Wanted) -> tuple[list[Planned], dict[tuple[str, str], str]]:
    """The versions that were left, and those that cannot be restored."""
    models: list[Planned] = []
    lost: dict[tuple[str, str], str] = {}
    for name, model in wanted.models.items():
        problems = {version: _problem(store, known, version) for version, known in model.versions.items()}
        if model.default and (problem := problems[model.default]):
            # Another version would be the default, and answer in its place.
            others = dict.fromkeys(problems, f"the default version, {model.default}, cannot be registered")
            lost |= {(name, version): reason for version, reason in {**others, model.default: problem}.items()}
            continue
        lost |= {(name, version): problem for version, problem in problems.items() if problem}
        there = [
            Planned(name, version, known.archive, version == model.default, known.min_workers, known.max_workers)
            for version, known in model.versions.items()
            if not problems[version]
        ]
        models += sorted(there, key=lambda planned: not planned.is_default)
    for (name, version), reason in lost.items():
        log.error(
            "%s %s is NOT restored: %s. Put its archive back and start again, or give it up: "
            "persia-launcher manage unregister %s --version %s",
            *(name, version, reason, name, version),
        )
    return models, lost


def _problem(store: Path, known: Version, version: str) -> str:
    try:
        found = read_manifest(store / known.archive).version
        replaced = known.sha256 and checksum_of(store / known.archive) != known.sha256
    except FileNotFoundError:
        return f"expected {known.archive} in {store}, got no such file"
    except (CorruptFile, OSError) as error:
        return str(error)
    if replaced:
        # Else a crash would let another model answer under the same version.
        return (
            f"{known.archive} has been replaced in {store} since it was registered. A version stands for one archive: give the "
            "new one another version, or start with --forget-state"
        )
    return "" if found == version else f"expected version {version} in {store / known.archive}, got {found}"


def _say_what_stays(left: Wanted, brought: Mapping[str, tuple[str, str]]) -> None:
    for name, model in left.models.items():
        versions = [f"{version}{' (the default)' if version == model.default else ''}" for version in model.versions]
        log.info("as it was left: %s %s", name, ", ".join(versions) or "is unregistered")
    for file, (name, version) in brought.items():
        if name in left.models and version not in left.models[name].versions:
            log.warning(
                "%s of --models is left out, as %s is as it was left: `persia-launcher manage swap %s %s` brings it in, "
                "and --forget-state starts with --models alone",
                *(file, name, name, file),
            )
