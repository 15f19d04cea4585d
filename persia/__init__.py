"""Serving for recommendation models with huge embedding tables. See README.md; the errors are in persia.errors."""

from importlib import import_module

__version__ = "0.1.0"

try:
    import_module("persia._core.net")  # of _core itself there is always a directory, with what type checkers read
except ImportError as error:
    raise ImportError(f"the native core of persia-serve does not load; in a checkout, run `make build` ({error})") from error
