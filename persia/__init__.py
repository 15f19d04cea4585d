"""Serving for recommendation models with huge embedding tables. See README.md; the errors are in persia.errors."""

from importlib import import_module

__version__ = "0.1.0"

try:
    import_module("persia._core.net")  # of _core itself there is always a directory, with what type checkers read
except ImportError as error:
    advice = "in a checkout, run `make build`"
    if any(library in str(error) for library in ("libnghttp2", "libssl", "libcrypto", "libz")):
        advice = "it needs nghttp2, OpenSSL 3 and zlib of the system: sudo apt-get install libnghttp2-14 libssl3 zlib1g"
    raise ImportError(f"the native core of persia-serve does not load; {advice} ({error})") from error
