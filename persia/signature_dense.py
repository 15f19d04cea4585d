"""Dense tensors of a request against those of a signature: which is which, their widths, dtypes and numbers."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from persia.batch import Label, NonIDTypeFeature
from persia.errors import FeatureError, InvalidInput
from persia.signature import DenseSignature

__all__ = ["checked_dense", "dense_order", "nearest"]

_Array = npt.NDArray[Any]

# Up to here a float of so many bytes holds every integer.
_EXACT_INTEGERS = {2: 2**11, 4: 2**24, 8: 2**53}


def nearest(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the known one that looks most like it, if there is one."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def dense_order(
    expected: Sequence[DenseSignature], names: Sequence[str | None], label_names: Collection[str | None]
) -> tuple[int, ...]:
    """For each dense tensor that the model takes, the place of the request's tensor that it gets.

    A tensor whose name the signature has is found by its name. The tensors without a name of their own, and all tensors where
    the signature has no names, go to the places that are left, in order. Raises FeatureError, InvalidInput.
    """
    labels = {Label.DEFAULT_NAME, *label_names} - {None, NonIDTypeFeature.DEFAULT_NAME}
    known = {dense.name: place for place, dense in enumerate(expected) if not _is_anonymous(dense.name)}
    found: dict[int, int] = {}  # place in the model: place in the request
    without_place = []
    for place, name in enumerate(names):
        if name in known:
            if known[name] in found:
                raise FeatureError(str(name), "the request has two dense tensors of this name, expected one")
            found[known[name]] = place
        elif name in labels:
            raise FeatureError(str(name), f"expected {_listed(expected)} as dense tensors, got a label: pass it as a label")
        elif not _is_anonymous(name) and len(known) == len(expected):
            if not expected:
                raise FeatureError(str(name), "the model takes no dense tensors, got one")
            raise FeatureError(
                str(name), f"the model takes no such dense tensor, only {_listed(expected)}{nearest(str(name), known)}"
            )
        else:
            without_place.append(place)
    free = [place for place in range(len(expected)) if place not in found]
    if len(free) > len(without_place):
        missing = ", ".join(repr(expected[place].name) for place in free)
        raise InvalidInput(f"expected {_listed(expected)} as dense tensors, got {_shown(names)}: {missing} is missing")
    if len(free) < len(without_place):
        got = f"got {len(names)}: {_shown(names)}"
        hint = "a label goes into the request's labels, or is left out" if expected else "leave them out"
        raise InvalidInput(f"expected {len(expected)} dense tensors ({_listed(expected)}), {got}; {hint}")
    found.update(zip(free, without_place, strict=True))
    return tuple(found[place] for place in range(len(expected)))


def checked_dense(expected: DenseSignature, array: _Array) -> _Array:
    """The tensor of a request as the model takes it, the very same one if nothing is to be converted. Raises FeatureError."""
    if array.shape[1:] != expected.shape:
        raise FeatureError(expected.name, f"expected a shape of {_shape(expected.shape)}, got {_shape(array.shape[1:])}")
    if array.dtype.name != expected.dtype:
        array = _converted(expected, array)
    if not expected.nan_allowed and array.dtype.kind == "f" and not np.isfinite(array).all():
        sample = int(np.argwhere(~np.isfinite(array))[0][0])
        got = "NaN" if np.isnan(array[sample]).any() else "infinity"
        raise FeatureError(
            expected.name,
            f"expected finite numbers, got {got} in sample {sample}; models that take it are packed with --allow-nan",
        )
    return array


def _converted(expected: DenseSignature, array: _Array) -> _Array:
    """Where no value changes by more than the rounding of floats. Raises FeatureError."""
    source, target = array.dtype, np.dtype(expected.dtype)
    if np.can_cast(source, target, "safe") and not (source.kind in "iu" and source.itemsize == target.itemsize == 8):
        return array.astype(target)
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(target)
        if source.kind == target.kind == "f":
            lost = np.isinf(converted) & ~np.isinf(array)
        elif target.kind == "f":
            most = _EXACT_INTEGERS[target.itemsize]
            lost = (array > most) | ((array < -most) if source.kind == "i" else False)
        elif target.kind == "b":
            lost = (array != 0) & (array != 1)
        else:
            information = np.iinfo(target)
            # Compared as floats, the upper bound may be one too many: so it is left out.
            lost = ~((array >= information.min) & (array < float(information.max) + 1)) | (converted != array)
    if not lost.any():
        return converted
    sample = tuple(np.argwhere(lost)[0])
    value = f"{array[sample]!s} in sample {sample[0]}"
    raise FeatureError(
        expected.name, f"expected {expected.dtype}, got {source.name} with {value}, which {expected.dtype} cannot hold"
    )


def _is_anonymous(name: str | None) -> bool:
    return name is None or name == NonIDTypeFeature.DEFAULT_NAME


def _shape(shape: tuple[int, ...]) -> str:
    """Of one sample, with its batch."""
    return f"(batch{''.join(f', {size}' for size in shape)})"


def _listed(expected: Sequence[DenseSignature]) -> str:
    """Names, so that one can see what is what where they have names; else their shapes."""
    if not expected:
        return "none"
    return ", ".join(f"{dense.name!r} {_shape(dense.shape)}" for dense in expected)


def _shown(names: Sequence[str | None]) -> str:
    return ", ".join(repr(name or NonIDTypeFeature.DEFAULT_NAME) for name in names) or "none"
