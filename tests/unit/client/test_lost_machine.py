"""A client whose model server is on a machine that is lost: its connection does not wait a quarter of an hour for TCP."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import numpy as np
import pytest

from persia.batch import IDTypeFeatureWithSingleID, PersiaBatch
from persia.client.predict import Client
from persia.errors import PersiaError
from persia.torchserve.schema import UNACKNOWLEDGED_SECONDS

BATCH = PersiaBatch([IDTypeFeatureWithSingleID("user", np.array([1], np.uint64))], requires_grad=False)


def give_up_after(port: int) -> list[int]:
    """The milliseconds of each of this process's own ends of TCP connections to a port."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getpeername()[1] == port:
                found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    return found


def test_what_is_not_acknowledged_in_time_ends_the_connection() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client("ctr", f"127.0.0.1:{port}") as client:
            with pytest.raises(PersiaError):  # it knows no model, but the connection is there
                client.predict(BATCH)
            timeouts = give_up_after(port)
    finally:
        server.stop(None)
    assert timeouts == [1000 * UNACKNOWLEDGED_SECONDS]
