from typing import Any

import torch

from persia.handlers.persia_handler import PersiaHandler  # type: ignore[import-not-found, import-untyped, unused-ignore]


class CountsThreads(PersiaHandler):  # type: ignore[misc, unused-ignore]
    """One of a user's, that starts from ours: its scores are how many threads torch has here."""

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return [torch.tensor([float(torch.get_num_threads())]) for _ in data]
