"""A handler as users write them: TorchServe's own base class, a scripted model, a JSON list as the answer.

The embeddings come from a golden file beside it in the archive, so its scores are those of real Persia's tensors.
"""

import os
from typing import Any

import numpy as np
import torch
from ts.torch_handler.base_handler import BaseHandler

from persia._core import decode_batch


class GoldenScores(BaseHandler):  # type: ignore[misc]
    def initialize(self, context: Any) -> None:
        super().initialize(context)
        arrays = np.load(os.path.join(context.system_properties["model_dir"], "golden.npz"))
        count = sum(name.startswith("emb") for name in arrays)
        self.embeddings = [torch.from_numpy(arrays[f"emb{i}"]) for i in range(count)]

    def preprocess(self, data: Any) -> Any:
        return [torch.from_numpy(dense.copy()) for dense in decode_batch(bytes(data[0].get("batch"))).dense]

    def inference(self, dense: Any) -> Any:
        with torch.no_grad():
            return self.model(dense, self.embeddings)

    def postprocess(self, scores):  # type: ignore[no-untyped-def]
        return [torch.reshape(scores, (-1,)).tolist()]
