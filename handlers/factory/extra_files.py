"""The archives that `system.extraFiles` names, unpacked beside the handler, so that it can import what is in them."""

from __future__ import annotations

import gzip
import importlib
import json
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import click
import yaml

from persia.cli.failures import one_line_failures
from persia.errors import ConfigError, InvalidInput
from persia.system.durable import unique_name

from .packed_files import MAX_UNPACKED, PackedFile, check_all, files_of_tar, files_of_zip

__all__ = ["extra_files_of", "unpack", "unpack_extra_files"]

_SUFFIXES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zip")
_CONFIG = "model-config.yaml"
# What the readers raise; RuntimeError of a zip with a password, UnicodeError of its names.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,
    UnicodeError,
)


def unpack_extra_files(model_dir: Path) -> None:
    """Unpacks what the model-config of an unpacked model archive names. Elsewhere nothing happens.

    Raises ConfigError, InvalidInput, OSError.
    """
    manifest = model_dir / "MAR-INF" / "MANIFEST.json"
    if not manifest.is_file():
        return
    model = json.loads(manifest.read_text())["model"]
    config = model_dir / str(model.get("configFile", _CONFIG))
    if not config.is_file():
        return
    for name in extra_files_of(yaml.safe_load(config.read_text()), config.name):
        if (path := model_dir / name).is_file():
            unpack(path, model_dir)
    importlib.invalidate_caches()


def extra_files_of(config: Any, file: str = _CONFIG) -> list[str]:
    """The names that stand at `system.extraFiles`: one, several with commas between them, or a list. Raises ConfigError."""
    system = (config or {}).get("system") or {}
    given = (system.get("extraFiles") if isinstance(system, dict) else None) or []
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"expected the name of a file, or several, got {given!r}", "$.system.extraFiles", file)
    names = [name.strip() for name in names if name.strip()]
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ConfigError(f"expected the name of a file in the model archive, got {name!r}", "$.system.extraFiles", file)
    return names


def unpack(archive: Path, directory: Path, most_bytes: int = MAX_UNPACKED) -> None:
    """Unpacks a tar, compressed or not, or a zip, whatever its name says. A file that is there already stays as it is.

    What is no archive, and is not called one, stays where it lies.

    Raises InvalidInput for a broken archive, and before anything is written for one with a file that would lie outside;
    TooLarge for files of more bytes.
    """
    with _opened(archive) as files:
        if files is None:
            return
        check_all(files, archive.name, directory, most_bytes)
        for file in files:
            _write(file, directory)


@contextmanager
def _opened(path: Path) -> Iterator[Sequence[PackedFile] | None]:
    """The files in an archive; None if it is none."""
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        if is_zip:
            with zipfile.ZipFile(path) as opened_zip:
                yield files_of_zip(opened_zip)
            return
        if not tarfile.is_tarfile(path) and not path.name.lower().endswith(_SUFFIXES):
            yield None
            return
        with tarfile.open(path) as opened_tar:
            yield files_of_tar(opened_tar)
    except _BROKEN as error:
        raise InvalidInput(f"expected a tar, tar.gz or zip, got {path.name}, which cannot be unpacked: {error}") from error


def _write(file: PackedFile, directory: Path) -> None:
    """Whole or not at all: several workers may unpack the same archive at the same time."""
    target = directory / file.name
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{unique_name()}.partial")  # short, as names may be as long as the system has them
    try:
        with file.open() as source, partial.open("wb") as copy:
            _copy(source, copy)
        partial.chmod(0o755 if file.executable else 0o644)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while block := source.read(1 << 20):
        target.write(block)


@click.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--into", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(config: Path, into: Path, files: tuple[Path, ...]) -> None:
    """Unpack those of FILES that `system.extraFiles` of a model-config names, for base/build.sh. It fails if one is missing."""
    with one_line_failures(yaml.YAMLError):
        named = extra_files_of(yaml.safe_load(config.read_text()), str(config))
        given = {path.name: path for path in files}
        for name in named:
            if name not in given:
                got = ", ".join(given) or "none"
                raise InvalidInput(f"expected {name} as --extra_files, as {config} names it as system.extraFiles, got {got}")
            unpack(given[name], into)
        for name in given.keys() - set(named):
            if name.lower().endswith(_SUFFIXES):
                click.echo(f"Warning: {name} stays packed, because {config} does not name it as system.extraFiles", err=True)


if __name__ == "__main__":
    main()
