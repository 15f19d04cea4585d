"""What the log hears of clients with which no TLS could be agreed on."""

from __future__ import annotations

import pytest

from persia.model_server.refused_clients import RefusedClients


def _told(caplog: pytest.LogCaptureFixture, *rounds: tuple[list[str], int]) -> list[str]:
    coming = iter(rounds)
    clients = RefusedClients([lambda: next(coming)])
    for _ in rounds:
        clients.look()
    return [record.getMessage() for record in caplog.records]


def test_an_address_is_told_once_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    came = ["10.0.0.1:5: no TLS", "10.0.0.1:6: no TLS", "10.0.0.1:7: a key: none", "[::1]:8: no TLS"]
    assert _told(caplog, (came, 4), (came, 4)) == [
        "refused the client 10.0.0.1:5: no TLS (told once for its address)",
        "refused the client 10.0.0.1:7: a key: none (told once for its address)",
        "refused the client [::1]:8: no TLS (told once for its address)",
    ]


def test_those_beyond_the_first_of_a_second_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    assert _told(caplog, (["10.0.0.1:5: no TLS"], 1001), ([], 0))[1:] == ["refused 1000 more clients within a second"]


def test_only_the_last_thousand_are_remembered(caplog: pytest.LogCaptureFixture) -> None:
    first = "10.0.0.1:5: no TLS"
    others = [f"10.1.{i // 256}.{i % 256}:5: no TLS" for i in range(999)]
    assert len(_told(caplog, ([first, *others], 1000), ([first], 1))) == 1000  # it was there
    caplog.clear()
    assert len(_told(caplog, ([first, *others], 1000), (["10.2.0.1:5: no TLS", first], 2))) == 1002  # it had gone
    caplog.clear()
    assert len(_told(caplog, ([first, *others], 1000), ([first, "10.2.0.1:5: no TLS", first], 3))) == 1001  # another one had
