"""Where the crash loop's trainer leaves checkpoints and packets: on a mounted file system, or in a store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

from persia.formats.epoch_log import EpochLog, open_epoch_log
from persia.storage import place_of


class CrashPlaces(Protocol):
    """Names are those of files and directories below the directory of packets."""

    checkpoint: str
    packets: str

    def write(self, name: Path, data: bytes, *, half: bool = False) -> None:
        """A file of a packet, or of it only what a trainer has written that stands still in its middle."""

    def read(self, name: Path) -> bytes: ...

    def remove(self, packet: Path) -> None:
        """With all of its files."""

    def epoch_log(self) -> EpochLog: ...

    def settings(self, server: int) -> dict[str, Any]:
        """Of the servers, each of which has a number."""

    def lose_disk(self, server: int) -> None:
        """What a server that does not run has on its local disk."""


class CrashDirectories:
    """Files are written in place and in two pieces, as Persia does."""

    def __init__(self, directory: Path) -> None:
        self.checkpoint, self.packets = str(directory / "checkpoint"), str(directory / "packets")
        self._root = directory / "packets"
        self._root.mkdir(parents=True)

    def write(self, name: Path, data: bytes, *, half: bool = False) -> None:
        """See CrashPlaces."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            if not half:
                file.write(data[len(data) // 2 :])

    def read(self, name: Path) -> bytes:
        """See CrashPlaces."""
        return (self._root / name).read_bytes()

    def remove(self, packet: Path) -> None:
        """See CrashPlaces."""
        shutil.rmtree(self._root / packet)

    def epoch_log(self) -> EpochLog:
        """See CrashPlaces."""
        return open_epoch_log(place_of(self._root))

    def settings(self, server: int) -> dict[str, Any]:
        """See CrashPlaces."""
        return {"incremental_prune_before_checkpoint": True}

    def lose_disk(self, server: int) -> None:
        """See CrashPlaces. All that they have is beside the packets."""


class CrashStore:
    """A store has each file at once or not at all. Servers list it often enough for a late packet to be waited for."""

    def __init__(self, directory: Path, url: str) -> None:
        """directory: for the local disks of servers; url: of a store that clients of this environment may ask."""
        self.checkpoint, self.packets = f"{url}/checkpoint", f"{url}/packets"
        self._store = place_of(self.packets).open()
        self._directory = directory

    def write(self, name: Path, data: bytes, *, half: bool = False) -> None:
        """See CrashPlaces."""
        self._store.put(name.as_posix(), data[: len(data) // 2] if half else data)

    def read(self, name: Path) -> bytes:
        """See CrashPlaces."""
        return self._store.read_whole(name.as_posix())

    def remove(self, packet: Path) -> None:
        """See CrashPlaces."""
        for entry in list(self._store.list_files(packet.as_posix())):
            self._store.remove(entry.name)

    def epoch_log(self) -> EpochLog:
        """See CrashPlaces."""
        return open_epoch_log(place_of(self.packets))

    def settings(self, server: int) -> dict[str, Any]:
        """See CrashPlaces."""
        return {"local_buffer_dir": str(self._disk(server)), "storage_poll_ms": 50, "storage_list_all_seconds": 1}

    def lose_disk(self, server: int) -> None:
        """See CrashPlaces."""
        shutil.rmtree(self._disk(server), ignore_errors=True)

    def _disk(self, server: int) -> Path:
        return self._directory / f"disk_{server}"
