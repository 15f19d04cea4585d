"""The older name of persia.batch."""

from persia.batch import *  # noqa: F403
from persia.batch import __all__ as __all__
