"""Serving for recommendation models with huge embedding tables. See README.md; the errors are in persia.errors."""

__version__ = "0.1.0"
