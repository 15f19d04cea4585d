"""Weights that stay in the model's file, so that processes that load the same file share the memory of its pages."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import torch

__all__ = ["share_weights"]

_SMALLEST = 64 << 10  # bytes of a tensor, below which it is not worth a look
_LOCAL_HEADER = 30  # bytes, before the name and what a zip has beside it
_ALIGNMENT = 64  # as torch writes tensors into its archives


def share_weights(module: torch.nn.Module | None, path: Path) -> int:
    """Puts pages of the file into the place of the memory of a model's large tensors.

    A tensor takes them only if the file has the same bytes. All processes that do so share these pages, and the system may drop
    and read them again. Whoever writes to such a tensor gets pages of its own. Tensors have memory in common afterwards if they
    had it before, and not because their numbers are equal, as a model may write to them. The file must not be written again, as
    the model would change; it may be removed. So nothing is shared where the path leads through a link: a home of handlers
    links a directory that is served in place, and its owner may write to it.

    Args:
        module: what was loaded from the file; of other devices than the processor nothing changes. None: nothing is done.
        path: an archive as torch writes them; any other file has nothing to share.

    Returns how many bytes are shared now. Raises OSError.
    """
    if module is None or path.resolve() != path.absolute() or not (records := _records(path)):
        return 0
    size = path.stat().st_size
    pages = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    shared = 0
    for tensors in _by_storage(module):
        if not all(map(_is_whole, tensors)):
            continue  # a part of it would stay behind
        begins = records.get(tensors[0].nbytes, [])
        for begin in begins:
            same = pages[begin : begin + tensors[0].nbytes]
            if torch.equal(_bytes_of(tensors[0]), same):
                for tensor in tensors:
                    tensor.data = same.view(tensor.dtype).view(tensor.shape)
                begins.remove(begin)  # the next tensor with these numbers takes another place, or keeps its memory
                shared += same.nbytes
                break
    return shared


def _by_storage(module: torch.nn.Module) -> Iterable[list[torch.Tensor]]:
    """The module's tensors on the processor; those with the same memory are together."""
    found: dict[int, list[torch.Tensor]] = defaultdict(list)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device.type == "cpu":
            found[tensor.untyped_storage().data_ptr()].append(tensor)
    return found.values()


def _is_whole(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() and tensor.nbytes == tensor.untyped_storage().nbytes()


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().reshape(-1).view(torch.uint8)


def _records(path: Path) -> Mapping[int, list[int]]:
    """Where the large files of the archive that are not compressed begin, by their sizes."""
    begins: dict[int, list[int]] = defaultdict(list)
    with suppress(zipfile.BadZipFile), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.compress_type == zipfile.ZIP_STORED and entry.file_size >= _SMALLEST:
                begin = _begin_of(entry, file)
                if begin % _ALIGNMENT == 0:
                    begins[entry.file_size].append(begin)
    return begins


def _begin_of(entry: zipfile.ZipInfo, file: BinaryIO) -> int:
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER)
    name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    return entry.header_offset + _LOCAL_HEADER + name + extra
