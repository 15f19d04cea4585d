"""The JSON form of a request, for callers without our library (docs/http-json.md), as a byte batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from persia import strict_json
from persia._core import hash_strings
from persia.batch import IDTypeFeature, NonIDTypeFeature, PersiaBatch
from persia.errors import FeatureError, InvalidInput
from persia.signature import IdKind, Signature
from persia.signature_dense import nearest
from persia.torchserve.scores import BATCH, DEADLINE, DETAILS, FORMAT, VARIANT
from persia.weights import WEIGHTS, weight_matrix

__all__ = ["request_of_json"]

_KEYS = ("features", "dense", "weights", "format", "details", "variant", "deadline_unix_ms")
_TYPES: Mapping[IdKind, type] = {"text": str, "integer": int}
_WORDS: Mapping[IdKind, tuple[str, str]] = {
    "text": ("text", ': send it in quotes, such as "101"'),
    "integer": ("a whole number", ": send it without quotes, such as 101"),
}


def request_of_json(form: Any, signature: Signature | None = None) -> dict[str, bytes]:
    """The same request with a byte batch.

    form: the object, or the bytes of it. signature: says of which kind ids are, and dense numbers; else these are float32.
    Raises InvalidInput, TooLarge: with the place, such as `$.features.user[3]`.
    """
    if isinstance(form, (bytes, bytearray, str)):
        form = _parsed(form)
    if not isinstance(form, dict):
        raise InvalidInput(f"expected a JSON object with `features`, got {_kind(form)}")
    for key in form:
        if key not in _KEYS:
            raise InvalidInput(f"$.{key}: unknown key, expected {', '.join(_KEYS)}{nearest(key, _KEYS)}")
    kinds = {feature.name: feature.ids for feature in signature.features} if signature is not None else {}
    features = [_feature(name, samples, kinds.get(name)) for name, samples in _object(form, "features").items()]
    if not features:
        raise InvalidInput("$.features: expected at least one feature, got none")
    dtypes = {dense.name: dense.dtype for dense in signature.dense} if signature is not None else {}
    dense = [_dense(name, numbers, dtypes) for name, numbers in _object(form, "dense").items()]
    by_name = {feature.name: feature for feature in features}
    for name, weights in _object(form, "weights").items():
        dense.append(_weights(name, weights, by_name))
    parts: list[IDTypeFeature | NonIDTypeFeature] = [*features, *dense]
    for one in parts:
        if one.batch_size != features[0].batch_size:
            raise FeatureError(
                one.name, f"expected {features[0].batch_size} samples as in {features[0].name!r}, got {one.batch_size}"
            )
    request = {BATCH: PersiaBatch(features, dense, requires_grad=False).to_bytes()}
    if "format" in form:
        request[FORMAT] = _format(form["format"])
    if _is(form, "details"):
        request[DETAILS] = b"1"
    if (variant := form.get("variant")) is not None:
        if not isinstance(variant, str):
            raise InvalidInput(f"$.variant: expected the name of a variant, got {_kind(variant)}")
        request[VARIANT] = variant.encode()
    if (deadline := form.get("deadline_unix_ms")) is not None:
        if type(deadline) is not int:
            raise InvalidInput(f"$.deadline_unix_ms: expected milliseconds since 1970, got {_kind(deadline)}")
        request[DEADLINE] = str(deadline).encode()
    return request


def _parsed(data: bytes | bytearray | str) -> Any:
    try:
        return strict_json.loads(data)
    except RecursionError:
        raise InvalidInput(
            "expected a JSON object with `features`, got lists or objects in each other by the thousand"
        ) from None
    except ValueError as error:  # also of bytes that are not UTF-8, and of numbers with thousands of digits
        raise InvalidInput(f"expected a JSON object with `features`, got something else: {error}") from None


def _object(form: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = form.get(key)
    if key not in form and key == "features":
        raise InvalidInput("$.features is missing: expected an object with `features`, an object of names and lists of ids")
    if value is None and key != "features":
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"$.{key}: expected an object of names and lists, got {_kind(value)}")
    return value


def _samples(place: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidInput(f"{place}: expected a list with an entry for each sample, got {_kind(value)}")
    if not value:
        raise InvalidInput(f"{place}: expected at least one sample, got an empty list")
    return value


def _feature(name: str, value: Any, kind: IdKind | None) -> IDTypeFeature:
    """A sample is an id, a list of ids, or null for no id; an id is a whole number or text, as the signature has it."""
    place = f"$.features.{name}"
    samples = [_as_list(sample) for sample in _samples(place, value)]
    offsets = np.zeros(len(samples) + 1, np.int64)
    np.cumsum([len(sample) for sample in samples], out=offsets[1:])
    ids = list(chain.from_iterable(samples))
    return IDTypeFeature(name, _ids(place, value, ids, kind), offsets)


def _ids(place: str, samples: Sequence[Any], ids: list[Any], kind: IdKind | None) -> npt.NDArray[np.uint64]:
    """Text is hashed; a negative number is the one that has the same 64 bits."""
    kinds = set(map(type, ids))
    if not kinds <= {int, str}:
        where, wrong = _first(place, samples, lambda id: type(id) not in (int, str))
        raise InvalidInput(f"{where}: expected an id, a whole number or text, got {_kind(wrong)}")
    if kinds == {int, str}:
        first = type(ids[0])
        where, wrong = _first(place, samples, lambda id: type(id) is not first)
        raise InvalidInput(
            f"{where}: expected ids of one kind, whole numbers or text, got {_kind(wrong)} after {_kind(ids[0])}"
        )
    if kind is not None and kinds and kinds != {_TYPES[kind]}:
        where, wrong = _first(place, samples, lambda id: True)
        what, also = _WORDS[kind]
        raise InvalidInput(f"{where}: expected {what}, as the ids of this feature are, got {_kind(wrong)}{also}")
    if str in kinds:
        try:
            return hash_strings(ids)
        except (InvalidInput, UnicodeError) as error:
            raise InvalidInput(f"{place}: {error}") from None
    least = min(ids, default=0)
    if least < -(1 << 63) or max(ids, default=0) >= 1 << 64:
        where, wrong = _first(place, samples, lambda id: type(id) is int and not -(1 << 63) <= id < 1 << 64)
        raise InvalidInput(f"{where}: expected an id from -2^63 to 2^64 - 1, got {str(wrong)[:40]}")
    return np.array(ids if least >= 0 else [id & 0xFFFF_FFFF_FFFF_FFFF for id in ids], np.uint64)


def _first(place: str, samples: Sequence[Any], is_wrong: Any) -> tuple[str, Any]:
    """The first wrong id, and where it stands."""
    for i, sample in enumerate(samples):
        for j, id in enumerate(_as_list(sample)):
            if is_wrong(id):
                return f"{place}[{i}]" + (f"[{j}]" if isinstance(sample, list) else ""), id
    raise AssertionError(place)


def _dense(name: str, value: Any, dtypes: Mapping[str, str]) -> NonIDTypeFeature:
    """Of each sample a number or a list of numbers; null is NaN. Whole numbers are floats, too: JSON has but one kind."""
    array = _numbers(f"$.dense.{name}", value)
    dtype = np.dtype(dtypes.get(name, dtypes.get(NonIDTypeFeature.DEFAULT_NAME, "float32")))
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
        if np.isinf(array).any():
            sample = int(np.argwhere(np.isinf(array))[0][0])
            raise InvalidInput(f"$.dense.{name}[{sample}]: expected numbers that {dtype.name} can hold, got a larger one")
    return NonIDTypeFeature(array, name)


def _numbers(place: str, value: Any) -> npt.NDArray[Any]:
    samples = _samples(place, value)
    try:
        array = np.asarray(samples)
        if array.dtype.kind == "O" and not any(isinstance(number, str) for number in array.flat):
            array = np.asarray(samples, np.float64)  # with null, or whole numbers beyond 64 bits
    except (ValueError, TypeError, OverflowError):
        array = None
    if array is None or array.dtype.kind not in "biuf" or array.ndim > 32:
        raise InvalidInput(f"{place}: expected a number or a list of numbers for each sample, lists of the same length")
    return array


def _weights(name: str, value: Any, features: Mapping[str, IDTypeFeature]) -> NonIDTypeFeature:
    """One for each id. They travel as a dense tensor, with zeros for ids that a sample does not have."""
    place = f"$.weights.{name}"
    if name not in features:
        raise InvalidInput(f"{place}: expected the name of a feature of the request{nearest(name, features)}")
    offsets = features[name].offsets
    assert offsets is not None
    try:
        matrix = weight_matrix(name, [_as_list(sample) for sample in _samples(place, value)], np.diff(offsets))
    except FeatureError as error:
        raise InvalidInput(f"{place}: {error.problem}") from None
    return NonIDTypeFeature(matrix, name + WEIGHTS)


def _as_list(sample: Any) -> list[Any]:
    """What a sample has, if it is null, one value or a list."""
    return [] if sample is None else sample if isinstance(sample, list) else [sample]


def _format(value: Any) -> bytes:
    if not isinstance(value, str):
        raise InvalidInput(f"$.format: expected text, got {_kind(value)}")
    return value.encode(errors="replace")


def _is(form: Mapping[str, Any], key: str) -> bool:
    value = form.get(key, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"$.{key}: expected true or false, got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    """In JSON's words."""
    if isinstance(value, float) and value.is_integer():
        return f"the number {value!r} with a fraction or an exponent"
    names: Iterable[tuple[type, str]] = (
        (type(None), "null"),
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (str, "text"),
        (list, "a list"),
        (dict, "an object"),
    )
    return next((word for kind, word in names if isinstance(value, kind)), type(value).__name__)
