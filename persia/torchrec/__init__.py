"""For users of TorchRec: a model split into tables and a dense half, its batches, and the rows that training changes.

Needs TorchRec beside it, which this project does not install: docs/coming-from-torchrec.md says how.
"""

from persia.errors import ExportError

from .batches import batch_from_kjt
from .deltas import DeltaDumper
from .splitting import Split, split

__all__ = ["DeltaDumper", "ExportError", "Split", "batch_from_kjt", "split"]
