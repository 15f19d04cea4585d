"""Packages of AOTInductor: a graph that was compiled for one kind of processor, before it is served."""

from __future__ import annotations

import json
import os
import platform
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_unflatten, treespec_loads

from persia.errors import InvalidInput

from .model import DenseModel, Tensors

__all__ = ["CompiledModel"]

# Without this a model takes tensors of other shapes than it was compiled for, and reads beyond their ends.
_CHECK_INPUTS = "AOTI_RUNTIME_CHECK_INPUTS"
# Inductor takes a free dimension to be two or more, whatever the export says, and that check holds it to that.
_FEWEST_SAMPLES = 2
# Inductor's names of what it compiles for, and Linux's names of what a processor has.
_PROCESSOR_FLAGS = {"AVX2": "avx2", "AVX512": "avx512f", "AVX512_VNNI": "avx512_vnni", "AMX": "amx_tile"}


class CompiledModel(DenseModel):
    """A lone sample is scored with a copy of itself. So each output must have a row for each sample.

    Attributes:
        inputs: How many tensors it takes.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        """Raises InvalidInput if the package was compiled for another machine or device, and what torch raises."""
        check_machine(path, device)
        os.environ[_CHECK_INPUTS] = "1"
        index = device.index if device.type == "cuda" else -1
        self._loader = torch._inductor.aoti_load_package(str(path), device_index=index).loader
        inputs, outputs = self._loader.get_call_spec()
        self.inputs = treespec_loads(inputs).num_leaves
        self._outputs = treespec_loads(outputs)  # once: a package that is called reads this anew each time, for 100 us

    def __call__(self, dense: Tensors, embeddings: Tensors) -> Any:
        tensors = [*dense, *embeddings]
        samples = len(tensors[0])
        if samples >= _FEWEST_SAMPLES:
            answers = self._loader.run([tensor.contiguous() for tensor in tensors])
        else:
            answers = [answer[:samples] for answer in self._loader.run([_enlarged(tensor) for tensor in tensors])]
        return tree_unflatten(answers, self._outputs)


def _enlarged(tensor: torch.Tensor) -> torch.Tensor:
    """One row, as often as the model needs; zeros, if there is none."""
    return torch.cat([tensor] * _FEWEST_SAMPLES) if len(tensor) else tensor.new_zeros((_FEWEST_SAMPLES, *tensor.shape[1:]))


def check_machine(path: Path, device: torch.device) -> None:
    """Raises InvalidInput if its code cannot run here: instructions that a processor lacks end the process."""
    compiled_for = _metadata(path)
    wanted = [_PROCESSOR_FLAGS.get(name, "") for name in compiled_for.get("AOTI_CPU_ISA", "").split()]
    flags = _flags_of_processor()
    lacking = [flag for flag in wanted if flag and flag not in flags] if flags else []
    machine = compiled_for.get("AOTI_MACHINE", platform.machine())
    if machine != platform.machine():
        problem = f"was compiled for {machine}, and this machine is {platform.machine()}"
    elif lacking:
        problem = f"was compiled for a processor with {', '.join(lacking)}, which this one lacks"
    elif (built_for := compiled_for.get("AOTI_DEVICE_KEY", device.type)) != device.type:
        problem = f"was compiled for {built_for}, and is to run on {device.type}"
    else:
        return
    raise InvalidInput(f"{path} {problem}: compile it there, or serve the model as torch.export wrote it")


def _metadata(path: Path) -> Mapping[str, str]:
    """What the package says of the machine that it was compiled on; nothing, if it is older than that."""
    with zipfile.ZipFile(path) as opened:
        for name in opened.namelist():
            if name.endswith("wrapper_metadata.json"):
                return {key: str(value) for key, value in json.loads(opened.read(name)).items()}
    return {}


def _flags_of_processor() -> frozenset[str]:
    """As Linux names them; none where it does not say."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.split())
    return frozenset()
