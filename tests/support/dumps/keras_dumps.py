"""Writes the dumps of Keras in tests/data/dumps/keras. Needs torch, and what tests/support/dumps/keras.txt names.

    KERAS_BACKEND=torch python tests/support/dumps/keras_dumps.py tests/data/dumps/keras

A functional model with a model in it, trained once so that an optimizer has moments of the tables' shapes: as .keras, as
.weights.h5, and in the older form .h5. The weights of a class of its own, and a model in int8. And what the layers look up for
each id.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np


def model() -> Any:
    keras.utils.set_random_seed(3)
    user = keras.Input((3,), dtype="int64", name="user")
    item = keras.Input((2,), dtype="int64", name="item")
    layers = [keras.layers.Embedding(11, 4, name="tag_table"), keras.layers.GlobalAveragePooling1D()]
    nested = keras.Sequential(layers, name="tags")
    users = keras.layers.Embedding(20, 8, name="user_table")(user)
    items = keras.layers.Embedding(30, 8, name="item_table", mask_zero=True)(item)
    pooled = [keras.ops.mean(users, axis=1), keras.ops.mean(items, axis=1), nested(user)]
    made = keras.Model([user, item], keras.layers.Dense(1)(keras.layers.Concatenate()(pooled)))
    made.compile("adam", "mse")
    made.fit([np.ones((4, 3)), np.ones((4, 2))], np.ones((4, 1)), verbose=0)
    return made


class Own(keras.Model):  # type: ignore[misc]  # has no types here
    """Its tables are attributes, and some lie in containers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = keras.layers.Embedding(5, 2, name="first_table")
        self.others = {"x": keras.layers.Embedding(6, 2, name="x_table")}
        self.many = [keras.layers.Embedding(7, 2, name="many_0"), keras.layers.Embedding(8, 2, name="many_1")]

    def call(self, ids: Any) -> Any:
        return self.first(ids) + self.others["x"](ids) + self.many[0](ids) + self.many[1](ids)


def write_quantised(directory: Path) -> None:
    """A table of int8, and beside it a layer whose weights look like another one."""
    keras.utils.set_random_seed(4)
    layers = [keras.layers.Embedding(11, 4, name="tag_table"), keras.layers.Flatten()]
    made = keras.Sequential([keras.Input((3,), dtype="int64"), *layers, keras.layers.Dense(12, use_bias=False, name="square")])
    made.quantize("int8")
    made.save(directory / "quantised.keras")
    rows = keras.ops.convert_to_numpy(layers[0](np.arange(11)))
    np.savez_compressed(directory / "quantised.npz", tag_table=rows)


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    made = model()
    made.save(directory / "model.keras")
    made.save_weights(directory / "model.weights.h5")
    made.save(directory / "model.h5")
    own = Own()
    own(np.zeros((1, 2)))
    own.save_weights(directory / "own.weights.h5")
    layers = [made.get_layer("user_table"), made.get_layer("item_table"), made.get_layer("tags").get_layer("tag_table")]
    layers += [own.first, own.others["x"], *own.many]
    rows = {layer.name: keras.ops.convert_to_numpy(layer(np.arange(layer.input_dim))) for layer in layers}
    np.savez_compressed(directory / "looked_up.npz", **rows)
    write_quantised(directory)
    (directory / "versions.txt").write_text(f"keras {keras.__version__}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
