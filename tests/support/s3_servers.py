"""Real servers that speak S3, for tests of what reads from them and writes to them. Which one is asked for is in PERSIA_S3."""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.store import S3Store

from persia.storage import Store, place_of
from tests.support.servers import PATIENCE, free_port, wait_until

ACCESS_KEY, SECRET_KEY = "access", "secret"
BUCKET = "tests"


class S3Server(ABC):
    """`environment` is what makes clients ask this server; it has to be set before any of them is made."""

    def __init__(self, directory: Path) -> None:
        """directory: for all that it keeps."""
        self.directory = directory
        self.port = free_port()
        self.environment = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
        }

    @abstractmethod
    def launch(self) -> None:
        """Starts its processes, (again) with what it has on disk."""

    @abstractmethod
    def stop(self) -> None:
        """What it has stays on disk."""

    @abstractmethod
    def check_alive(self) -> None:
        """Raises AssertionError with what it said if it has ended by itself."""

    def start(self) -> None:
        """Returns when it has taken a file. REQUIRES: the environment is this server's."""
        self.launch()
        wait_until(self._answers, "the store answers")

    def make_bucket(self, name: str) -> None:
        """Which may be there. Raises OSError. The library of our stores makes none, but signs the request."""
        signed = obstore.sign(S3Store(name, client_options={"allow_http": True}), "PUT", "", timedelta(minutes=1))
        with contextlib.suppress(urllib.error.HTTPError):  # whatever comes next says that there is none
            urllib.request.urlopen(urllib.request.Request(signed, method="PUT"), timeout=PATIENCE).close()

    def store(self, path: str) -> Store:
        """A directory of the one bucket that is there."""
        return place_of(self.url(path)).open()

    def url(self, path: str) -> str:
        return f"s3://{BUCKET}/{path}"

    def _answers(self) -> bool:
        self.check_alive()
        try:
            self.make_bucket(BUCKET)
            self.store("start").put("ready", b"ready")
        except OSError:
            return False
        return True


def s3_server(directory: Path) -> S3Server:
    """The one that PERSIA_S3 names, SeaweedFS without. Skips a test where it is not installed."""
    if os.environ.get("PERSIA_S3") == "ceph":
        from tests.support.cephs import Ceph, needs_ceph

        needs_ceph()
        return Ceph(directory)
    from tests.support.seaweeds import Seaweed, needs_seaweed

    needs_seaweed()
    return Seaweed(directory)


@contextmanager
def running_s3_server(directory: Path) -> Iterator[S3Server]:
    """One that this process and its children ask, for as long as the block lasts."""
    directory.mkdir(parents=True)
    server = s3_server(directory)
    os.environ.update(server.environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()
