"""A model of handler_factory: a sum of weighted numbers, and what they are called. Replace each function by your model's."""

import torch
from base_handler import handler_factory


def init_function(width):
    """The model, without its weights: those of the checkpoint are loaded into it."""
    return torch.nn.Linear(width, 2)


def preprocess(data):
    """From what one caller sent to what the model takes, without a batch dimension."""
    return torch.tensor(data, dtype=torch.float32)


def postprocess(data):
    """From one sample's output, without a batch dimension, to what its caller gets."""
    score, index = data.softmax(0).max(0)
    return score.item(), index.item(), ["low", "high"][index.item()]


handler = handler_factory(
    init_function=init_function, preprocess_function=preprocess, postprocess_function=postprocess, width=3
)
