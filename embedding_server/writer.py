"""The writers by the name that they first had; they are in persia.writers, and need no server."""

from persia.writers import *  # noqa: F403
from persia.writers import __all__ as __all__
