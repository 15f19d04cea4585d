"""A model of handler_factory: a sum of weighted numbers, and what they are called. Replace each function by your model's."""

import torch
from base_handler import handler_factory


def init_function(width: int) -> torch.nn.Module:
    """The model, without its weights: those of the checkpoint are loaded into it."""
    return torch.nn.Linear(width, 2)


def preprocess(data: list[float]) -> torch.Tensor:
    """From what one caller sent to what the model takes, without a batch dimension."""
    return torch.tensor(data, dtype=torch.float32)


def postprocess(data: torch.Tensor) -> tuple[float, int, str]:
    """From one sample's output, without a batch dimension, to what its caller gets."""
    scores = data.softmax(0).tolist()
    best = scores.index(max(scores))
    return scores[best], best, ["low", "high"][best]


handler = handler_factory(
    init_function=init_function, preprocess_function=preprocess, postprocess_function=postprocess, width=3
)
