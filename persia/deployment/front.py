"""The two homes of handlers that `up` can start: which words start one, and where what is kept of it lies."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from persia.serving.process import DRAIN_SECONDS
from persia.torchserve.run.command import GivenArguments, read_arguments

__all__ = ["Front"]


class Front(Enum):
    """The value is the name of its command, of its log, and of `--front`."""

    TORCHSERVE = "torchserve"
    MODEL_SERVER = "model-server"

    @property
    def title(self) -> str:
        """For people."""
        return "TorchServe" if self is Front.TORCHSERVE else "the model server"

    @property
    def state_name(self) -> str:
        """Of its directory in the state directory of the deployment."""
        return "ts" if self is Front.TORCHSERVE else self.value

    def given(self, arguments: Sequence[str]) -> GivenArguments:
        """What its own arguments say that others have to know. The model server's ports stand in its config file."""
        return read_arguments(arguments) if self is Front.TORCHSERVE else GivenArguments(DRAIN_SECONDS, None, None)
