"""Where a shard reads from: paths, or stores and the directories of the local disk into which their files are fetched."""

from __future__ import annotations

import tempfile
from pathlib import Path

from persia.errors import InvalidInput
from persia.serving.runner import Startup
from persia.storage import Place, place_of

from .updates.mirror_directory import take_mirror_directory

__all__ = ["StorePlaces"]


class StorePlaces:
    """By the global config. `incremental_dir`: None without updates; `packets`: None if they are written there."""

    def __init__(self, startup: Startup, index: int, count: int) -> None:
        """Ends the process if there can be no such places."""
        config = startup.config.embedding_parameter_server_config
        self.buffer = Path(config.local_buffer_dir or tempfile.gettempdir())
        self.checkpoint: Place | None = None
        self.incremental_dir: Path | None = None
        self.packets: Place | None = None
        try:
            if text := startup.config.common_config.infer_config.embedding_checkpoint:
                self.checkpoint = place_of(text, config.storage)
                self._try(self.checkpoint)
            if config.enable_incremental_update:
                place = place_of(config.incremental_dir, config.storage)
                self._try(place)
                self.incremental_dir = place.path
                if place.path is None:
                    self.packets = place
                    self.incremental_dir = take_mirror_directory(self.buffer, place.text, index, count)
        except (InvalidInput, OSError) as error:
            startup.give_up(str(error))
        if self.packets is not None and (
            config.incremental_prune_before_checkpoint or config.incremental_prune_older_than_seconds is not None
        ):
            startup.give_up(
                f"expected an incremental_dir on a mounted file system for incremental_prune_..., got {self.packets}: let "
                "rules of the store delete old packets (docs/storage.md)"
            )

    def _try(self, place: Place) -> None:
        """Whether there is a library for it. Raises InvalidInput."""
        if place.path is None:
            place.open()
