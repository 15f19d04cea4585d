"""Prints docs/configuration.md."""

from persia.config.keys import markdown

print(markdown(), end="")
