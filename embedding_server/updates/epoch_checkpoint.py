"""Another checkpoint under a table that serves: all that it says otherwise than the table, as one layer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persia import _core
from persia.errors import PersiaError, TooLarge
from persia.formats.sign_files import read_sign_file

from ..base import Base, expect_unchanged
from ..expiry import Expiring
from ..loading import estimate
from ..non_finite import NonFiniteTally
from ..options import ShardOptions

__all__ = ["InterruptedReading", "put_difference"]

log = logging.getLogger(__name__)


# Of what earlier epochs may take, an eighth is left for what is counted by the page, and not by the row.
_EIGHTHS = 8
_WHAT_TO_DO = (
    "the rows that it replaces have to fit into the memory of earlier epochs, so that these stay readable until all servers "
    "have the new one: give them more with `retained_epochs_percent`, or restart this server, which then loads the checkpoint"
)


class InterruptedReading(PersiaError):
    """The server stops."""


def put_difference(
    layer: _core.Layer,
    base: Base,
    kept: Iterable[npt.NDArray[np.uint64]],
    table: _core.Table,
    expiring: Expiring,
    options: ShardOptions,
    non_finite: NonFiniteTally,
    stopping: threading.Event,
) -> list[tuple[Path, _core.NonFiniteRows]]:
    """Makes of an empty layer one that turns the table into the checkpoint. Returns what was found that is not finite.

    kept: signs whose rows stay as they are, because packets over the checkpoint have said them. Rows that end, by the
    checkpoint or by now, are put also if they are the same: with them the layer says when they end.

    Raises CorruptFile, OSError, MemoryError, TooLarge for more changes than earlier epochs could keep, InterruptedReading.
    """
    began = time.monotonic()
    most = table.status().retained_most_bytes * (_EIGHTHS - 1) // _EIGHTHS
    diff = _core.CheckpointDiff(table.pin(), most, options.capacity)
    for signs in kept:
        diff.keep(signs)
    diff.renew(expiring.signs())
    checkpoint, found = base.checkpoint, []
    ends = [read_sign_file(path) for path in (checkpoint.ends if checkpoint is not None else ())]
    for file in ends:
        diff.renew(file.signs)
    rows = estimate(checkpoint, options.storage, *options.place).rows if checkpoint is not None else 0
    try:
        for path in checkpoint.files if checkpoint is not None else ():
            if stopping.is_set():
                raise InterruptedReading("the server stops")
            of_file = non_finite.finder()
            assert checkpoint is not None
            with checkpoint.at_hand(path) as here:
                diff.load_emb(here, *options.place, rows, of_file)
            found.append((path, of_file))
        diff.finish(layer)
    except TooLarge as error:
        raise TooLarge(f"{error}; {_WHAT_TO_DO}") from error
    expect_unchanged(base, options)
    for file in ends:
        assert file.ends is not None
        layer.set_ends(file.signs, file.ends, *options.place)
    log.info(
        "%s: %d rows differ, %d are new, %d are gone%s; read beside lookups in %.1f s",
        base,
        diff.replaced,
        diff.added,
        diff.removed,
        f", {diff.left_out} are over the capacity" if diff.left_out else "",
        time.monotonic() - began,
    )
    return found
