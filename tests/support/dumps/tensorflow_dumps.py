"""Writes the checkpoints of TensorFlow in tests/data/dumps/tensorflow. Needs what tests/support/dumps/tensorflow.txt names.

    python tests/support/dumps/tensorflow_dumps.py tests/data/dumps/tensorflow

A Keras model with its optimizer, a variable that is partitioned, hash tables in DeepRec's form, TFRA's tables in both of its
forms, and bags with what tf.nn.embedding_lookup_sparse makes of them. `tables.npz` has the rows of all of them.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tensorflow as tf
import tensorflow_recommenders_addons as tfra
from tensorflow_recommenders_addons import dynamic_embedding as de

BAGS = 1000
KEYS = np.array([3, -7, 2**61 + 5, 12, 40, 41, 2**40, 9], np.int64)


def rows(count: int, dim: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def write_keras(directory: Path) -> Any:
    """The rows of its table, which one step of training has changed."""
    model = tf.keras.Sequential(
        [tf.keras.layers.Embedding(50, 8), tf.keras.layers.GlobalAveragePooling1D(), tf.keras.layers.Dense(1)]
    )
    model.compile(optimizer="adam", loss="mse")
    model.fit(np.arange(20).reshape(4, 5), np.ones(4), verbose=0)
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(directory / "keras" / "model.ckpt"))
    return model.layers[0].embeddings.numpy()


def write_partitioned(directory: Path) -> Any:
    whole = rows(23, 4, 1)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        partitioner = tf.compat.v1.fixed_size_partitioner(3)
        variable = tf.compat.v1.get_variable(
            "user/embedding_weights",
            initializer=lambda shape, dtype, partition_info: _slice(whole, shape, partition_info),
            shape=whole.shape,
            partitioner=partitioner,
            use_resource=False,
        )
        session.run(tf.compat.v1.global_variables_initializer())
        assert len(list(variable)) == 3
        tf.compat.v1.train.Saver().save(session, str(directory / "partitioned" / "model.ckpt"), write_meta_graph=False)
    (directory / "partitioned" / "checkpoint").unlink()
    return whole


def _slice(whole: Any, shape: Any, info: Any) -> Any:
    begin = info.var_offset[0]
    return tf.constant(whole[begin : begin + shape[0]])


def write_deeprec(directory: Path) -> Any:
    """The container is TensorFlow's own; the names and types are those of DeepRec's EmbeddingVariable."""
    whole = rows(len(KEYS), 4, 2)
    tensors: dict[str, Any] = {}
    for part in range(2):
        mine: Any = part == KEYS % 2
        tensors[f"user_ev/part_{part}-keys"] = KEYS[mine]
        tensors[f"user_ev/part_{part}-values"] = whole[mine]
        tensors[f"user_ev/part_{part}-freqs"] = np.ones(int(mine.sum()), np.int64)
        tensors[f"user_ev/part_{part}-keys_filtered"] = np.array([77], np.int64)
        tensors[f"user_ev/part_{part}/Adagrad-keys"] = KEYS[mine]
        tensors[f"user_ev/part_{part}/Adagrad-values"] = whole[mine]
    names = sorted(tensors)
    prefix = directory / "deeprec" / "model.ckpt-7"
    prefix.parent.mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=[tensors[name] for name in names]
    )
    return whole


def write_tfra(directory: Path) -> Any:
    whole = rows(len(KEYS), 4, 3)
    for saver in (None, de.FileSystemSaver()):
        table = de.get_variable(
            "in_a_bundle" if saver is None else "in_files",
            key_dtype=tf.int64,
            value_dtype=tf.float32,
            dim=4,
            devices=["/CPU:0", "/CPU:0"],
            **({} if saver is None else {"kv_creator": de.CuckooHashTableCreator(saver=saver)}),
        )
        table.upsert(tf.constant(KEYS), tf.constant(whole))
        if saver is None:
            tf.train.Checkpoint(table=table).write(str(directory / "tfra_bundle" / "model.ckpt"))
        else:
            table.save_to_file_system(str(directory / "tfra_files"))
    return whole


def write_bags(directory: Path, table: Any) -> None:
    generator = np.random.default_rng(9)
    lengths = generator.integers(1, 6, BAGS)
    ids = generator.integers(0, len(table), int(lengths.sum()))
    samples = np.repeat(np.arange(BAGS), lengths)
    places = np.concatenate([np.arange(length) for length in lengths])
    sparse = tf.SparseTensor(np.stack([samples, places], 1), ids, (BAGS, 5))
    arrays: dict[str, Any] = {"ids": ids.astype(np.uint8), "lengths": lengths.astype(np.uint8)}
    for combiner in ("sum", "mean", "sqrtn"):
        arrays[combiner] = tf.nn.embedding_lookup_sparse(tf.constant(table), sparse, None, combiner=combiner).numpy()
    np.savez_compressed(directory / "bags.npz", **arrays)


def main(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    tf.random.set_seed(0)
    keras = write_keras(directory)
    np.savez_compressed(
        directory / "tables.npz",
        keys=KEYS,
        keras=keras,
        partitioned=write_partitioned(directory),
        deeprec=write_deeprec(directory),
        tfra=write_tfra(directory),
    )
    write_bags(directory, keras)
    (directory / "versions.txt").write_text(f"tensorflow {tf.__version__}, tensorflow-recommenders-addons {tfra.__version__}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
