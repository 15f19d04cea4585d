"""A handler with the names of Persia's last release."""

from abc import ABC
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from persia.ctx import InferCtx
from persia.service import get_embedding_worker_services


class LastRelease(BaseHandler, ABC):  # type: ignore[misc]
    def initialize(self, context: Any) -> None:
        super().initialize(context)
        torch.set_num_threads(1)
        self.embeddings = InferCtx(get_embedding_worker_services(), device_id=None)
        self.embeddings.wait_for_serving()

    def preprocess(self, data: Any) -> Any:
        found = self.embeddings.get_embedding_from_bytes(bytes(data[0].get("batch")), None)
        return self.embeddings.prepare_features(found)

    def inference(self, data: Any) -> Any:
        dense, sparse, labels = data
        assert labels is None
        with torch.no_grad():
            return self.model(dense, sparse)

    def postprocess(self, data):  # type: ignore[no-untyped-def]
        return [data.reshape(-1).tolist()]
