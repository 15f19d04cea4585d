"""The bytes as which torch pickles the storage of a tensor, read without running the pickles in them."""

from __future__ import annotations

import io
import pickletools
import struct

import torch

from persia.errors import InvalidInput

__all__ = ["storage_of"]

# The pickles before the values: a magic number, a version, the machine, what is stored, and the keys of the storages.
_PICKLES = 5
_STORED = 3  # the one that says of which type the values are
_HEADER = 4096  # bytes that they need, and then some

_TYPES = {
    "torch BFloat16Storage": torch.bfloat16,
    "torch BoolStorage": torch.bool,
    "torch ByteStorage": torch.uint8,
    "torch CharStorage": torch.int8,
    "torch ComplexDoubleStorage": torch.complex128,
    "torch ComplexFloatStorage": torch.complex64,
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch IntStorage": torch.int32,
    "torch LongStorage": torch.int64,
    "torch ShortStorage": torch.int16,
}


def storage_of(data: bytes) -> torch.Tensor:
    """The values of a storage, in a row. Raises InvalidInput."""
    names, end = _names_and_end(data[:_HEADER])
    if len(names) != 1 or names[0] not in _TYPES:
        raise InvalidInput(f"expected a storage of numbers in a tensor, got {', '.join(names)[:80] or 'none'}")
    dtype = _TYPES[names[0]]
    values = data[end + 8 :]
    (count,) = struct.unpack("<q", data[end : end + 8]) if len(data) >= end + 8 else (-1,)
    if len(values) != count * dtype.itemsize:
        raise InvalidInput(f"expected {count} values of {dtype} in a tensor, got {len(values)} bytes")
    return torch.frombuffer(bytearray(values), dtype=dtype) if values else torch.empty(0, dtype=dtype)


def _names_and_end(header: bytes) -> tuple[list[str], int]:
    """The names that the pickle of what is stored would look up, and where the pickles end."""
    stream = io.BytesIO(header)
    names: list[str] = []
    try:
        for pickle in range(_PICKLES):
            for opcode, argument, _ in pickletools.genops(stream):
                if pickle == _STORED and opcode.name == "GLOBAL":
                    names.append(str(argument))
    except (ValueError, LookupError, struct.error) as error:
        raise InvalidInput(f"expected the values of a tensor as torch pickles them: {error}") from error
    return names, stream.tell()
