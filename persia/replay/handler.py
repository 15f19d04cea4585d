"""The handler of an archive, which scores what it scored when it served: its own code, settings and signature."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from persia.errors import NotReplayable, PersiaError
from persia.receipts.receipt import KeptAnswer
from persia.routing.lookup import Lookups
from persia.torchserve.archive.contents import open_archive
from persia.torchserve.archive.handler_loading import handler_class, set_requests, unpacked_context
from persia.torchserve.details import Details, split_details
from persia.torchserve.scores import BATCH, DETAILS, FORMAT, VARIANT
from persia.variant import NO_VARIANT

__all__ = ["ArchiveHandler"]

# What an archive says of servers, of its first requests and of what it leaves in files is not to happen here.
_SETTINGS = {
    "addresses": ["127.0.0.1:1"],
    "global_config": None,
    "embedding_config": None,
    "warm_up": None,
    "answer_cache_mib": 0,
    "drift_state": None,
    "kept_answers": None,
}


class ArchiveHandler:
    """Loaded from an archive. It sets up its whole process as it does a worker: one thread of torch, or as its settings say."""

    def __init__(self, archive: Path, lookups: Lookups) -> None:
        """lookups: where its embeddings come from. Raises NotReplayable, CorruptFile, PersiaError, OSError."""
        self._directory = tempfile.TemporaryDirectory(prefix="persia-replay-")
        try:
            file = open_archive(archive).handler
            self._context = unpacked_context(archive, Path(self._directory.name), _SETTINGS)
            with _torchserve_quiet():
                self._handler: Any = handler_class(Path(self._directory.name) / file)()
                self._handler.initialize(self._context)
            context = getattr(self._handler, "persia_context", None)
            if context is None:
                raise NotReplayable(
                    "archive",
                    f"the handler of {archive} is not one of ours, nor made of one: it does not say where it looks up",
                )
            context.look_up_with(lookups)
        except BaseException as error:
            self._directory.cleanup()
            if isinstance(error, (PersiaError, OSError)) or not isinstance(error, Exception):
                raise
            # Whatever zipfile, torch or a handler of somebody else's raises.
            said = f"the handler of {archive} does not load: {type(error).__name__}: {error}"
            raise NotReplayable("archive", said) from error

    def answer(self, kept: KeptAnswer) -> tuple[bytes, Details]:
        """The scores for the same request, and their details. Raises PersiaError with what the handler says."""
        request = {BATCH: kept.batch, FORMAT: kept.receipt.scores_format.encode(), DETAILS: b"1", VARIANT: NO_VARIANT}
        set_requests(self._context, 1)
        try:
            with _torchserve_quiet():
                (answer,) = self._handler.handle([request], self._context)
        except Exception as error:  # whatever a handler raises, TorchServe's own errors too
            raise PersiaError(str(error)) from error
        if isinstance(answer, Exception):
            raise PersiaError(str(answer))
        details, scores = split_details(answer)
        if details is None:
            raise NotReplayable("archive", f"the handler of {kept.receipt.model} {kept.receipt.model_version} tells no details")
        return scores, details

    def __enter__(self) -> ArchiveHandler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handler.persia_context.close()
        self._directory.cleanup()


@contextmanager
def _torchserve_quiet() -> Iterator[None]:
    """TorchServe warns of what it has not, and nobody wants here."""
    logger = logging.getLogger("ts")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
