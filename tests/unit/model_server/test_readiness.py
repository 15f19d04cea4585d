"""What health checks of gRPC are told of a server's readiness, and when."""

from __future__ import annotations

from typing import cast

from persia.model_server.readiness import Readiness, ReadinessTeller
from persia.model_server.registry import Registry


class Workers:
    """A registry of which only this is asked."""

    ready = False

    def is_ready(self) -> bool:
        return self.ready


def test_who_says_that_a_server_is_ready_has_health_say_it_before() -> None:
    """The ready line was read before the next look of the thread, and a probe was told that nothing is served."""
    workers, told = Workers(), list[bool]()
    teller = ReadinessTeller(Readiness(cast(Registry, workers)), told.append)
    teller.tell()
    workers.ready = True
    teller.tell()  # no thread has looked
    assert told == [False, True]
