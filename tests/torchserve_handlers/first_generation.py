"""A handler with the names of Persia's first generation, which asks for GPU 0 whatever there is."""

from abc import ABC
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from persia.ctx import InferCtx
from persia.prelude import forward_directly_from_bytes


class FirstGeneration(BaseHandler, ABC):  # type: ignore[misc]
    def initialize(self, context: Any) -> None:
        super().initialize(context)
        self.features = InferCtx()

    def preprocess(self, data: Any) -> Any:
        return self.features.prepare_features(forward_directly_from_bytes(bytes(data[0].get("batch")), 0))

    def inference(self, data: Any) -> Any:
        dense, sparse = data
        with torch.no_grad():
            return self.model(dense, sparse)

    def postprocess(self, data):  # type: ignore[no-untyped-def]
        return [data.reshape(-1).tolist()]
