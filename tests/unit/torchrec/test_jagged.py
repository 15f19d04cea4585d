"""FBGEMM's operators in plain torch, beside FBGEMM's own."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.examples import examples

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("torchrec") is None, reason="TorchRec is not installed: `make torchrec` does it"
    ),
    pytest.mark.filterwarnings("ignore"),  # TorchRec's own
]

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def ours() -> Any:
    return importlib.import_module("persia.torchrec.jagged")


def both(ours: Any, name: str, *arguments: Any) -> tuple[Any, Any]:
    """What the operator answers, and what it answers where there is no FBGEMM."""
    operator = getattr(torch.ops.fbgemm, name)
    with ours.WithoutFbgemm():
        plain = operator(*arguments)
    return operator(*arguments), plain


def check(ours: Any, name: str, *arguments: Any) -> None:
    assert f"fbgemm.{name}" in ours._TWINS
    own, plain = both(ours, name, *arguments)
    torch.testing.assert_close(plain, own, atol=0, rtol=0)


def offsets_of(lengths: list[int], dtype: torch.dtype) -> Tensor:
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=dtype)


@settings(max_examples=examples(60), deadline=None)
@given(
    lengths=LENGTHS,
    most=st.integers(1, 7),
    dim=st.integers(1, 3),
    dtype=st.sampled_from([torch.int32, torch.int64]),
    padding=st.sampled_from([0.0, -1.5]),
)
def test_sequences_are_padded_and_cut_as_by_fbgemm(
    ours: Any, lengths: list[int], most: int, dim: int, dtype: torch.dtype, padding: float
) -> None:
    offsets, total = offsets_of(lengths, dtype), sum(lengths)
    values, dense = torch.randn(total, dim), torch.randn(len(lengths), most, dim)
    check(ours, "jagged_to_padded_dense", values, [offsets], [most], padding)
    check(ours, "jagged_2d_to_dense", values, offsets, most)
    check(ours, "jagged_1d_to_dense", values[:, 0].contiguous(), offsets, most, int(padding))
    check(ours, "asynchronous_complete_cumsum", torch.tensor(lengths, dtype=dtype))
    check(ours, "offsets_range", offsets[:-1].contiguous(), total)
    for name, arguments in (
        ("dense_to_jagged", (dense, [offsets])),
        ("jagged_dense_elementwise_add_jagged_output", (values, [offsets], dense)),
        ("jagged_dense_elementwise_mul", (values, [offsets], dense)),
    ):
        check(ours, name, *arguments)


@settings(max_examples=examples(30), deadline=None)
@given(dims=st.lists(st.integers(1, 4), min_size=1, max_size=5), data=st.data())
def test_columns_are_put_into_another_order_as_by_fbgemm(ours: Any, dims: list[int], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(dims))))
    ends = offsets_of(dims, torch.int64)
    inverse = offsets_of([dims[i] for i in order], torch.int64)
    values = torch.randn(3, sum(dims))
    permutes = (torch.tensor(order), inverse, torch.tensor(order).argsort())
    check(ours, "permute_pooled_embs", values, ends, *permutes)
    check(ours, "permute_pooled_embs_auto_grad", values, ends, *permutes)
    names = [f"f{i}" for i in range(len(dims))]
    groups = [[names[i] for i in order], [names[order[0]]]]
    arguments = torch.ops.fbgemm.kt_regroup_arguments(values, [names], [dims], groups)
    check(ours, "permute_multi_embedding", [values], *arguments)
    check(ours, "regroup_keyed_tensor", [values], [names], [dims], groups)


def test_sequences_become_what_a_raw_slot_gives_and_back(ours: Any) -> None:
    lengths = torch.tensor([2, 0, 3], dtype=torch.int32)
    values = torch.randn(5, 4)
    raw = ours.raw_of(ours.JaggedTensor(values, lengths=lengths), 4)
    assert raw.shape == (3, 4, 5) and raw[:, :, 4].tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
    served = ours.ServedSequences(raw, torch.int32)
    torch.testing.assert_close(served.values(), values)
    torch.testing.assert_close(served.lengths(), lengths)
    own = ours.JaggedTensor(values, lengths=lengths)
    with ours.WithoutFbgemm():
        torch.testing.assert_close(served.to_padded_dense(), own.to_padded_dense())
        torch.testing.assert_close(served.to_padded_dense(2, 9.0), own.to_padded_dense(2, 9.0))


def test_of_a_row_of_zeros_the_mask_says_that_it_is_there(ours: Any) -> None:
    raw = torch.tensor([[[0.0, 0.0, 1.0], [5.0, 5.0, 0.0]]])
    assert ours.ServedSequences(raw, torch.int64).values().tolist() == [[0, 0]]
