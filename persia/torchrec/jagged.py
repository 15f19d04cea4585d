"""FBGEMM's operators on what was looked up, in plain torch: servers have no FBGEMM. And sequences, from tensors and to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torchrec.sparse.jagged_tensor import JaggedTensor

__all__ = ["ServedSequences", "WithoutFbgemm", "raw_of"]


class ServedSequences(JaggedTensor):  # type: ignore[misc]  # has no types
    """What a raw slot gives, (batch, room, dim + 1) with the mask column, as a JaggedTensor of the ids that are there."""

    def __init__(self, raw: Tensor, lengths: torch.dtype) -> None:
        there = raw[:, :, -1] == 1
        super().__init__(raw[:, :, :-1].float()[there], lengths=there.sum(1).to(lengths))
        self._room = raw.shape[1]

    def to_padded_dense(self, desired_length: int | None = None, padding_value: float = 0.0) -> Tensor:
        """As TorchRec, which would make a number of the longest sequence, and so keep that of the sample in a trace."""
        most = self._room if desired_length is None else desired_length
        padded = _to_padded_dense(self.values(), [_complete_cumsum(self.lengths())], [most], padding_value)
        return padded if desired_length is not None else padded[:, : self.lengths().max()]


def raw_of(sequences: JaggedTensor, room: int) -> Tensor:
    """What a raw slot with so much room would give of a JaggedTensor, none of whose sequences is longer."""
    lengths = sequences.lengths().long()
    rows = _to_padded_dense(sequences.values().float(), [_complete_cumsum(lengths)], [room])
    return torch.cat([rows, (torch.arange(room) < lengths.unsqueeze(1)).float().unsqueeze(2)], 2)


class WithoutFbgemm(TorchFunctionMode):
    """While it is entered, operators of FBGEMM that have a twin in plain torch here are that; others stay what they are.

    Those that put features of a KeyedJaggedTensor into another order leave no trace, because a dense half has no ids.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removesuffix(".default")
        if name in _OF_IDS:
            with _untraced():
                return func(*args, **(kwargs or {}))
        return _TWINS.get(name, func)(*args, **(kwargs or {}))


@contextmanager
def _untraced() -> Iterator[None]:
    """What runs until the `with` ends gives constants to a trace. A proof with other embeddings finds where they are used."""
    trace: Any = torch._C  # whose stubs lack the setter
    state = trace._get_tracing_state()
    trace._set_tracing_state(None)
    try:
        yield
    finally:
        trace._set_tracing_state(state)


_OF_IDS = {
    "fbgemm.permute_1D_sparse_data",
    "fbgemm.permute_2D_sparse_data",
    "fbgemm.permute_2D_sparse_data_input1D",
}


def _numbers(like: Tensor, count: int) -> Tensor:
    """From 0 on. A trace keeps the device of torch.arange, and so would not run on another one."""
    return like.new_ones(count, dtype=torch.int64).cumsum(0) - 1


def _complete_cumsum(t_in: Tensor) -> Tensor:
    return torch.cat([t_in.new_zeros((*t_in.shape[:-1], 1)), t_in.cumsum(-1, dtype=t_in.dtype)], -1)


def _to_padded_dense(values: Tensor, offsets: list[Tensor], max_lengths: Sequence[int], padding_value: float = 0.0) -> Tensor:
    (ends,), (most,) = offsets, max_lengths  # of several jagged dims: ValueError
    columns = _numbers(ends, most)
    there = columns < (ends[1:] - ends[:-1]).unsqueeze(1)
    padding = values.new_full((1, *values.shape[1:]), padding_value)
    return torch.cat([padding, values])[torch.where(there, ends[:-1].unsqueeze(1) + columns + 1, 0).long()]


def _to_dense(values: Tensor, offsets: Tensor, max_sequence_length: int, padding_value: float = 0.0) -> Tensor:
    return _to_padded_dense(values, [offsets], [max_sequence_length], padding_value)


def _places(offsets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of each of so many values, its sample and its place there."""
    numbers = _numbers(offsets, count)
    samples = torch.searchsorted(offsets, numbers.to(offsets.dtype), right=True) - 1
    return samples, numbers - offsets[samples]


def _to_jagged(dense: Tensor, x_offsets: list[Tensor], total_L: Any = None) -> tuple[Tensor, list[Tensor]]:
    (offsets,) = x_offsets
    lengths = (offsets[1:] - offsets[:-1]).long()
    samples = torch.repeat_interleave(_numbers(lengths, lengths.shape[0]), lengths)
    columns = _numbers(lengths, samples.shape[0]) - offsets[samples]
    zeros = torch.zeros_like(dense[:, :1])  # where a sequence is longer than the dense tensor
    return torch.cat([dense, zeros], 1)[samples, columns.clamp(max=dense.shape[1]).long()], x_offsets


def _add_dense(x_values: Tensor, x_offsets: list[Tensor], y: Tensor) -> tuple[Tensor, list[Tensor]]:
    return x_values + _to_jagged(y, x_offsets)[0], x_offsets


def _times_dense(x_values: Tensor, x_offsets: list[Tensor], y: Tensor) -> tuple[Tensor, list[Tensor]]:
    return x_values * _to_jagged(y, x_offsets)[0], x_offsets


def _offsets_range(offsets: Tensor, range_size: int) -> Tensor:
    return _places(offsets, range_size)[1].to(offsets.dtype)


def _permute_pooled(pooled_embs: Tensor, offset_dim_list: Tensor, permute_list: Tensor, *_: Tensor) -> Tensor:
    ends = offset_dim_list.tolist()
    return torch.cat([pooled_embs[:, ends[i] : ends[i + 1]] for i in permute_list.tolist()], 1)


def _permute_several(
    pooled_embs: list[Tensor], permutes: Tensor, in_shapes: Tensor, out_shapes: Tensor, out_lengths: list[int]
) -> list[Tensor]:
    parts: list[list[Tensor]] = [[] for _ in out_lengths]
    for source, target, begin, _, length, _ in permutes.tolist():  # in the order of the results' columns
        parts[target].append(pooled_embs[source][:, begin : begin + length])
    return [torch.cat(columns, 1) for columns in parts]


def _regroup(
    pooled_embs: list[Tensor], keys: list[list[str]], lengths: list[list[int]], groups: list[list[str]]
) -> list[Tensor]:
    columns: dict[str, Tensor] = {}
    for values, names, dims in zip(pooled_embs, keys, lengths, strict=True):
        columns |= dict(zip(names, values.split(dims, 1), strict=True))
    return [torch.cat([columns[name] for name in group], 1) for group in groups]


_TWINS: dict[str, Callable[..., Any]] = {
    "fbgemm.asynchronous_complete_cumsum": _complete_cumsum,
    "fbgemm.jagged_to_padded_dense": _to_padded_dense,
    "fbgemm.jagged_2d_to_dense": _to_dense,
    "fbgemm.jagged_1d_to_dense": _to_dense,
    "fbgemm.dense_to_jagged": _to_jagged,
    "fbgemm.jagged_dense_elementwise_add_jagged_output": _add_dense,
    "fbgemm.jagged_dense_elementwise_mul": _times_dense,
    "fbgemm.offsets_range": _offsets_range,
    "fbgemm.permute_pooled_embs": _permute_pooled,
    "fbgemm.permute_pooled_embs_auto_grad": _permute_pooled,
    "fbgemm.permute_multi_embedding": _permute_several,
    "fbgemm.regroup_keyed_tensor": _regroup,
}
