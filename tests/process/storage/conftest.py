"""One object store for all tests of the folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.seaweeds import Seaweed, needs_seaweed


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    needs_seaweed()
    started = Seaweed(tmp_path_factory.mktemp("seaweed"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in started.environment.items():
            patch.setenv(name, value)
        started.start()
        yield started
        started.stop()
