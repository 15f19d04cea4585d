"""What becomes of an exception that a dense model raises."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ts.utils.util import PredictionException

from persia.errors import PersiaError, TooLarge
from persia.torch_errors import last_line, out_of_memory

__all__ = ["error_of_model", "scores_of"]

log = logging.getLogger(__name__)


def error_of_model(error: Exception) -> PersiaError:
    """An error of ours for it. What nobody could expect is in the log then, with its traceback."""
    if isinstance(error, PersiaError):
        return error
    if out_of_memory(error):
        return TooLarge(f"out of memory: {last_line(error)}")
    log.error("the model failed", exc_info=error)
    return PersiaError(f"the model failed: {last_line(error)}")


def scores_of(handler: Any, features: Sequence[Any]) -> list[Any | PersiaError]:
    """What handler.inference gives for the features of each request; an error in the place of one that the model fails for.

    Raises PredictionException of a subclass.
    """
    try:
        scores: list[Any | PersiaError] = handler.inference(list(features))
        return scores
    except PredictionException:
        raise
    except Exception as error:
        if len(features) == 1:
            return [error_of_model(error)]
    return [score for one in features for score in scores_of(handler, [one])]
