"""What an archive says of its tensors, where its model does not: `open_inference` in model-config.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from persia.errors import ConfigError

from .datatypes import DATATYPES
from .tensors import TensorSpec

__all__ = ["KEY", "Declared", "declared_tensors"]

KEY = "open_inference"


class _Declared(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    datatype: str
    shape: list[Annotated[int, Meta(ge=-1)]]
    optional: bool = False


class _Section(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Declared] = []
    outputs: list[_Declared] = []


class Declared(msgspec.Struct, frozen=True):
    """Empty tuples: nothing is said."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


def declared_tensors(config: Mapping[str, Any] | None) -> Declared:
    """config: the archive's model-config.yaml. Raises ConfigError."""
    section = (config or {}).get(KEY)
    if section is None:
        return Declared()
    try:
        read = msgspec.convert(section, _Section)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"expected `inputs` and `outputs`, lists of tensors with name, datatype and shape: {error}", f"$.{KEY}"
        ) from None
    return Declared(_specs(read.inputs, "inputs"), _specs(read.outputs, "outputs"))


def _specs(declared: list[_Declared], which: str) -> tuple[TensorSpec, ...]:
    for i, one in enumerate(declared):
        if one.datatype not in DATATYPES:
            raise ConfigError(f"expected one of {', '.join(DATATYPES)}, got {one.datatype!r}", f"$.{KEY}.{which}[{i}].datatype")
    return tuple(TensorSpec(one.name, one.datatype, tuple(one.shape), one.optional) for one in declared)
