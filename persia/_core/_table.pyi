"""Types of the sign table, apart because of their length: at run time all of them are in persia._core."""

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_U64 = npt.NDArray[np.uint64]
_Path = str | os.PathLike[str]

# The sign table. Every class may be used from several threads at a time.

def bytes_per_row(storage: str, dim: float) -> float:
    """What a row costs in a table, with its share of the index at its emptiest. dim may be a mean."""

class NonFiniteRows:
    """What is found, while a file is loaded, of rows with a NaN or an infinite number. refuse: the first is a CorruptFile."""

    def __init__(self, refuse: bool = False) -> None: ...
    @property
    def rows(self) -> int:
        """In the file."""
    @property
    def kept(self) -> int:
        """Of them, those that belong to the shard."""
    @property
    def first_sign(self) -> int: ...
    @property
    def first_byte(self) -> int:
        """Where its row begins."""

class TableBuilder:
    """Fills a table before it serves. storage: f32, f16, int8 or uint8. capacity: rows, 0 for no limit.

    retained_epochs: how many before the current one the table keeps readable. retained_share: which part of the table's memory
    they may take, if that is more than 64 MiB.

    Beyond the capacity the least recently used rows go, as far as checkpoint files tell; `evicted` counts them.
    An error while loading a file spoils the builder: all later calls raise InvalidInput.
    """

    def __init__(
        self, storage: str = "f32", capacity: int = 0, retained_epochs: int = 8, retained_share: float = 0.1
    ) -> None: ...
    def put(self, signs: _U64, rows: npt.NDArray[np.float32], shard_index: int = 0, shard_count: int = 1) -> int:
        """signs (n), rows (n, dim). Returns how many signs belong to the shard; only these are kept."""
    def load_emb(self, path: _Path, shard_index: int = 0, shard_count: int = 1, non_finite: NonFiniteRows | None = None) -> int:
        """Returns how many rows of the file belong to the shard. Raises CorruptFile, OSError."""
    def reserve(self, rows: int) -> None:
        """Makes room for so many rows more at once, which saves growing step by step."""
    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def evicted(self) -> int: ...

class Layer:
    """A batch of changes, until it is published. An error in load_inc loses all of it: no part can be published."""

    def __init__(self, storage: str = "f32") -> None: ...
    def put(self, signs: _U64, rows: npt.NDArray[np.float32], shard_index: int = 0, shard_count: int = 1) -> int:
        """As TableBuilder.put. Of two rows of one sign the later counts."""
    def reserve(self, rows: int) -> None:
        """Makes room at once for so many rows, where that is known."""
    def load_inc(
        self, path: _Path, shard_index: int = 0, shard_count: int = 1, non_finite: NonFiniteRows | None = None
    ) -> tuple[int, int]:
        """Returns how many rows of the file belong to the shard, and the file's unix seconds."""
    def add_tombstones(self, signs: _U64, shard_index: int = 0, shard_count: int = 1) -> None:
        """From this layer on those of the signs that belong to the shard have no row."""
    def set_ends(self, signs: _U64, ends: _U64, shard_index: int = 0, shard_count: int = 1) -> None:
        """When rows of the layer end, in unix seconds; for Expiry.follow. What is said of signs without one is passed over."""
    def forget(self, signs: _U64) -> None:
        """Takes out of the layer what it says about the signs, and when their rows end."""
    @property
    def has_ends(self) -> bool:
        """Whether set_ends() has said anything."""
    @property
    def size(self) -> int:
        """Signs that the layer changes."""
    @property
    def bytes(self) -> int: ...

class Expiry:
    """When rows of a table end: sign -> unix seconds, for those that have a time to live."""

    def __init__(self) -> None: ...
    def set(self, signs: _U64, ends: _U64, shard_index: int = 0, shard_count: int = 1) -> None:
        """Of rows that are in the table already."""
    def follow(self, layer: Layer, before: Snapshot, now: int) -> tuple[int, int]:
        """Takes over what a layer says that is published next; rows of it that have ended become deletions.

        Returns how many rows of `before` go because they are deleted, and because they have ended.
        """
    def signs(self) -> _U64:
        """Of the rows that have an end, in no order."""
    def take_ended(self, now: int) -> _U64:
        """The signs whose rows have ended, which are forgotten. Their deletions are to be published next."""
    @property
    def size(self) -> int:
        """Signs."""
    @property
    def bytes(self) -> int: ...

class CheckpointDiff:
    """What a whole checkpoint says otherwise than a table, as a layer. An error in load_emb loses all of it."""

    def __init__(self, before: Snapshot, most_bytes: int, capacity: int = 0) -> None:
        """most_bytes: what the changes may take (else TooLarge). capacity: of the table, in rows.

        With a capacity, of the rows that the table does not have only those are taken that a load of the checkpoint would keep.
        """
    def keep(self, signs: _U64) -> None:
        """The checkpoint has no say about these signs."""
    def renew(self, signs: _U64) -> None:
        """The rows of these signs are in the layer also if they are the same."""
    def load_emb(
        self,
        path: _Path,
        shard_index: int,
        shard_count: int,
        rows_of_checkpoint: int,
        non_finite: NonFiniteRows | None = None,
    ) -> int:
        """Returns how many rows of the file belong to the shard. rows_of_checkpoint: how many do of all files, about.

        Raises CorruptFile, OSError, TooLarge.
        """
    def finish(self, into: Layer) -> None:
        """All files were read: what they do not have is deleted. The layer, which is empty, gets all changes."""
    @property
    def replaced(self) -> int:
        """Rows that differ; this and the others once it is finished."""
    @property
    def added(self) -> int: ...
    @property
    def left_out(self) -> int:
        """Rows that are over the capacity."""
    @property
    def removed(self) -> int: ...

class Snapshot:
    """One version of a table. While it lives, it holds up folding; so keep it for one request only."""

    @property
    def version(self) -> int: ...
    @property
    def epoch(self) -> int:
        """0: of none."""
    def rows(self, signs: _U64, dim: int, variant: int = 0) -> tuple[npt.NDArray[np.float32], int, int]:
        """signs (n) -> rows (n, dim), zeros where there is none; signs without a row; signs whose row has another dim.

        variant: whose rows go first; 0: of none. InvalidInput if there is no such variant.
        """
    def has_variant(self, variant: int) -> bool:
        """Whether it can be asked for; 0 always."""
    def count(self, signs: _U64) -> int:
        """How many of the signs have a row."""
    def signs(self) -> _U64:
        """Every sign that has a row, in no order."""

class VariantStatus:
    """What a variant has of its own."""

    @property
    def rows(self) -> int:
        """And deletions, of each layer."""
    @property
    def layers(self) -> int: ...
    @property
    def bytes(self) -> int: ...

class TableStatus:
    @property
    def version(self) -> int: ...
    @property
    def base_rows(self) -> int: ...
    @property
    def base_rows_by_dim(self) -> dict[int, int]: ...
    @property
    def layer_rows(self) -> int:
        """Rows and deletions that wait to be folded."""
    @property
    def layers(self) -> int: ...
    @property
    def evicted(self) -> int: ...
    @property
    def snapshots(self) -> int:
        """In use, the current one included."""
    @property
    def base_bytes(self) -> int: ...
    @property
    def layer_bytes(self) -> int: ...
    @property
    def epoch(self) -> int:
        """The current one; 0: none was begun."""
    @property
    def epoch_low(self) -> int:
        """The oldest one that can be read."""
    @property
    def retained_epochs(self) -> int:
        """That can be read beside the current one."""
    @property
    def retained_bytes(self) -> int:
        """Of the layers that only these have."""
    @property
    def retained_most_bytes(self) -> int:
        """What these may take."""
    @property
    def epochs_given_up(self) -> int:
        """That went only for their memory."""
    @property
    def variants(self) -> dict[int, VariantStatus]:
        """Of the current epoch, by their keys."""
    @property
    def variant_bytes(self) -> int:
        """Of all of them."""
    @property
    def fold_error(self) -> str | None:
        """Why the last fold failed. Its layer stays, and is served from where it is."""

class Table:
    """A shard's rows while it serves. A thread of its own folds published layers into the base."""

    def __init__(self, builder: TableBuilder) -> None:
        """Takes the rows out of the builder."""
    def pin(self) -> Snapshot: ...
    def pin_epoch(self, epoch: int) -> Snapshot | None:
        """As pin(), of an epoch, 0 for the current one; None: the table does not have it."""
    def hold_epoch(self, epoch: int, seconds: float) -> None:
        """An epoch before the current one can be read for so much longer, as far as memory goes."""
    def publish(self, layer: Layer) -> int:
        """Makes the layer the newest version, at once and as a whole, and returns the version."""
    def begin_epoch(self, layer: Layer, epoch: int, onto: int, variants: Sequence[tuple[int, Layer, bool]] = ()) -> int:
        """As publish(), and begins an epoch, later than the current one, that goes on from the epoch `onto`.

        InvalidInput if that is neither the current one nor can be read any more. Epochs can be read for a while when others
        have begun, as long as they come without gaps.

        variants: all that there are in the epoch. Of each its key, the layer that comes on top of what it has in the current
        epoch, which may be empty, and whether it has nothing else. One thread at a time may give some.
        """
    def wait_folded(self, seconds: float) -> bool:
        """Waits until no layer is left; False when the seconds are over first."""
    def status(self) -> TableStatus: ...
