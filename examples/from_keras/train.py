"""A model of Keras as its users have it, trained twice: the files that from_keras.py brings.

usage: KERAS_BACKEND=torch python examples/from_keras/train.py DIRECTORY

Needs Keras 3, with any of its backends. Writes model.keras, trained_on.keras, and recorded.npz with some requests and the
scores of both for them. The second one has other rows, and the same dense layers.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

USERS, TAGS, DIM, NUMBERS, TAGS_OF_SAMPLE = 120, 40, 8, 4, 3


def new_model() -> Any:
    """A vector of the user, the sum of three tags' vectors, and some numbers."""
    user = keras.Input((), dtype="int64", name="user")
    tags = keras.Input((TAGS_OF_SAMPLE,), dtype="int64", name="tags")
    numbers = keras.Input((NUMBERS,), name="numbers")
    of_user = keras.layers.Embedding(USERS, DIM, name="user_table")(user)
    of_tags = keras.ops.sum(keras.layers.Embedding(TAGS, DIM, name="tag_table")(tags), axis=1)
    hidden = keras.layers.Dense(16, activation="relu", name="hidden")(
        keras.ops.concatenate([numbers, of_user, of_tags], axis=1)
    )
    return keras.Model([user, tags, numbers], keras.layers.Dense(1, activation="sigmoid", name="score")(hidden))


def samples(count: int, seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    users, tags = random.integers(0, USERS, count), random.integers(0, TAGS, (count, TAGS_OF_SAMPLE))
    return [users, tags, random.normal(size=(count, NUMBERS)).astype(np.float32)]


def train(model: Any, seed: int) -> None:
    """Users with even numbers click."""
    inputs = samples(2000, seed)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="binary_crossentropy")
    model.fit(inputs, inputs[0] % 2 == seed % 2, batch_size=64, verbose=0)


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(1)
    model, requests = new_model(), samples(60, 99)
    train(model, seed=2)
    model.save(out / "model.keras")
    scores = model.predict(requests, verbose=0)
    for name in ("hidden", "score"):  # what changes from here on can go to packets
        model.get_layer(name).trainable = False
    train(model, seed=3)
    model.save(out / "trained_on.keras")
    names = dict(zip(("user", "tags", "numbers"), requests, strict=True))
    np.savez(out / "recorded.npz", **names, scores=scores, scores_trained_on=model.predict(requests, verbose=0))
    (out / "versions.txt").write_text(f"keras {keras.__version__}, {keras.backend.backend()}\n")


if __name__ == "__main__":
    main()
