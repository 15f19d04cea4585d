"""What a deployment knows of a front's state without starting it."""

from __future__ import annotations

from persia.deployment.front import Front
from persia.model_server.state import STATE_FILE
from persia.torchserve.state import MODELS_FILE


def test_both_fronts_keep_their_models_in_a_file_of_one_name_which_forget_state_deletes() -> None:
    assert STATE_FILE == MODELS_FILE
    assert len({front.state_name for front in Front}) == len(Front)
