"""A handler that answers with the shape of a batch, as .npy where that is asked for: [samples, features, ids, dense width]."""

from typing import Any

import numpy as np

from persia._core import decode_batch
from persia.torchserve.scores import encode_scores


class Shapes:
    def initialize(self, context: Any) -> None:
        """TorchServe expects it."""

    def handle(self, data: Any, context: Any) -> Any:
        batch = decode_batch(bytes(data[0]["batch"]))
        samples = batch.features[0].batch_size
        ids = sum(int(feature.ids_per_sample.sum()) for feature in batch.features)
        width = batch.dense[0].shape[1] if batch.dense else 0
        row = np.array([samples, len(batch.features), ids, width], np.float32)
        rows = np.tile(row, (samples, 1))
        return [encode_scores(rows) if bytes(data[0].get("format", b"")) == b"npy" else rows.tolist()]
