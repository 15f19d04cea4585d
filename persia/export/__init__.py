"""From a plain PyTorch model to everything that serves it, proved by the scores of a sample.

`from_torch` writes a checkpoint of the tables, an embedding config, an archive of the dense half, a sample and a global config.
Then it serves the sample from these files, and compares the scores with the model's own.
"""

from persia.errors import ExportError

from .exporting import Export, from_torch
from .features import Feature
from .proof import Proof

__all__ = ["Export", "ExportError", "Feature", "Proof", "from_torch"]
