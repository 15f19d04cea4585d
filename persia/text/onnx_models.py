"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persia.errors import ConfigError

from .engines import INPUT_NAMES, Inputs
from .extras import extra

__all__ = ["OnnxEngine"]

_NUMBERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxEngine:
    """A model whose inputs have transformers' names."""

    def __init__(self, session: Any, file: str) -> None:
        self.session = session
        self.types = {given.name: _NUMBERS.get(given.type) for given in session.get_inputs()}
        strange = [name for name, kind in self.types.items() if name not in INPUT_NAMES or kind is None]
        if strange or not self.types:
            got = ", ".join(f"{given.name} as {given.type}" for given in session.get_inputs()) or "none"
            raise ConfigError(f"expected whole numbers as {', '.join(INPUT_NAMES)}, got {got}", file=file)

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> OnnxEngine:
        """Raises NotFound without ONNX Runtime, ConfigError."""
        runtime = extra("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        try:
            session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has some classes, none of them public
            raise ConfigError(
                f"expected a model that ONNX Runtime {runtime.__version__} runs: {error}", file=path.name
            ) from error
        return cls(session, path.name)

    @property
    def takes_token_types(self) -> bool:
        return "token_type_ids" in self.types

    def run(self, inputs: Inputs) -> Sequence[np.ndarray]:
        given = {name: inputs[name].astype(kind, copy=False) for name, kind in self.types.items()}
        return [np.asarray(output, np.float32) for output in self.session.run(None, given)]
