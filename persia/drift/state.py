"""The directory in which workers leave their windows: STATE/MODEL/VERSION/window-MILLISECONDS-NUMBER-PROCESS-RANDOM.drift.

A worker writes a file when its window is over, whole or not at all, and never again: so workers need not know of each other,
a restart loses nothing that was written, and one that is killed loses its last window. Readers put the files of one time
together. The oldest files go when all of them are larger than was allowed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from persia.errors import CorruptFile, NotFound
from persia.system.durable import is_temporary, unique_name, write_file

from .baseline import Baseline, read_baseline
from .window import Window, packed, unpacked

__all__ = ["BASELINE_FILE", "Piece", "Pieces", "StateDirectory", "models_of", "windows_of"]

BASELINE_FILE = "baseline.drift"
_KIND = "window"
_PATTERN = "window-*.drift"
_numbers = itertools.count()


@dataclass(frozen=True)
class Piece:
    """What one worker saw in one window. `seconds` and `samples`: how long its windows are (samples 0: not by count)."""

    window: Window
    seconds: float
    samples: int


@dataclass(frozen=True)
class Pieces:
    """All that could be read, by time, and what is wrong with each file that could not."""

    pieces: Sequence[Piece]
    problems: Sequence[CorruptFile] = field(default=())


class StateDirectory:
    """Of one version of a model."""

    def __init__(self, state: Path, model: str, version: str) -> None:
        self.model, self.version = model, version
        self.path = state / quote(model, safe="") / quote(version, safe="")

    @property
    def baseline_path(self) -> Path:
        return self.path / BASELINE_FILE

    def baseline(self) -> Baseline | None:
        """None if there is none. Raises CorruptFile, OSError."""
        try:
            return read_baseline(self.baseline_path)
        except FileNotFoundError:
            return None

    def write(self, piece: Piece) -> Path:
        """Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        name = f"window-{round(piece.window.end * 1000):015d}-{next(_numbers):06d}-{unique_name()}.drift"
        write_file(self.path / name, packed(_KIND, [piece.seconds, piece.samples, piece.window.parts()]))
        return self.path / name

    def read(self) -> Pieces:
        """Raises OSError for a directory that cannot be read."""
        pieces, problems = [], []
        for path in self._files():
            try:
                pieces.append(_piece(path))
            except FileNotFoundError:
                continue  # a worker has just made room
            except CorruptFile as error:
                problems.append(error)
        return Pieces(sorted(pieces, key=lambda piece: piece.window.end), problems)

    def prune(self, most_bytes: int) -> None:
        """Removes the oldest windows, so that all others fit, and what a killed writer left behind. Raises OSError."""
        room = most_bytes
        for path in reversed(self._files()):
            with suppress(FileNotFoundError):  # another worker was first
                room -= path.stat().st_size
                if room < 0:
                    path.unlink()
        for path in self.path.iterdir():
            if is_temporary(path.name) and path.stat().st_mtime < self._oldest():
                path.unlink(missing_ok=True)

    def _oldest(self) -> float:
        """A writer's file that is older than the last window's is nobody's."""
        files = self._files()
        return files[-1].stat().st_mtime - 60 if files else 0.0

    def _files(self) -> list[Path]:
        return sorted(self.path.glob(_PATTERN))


def models_of(state: Path) -> list[StateDirectory]:
    """All versions of all models. Raises NotFound if there is no such directory."""
    if not state.is_dir():
        raise NotFound(f"expected a directory that handlers with the setting `drift_state` write to, got {state}")
    found = [path for path in sorted(state.glob("*/*")) if path.is_dir()]
    return [StateDirectory(state, unquote(path.parent.name), unquote(path.name)) for path in found]


def windows_of(pieces: Sequence[Piece]) -> list[Window]:
    """The windows of all workers together, by time.

    Pieces of one interval of the clock are one window. Where windows end by a count, pieces that follow each other are one,
    until there are so many samples; the last one may have fewer.
    """
    return [Window.merged(piece.window for piece in group) for group in _groups(pieces)]


def _groups(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    for piece in pieces:
        if group and not _together(group, piece):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _together(group: Sequence[Piece], piece: Piece) -> bool:
    last = group[-1]
    if (piece.seconds, piece.samples) != (last.seconds, last.samples):
        return False
    if piece.samples:
        return sum(each.window.samples for each in group) < piece.samples
    return piece.window.begin // piece.seconds == last.window.begin // piece.seconds


def _piece(path: Path) -> Piece:
    """Raises CorruptFile, FileNotFoundError."""
    try:
        parts = unpacked(_KIND, path.read_bytes(), str(path))
        return Piece(Window.of_parts(parts[2]), float(parts[0]), int(parts[1]))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise CorruptFile(str(path), "a window of this version", str(error), 0) from None
