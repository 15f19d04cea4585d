"""Strategies for texts that look like configs, shared by the tests of both files."""

import contextlib
import warnings
from collections.abc import Callable

import yaml
from hypothesis import strategies as st

from persia.config import ConfigWarning
from persia.errors import ConfigError

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(["h:1", "[::1]:80", "Infer", "f16", "0x10", "1_000", "~"]),
)


def trees(keys: list[str]) -> st.SearchStrategy[object]:
    """Anything that YAML can hold, with `keys` as frequent keys."""
    names = st.one_of(st.sampled_from(keys), st.sampled_from(keys), st.text(max_size=5), st.integers(0, 9))
    return st.dictionaries(
        names,
        st.recursive(_SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4))),
        max_size=5,
    )


_JUNK = st.sampled_from([b"*a", b"&a ", b": ", b"- ", b"\n", b"{", b"[", b"!!int ", b'"', b"|\n"])


@st.composite
def mutants(draw: st.DrawFn, texts: list[str]) -> bytes:
    """A valid text with a few bytes replaced, removed, doubled or inserted."""
    data = bytearray(draw(st.sampled_from(texts)).encode())
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 8))
        junk = draw(st.one_of(st.binary(max_size=4), _JUNK))
        data[at : at + length] = data[at : at + length] * 2 if draw(st.booleans()) else junk
    return bytes(data)


def config_or_error(parse: Callable[[bytes], object], data: bytes | object) -> None:
    """`parse` ends with a config or a ConfigError; every other exception fails the test."""
    text = data if isinstance(data, bytes) else yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConfigWarning)
        with contextlib.suppress(ConfigError):
            parse(text)
