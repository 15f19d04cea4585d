"""Which models a TorchServe is to have: what was registered, scaled and made the default, kept beside its key file.

TorchServe itself forgets all of it when it ends. The launcher notes what it sees and restores it at the next start; tools show
where what is differs from what is wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import msgspec

from persia.errors import ConfigError
from persia.system.durable import write_file
from persia.torchserve.model import Model

__all__ = ["Version", "Versions", "Wanted", "differences", "fitness", "noted", "read_wanted", "write_wanted"]

FORMAT = 1
_Count = Annotated[int, msgspec.Meta(ge=1)]


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that is to be registered. archive: a file of the model store; sha256: of that file, empty if not known."""

    archive: Annotated[str, msgspec.Meta(pattern=r"^[^/\n]+$")]
    min_workers: _Count
    max_workers: _Count
    sha256: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""


class Versions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The versions of one model. Without any the model was unregistered, and is not to come back."""

    default: str | None
    versions: dict[str, Version]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """workers: what the launcher's `--workers` said last. brought: archives that `--models` has brought so far, with names."""

    models: dict[str, Versions]
    brought: dict[str, str] = {}
    workers: _Count | None = None
    format: int = FORMAT


_DECODER = msgspec.json.Decoder(Wanted)


def read_wanted(path: Path) -> Wanted | None:
    """None if there is no such file. Raises ConfigError with what to do, OSError."""
    try:
        wanted = _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _corrupt(path, str(error)) from error
    if wanted.format != FORMAT:
        raise _corrupt(path, f"expected format {FORMAT}, got {wanted.format}")
    for name, model in wanted.models.items():
        if (model.default is None) != (not model.versions) or (model.default and model.default not in model.versions):
            raise _corrupt(path, f"{name}: expected one of its versions as default, got {model.default}")
        if any(version.max_workers < version.min_workers for version in model.versions.values()):
            raise _corrupt(path, f"{name}: expected max_workers of at least min_workers")
    return wanted


def write_wanted(path: Path, wanted: Wanted) -> None:
    """The old or the new content is there, whatever happens meanwhile; the new one for good on return. Raises OSError."""
    write_file(path, msgspec.json.format(msgspec.json.encode(wanted), indent=2) + b"\n")


def noted(before: Wanted, seen: Sequence[Model], lost: Collection[tuple[str, str]], whole: bool) -> Wanted:
    """What is wanted from now on, after a look at what is registered.

    A version counts from when all of its workers were READY: a registration that fails is no wish. What is no longer
    registered is no longer wanted, unless it is lost, which means it could not be restored; whole: False if the look may have
    missed some, as one does while TorchServe ends.
    """
    models: dict[str, Versions] = {}
    listed = {name: list(group) for name, group in groupby(seen, lambda model: model.name)}
    for name in [*before.models, *(name for name in listed if name not in before.models)]:
        old = before.models.get(name, Versions(None, {}))
        there = {model.version: model for model in listed.get(name, [])}
        versions = {
            version: known
            for version, known in old.versions.items()
            if version in there or (name, version) in lost or not whole
        }
        for version, model in there.items():
            # Without workers it is about to go, or was scaled to none, which cannot be restored.
            if model.min_workers >= 1 and (version in versions or model.all_ready):
                known = versions.get(version)
                sha256 = known.sha256 if known is not None and known.archive == model.archive else ""
                most = max(model.max_workers, model.min_workers)
                versions[version] = Version(model.archive, model.min_workers, most, sha256)
        default = next((model.version for model in there.values() if model.is_default), old.default)
        default = default if default in versions else old.default
        if (versions or there) and default not in versions:
            default, versions = old.default, old.versions  # the new default has no workers yet
        if versions or name in before.models:
            models[name] = Versions(default if versions else None, versions)
    return msgspec.structs.replace(before, models=models)


def differences(wanted: Wanted, seen: Sequence[Model]) -> list[str]:
    """A line for each thing that is not as it was left."""
    there = {(model.name, model.version): model for model in seen}
    lines = []
    for name, model in wanted.models.items():
        for version, known in model.versions.items():
            found = there.pop((name, version), None)
            default = ", the default" if version == model.default else ""
            if found is None:
                lines.append(f"{name} {version}{default}: expected it registered, of {known.archive}, got no such version")
                continue
            if default and not found.is_default:
                lines.append(f"{name}: expected {version} to be the default, got another version")
            if (found.min_workers, found.max_workers) != (known.min_workers, known.max_workers):
                want, got = (_range(item.min_workers, item.max_workers) for item in (known, found))
                lines.append(f"{name} {version}: expected {want} workers, got {got}")
    lines += [f"{name} {version}: expected no such version, got one that is not noted (yet)" for name, version in there]
    return lines


def fitness(wanted: Wanted, seen: Sequence[Model]) -> dict[str, bool]:
    """Who can answer as it should: `NAME/VERSION` if it has a worker that is READY, `NAME` if its default version has."""
    there = {(model.name, model.version): model for model in seen}
    fit = {}
    for name, model in wanted.models.items():
        for version in model.versions:
            found = there.get((name, version))
            fit[f"{name}/{version}"] = found is not None and found.ready > 0
            if version == model.default:
                fit[name] = fit[f"{name}/{version}"] and found is not None and found.is_default
    return fit


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"


def _corrupt(path: Path, problem: str) -> ConfigError:
    return ConfigError(f"{problem}: mend the file, or start anew with --forget-state", "$", str(path))
