"""One object store for all tests of the folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.s3_servers import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = s3_server(tmp_path_factory.mktemp("s3"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        try:
            server.start()
            yield server
        finally:
            server.stop()
