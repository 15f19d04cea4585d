"""What whoever loads a model is told when it does not load."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from persia.dense.kinds import Kind
from persia.dense.loading_errors import loading_errors
from persia.errors import InvalidInput, NotFound

FILE = Path("model.pt")


def test_whatever_goes_wrong_names_the_file_and_the_first_reason() -> None:
    with pytest.raises(InvalidInput) as raised, loading_errors(Kind.EXPORTED, FILE):
        raise RuntimeError("version 9 is not known. Try another torch.\nand a stack")
    assert str(raised.value) == f"model.pt is a model of {Kind.EXPORTED.value}, which does not load: version 9 is not known"


def test_errors_of_ours_pass_as_they_are() -> None:
    with pytest.raises(NotFound, match="needs onnxruntime"), loading_errors(Kind.ONNX, FILE):
        raise NotFound("needs onnxruntime")


def test_deprecations_of_torchscript_are_not_shown() -> None:
    with warnings.catch_warnings(record=True) as shown, loading_errors(Kind.TORCHSCRIPT, FILE):
        warnings.warn("`torch.jit.load` is deprecated", DeprecationWarning, stacklevel=1)
    assert not shown
