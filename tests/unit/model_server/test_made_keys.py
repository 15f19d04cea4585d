"""Keys that the server makes, where they cannot be written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from persia.model_server.keys import INFERENCE, MadeKeys
from persia.model_server.refusals import NoDiskSpace


def test_a_key_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    keys = MadeKeys(directory / "key_file.json", 60, False)
    keys.open()
    before = json.loads(keys.file.read_text())[INFERENCE]["key"]
    shutil.rmtree(directory)
    with pytest.raises(NoDiskSpace, match=r"no new key was made, as .* could not be written .*: the old one goes on") as caught:
        keys.renew(INFERENCE)
    assert caught.value.status == 507
    assert keys.guards[INFERENCE].identity_of(f"Bearer {before}", "") is not None
