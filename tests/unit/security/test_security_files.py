"""The files of the section `security`: refused where they are of no use, and read again when they change."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from persia.config import SecurityConfig
from persia.errors import ConfigError
from persia.security import ClientSecurity, Refreshing, ServerSecurity
from persia.security.ends import SecurityFiles
from tests.support.certified import TOKEN, mutual_tls, token_file


def test_nothing_is_made_of_nothing() -> None:
    server, client = ServerSecurity(SecurityConfig()), ClientSecurity(SecurityConfig())
    assert (server.tls, server.guard, client.tls, client.tokens, client.server_name) == (None, None, None, None, "")
    assert server.refresh() == client.refresh() == []


def test_the_guard_asks_for_all_that_is_configured(tmp_path: Path) -> None:
    mutual, tokens = mutual_tls(tmp_path), token_file(tmp_path)
    by_both = ServerSecurity(msgspec.structs.replace(mutual, tokens=tokens)).guard
    by_token = ServerSecurity(SecurityConfig(tokens=tokens)).guard
    assert by_both is not None and by_token is not None
    assert by_both.identity_of(f"Bearer {TOKEN}", "client") == "trainer"
    assert by_both.identity_of(f"Bearer {TOKEN}", "") is None
    assert by_both.identity_of("", "client") is None
    assert by_token.identity_of(f"Bearer {TOKEN}", "") == "trainer"
    assert by_token.identity_of(f"Bearer {TOKEN}x", "") is None


@pytest.mark.parametrize("end", [ServerSecurity, ClientSecurity])
def test_files_that_are_of_no_use_are_named(tmp_path: Path, end: Callable[[SecurityConfig], SecurityFiles]) -> None:
    section = mutual_tls(tmp_path)
    key = tmp_path / ("server-key.pem" if end is ServerSecurity else "client-key.pem")
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=f"{key}: expected a file that only its owner can read.*chmod 600 .*security`"):
        end(section)
    key.unlink()
    with pytest.raises(ConfigError, match=f"{key}: No such file or directory - at `\\$.security`"):
        end(section)


def test_a_client_needs_a_token_to_show(tmp_path: Path) -> None:
    assert ClientSecurity(SecurityConfig(token=token_file(tmp_path))).tokens.token() == TOKEN  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"expected a token to show, got a file without one: .* - at `\$.security.token`"):
        ClientSecurity(SecurityConfig(token=token_file(tmp_path, "# none\n")))


def test_changes_are_noticed_and_problems_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = ServerSecurity(SecurityConfig(tokens=token_file(tmp_path)))
    guard = server.guard
    assert guard is not None
    refreshing = Refreshing(server, seconds=0.001)
    refreshing.start()
    try:
        _replace(tmp_path, "short\n")
        _wait(lambda: "line 1: expected `TOKEN`" in caplog.text)
        assert guard.identity_of(f"Bearer {TOKEN}", "") == "trainer"
        other = TOKEN[::-1]
        _replace(tmp_path, f"scorer:{other}\n")
        _wait(lambda: "right again" in caplog.text)
        assert guard.identity_of(f"Bearer {other}", "") == "scorer"
        assert guard.identity_of(f"Bearer {TOKEN}", "") is None
        _replace(tmp_path, "")
        _wait(lambda: "nobody is let in" in caplog.text)
        assert guard.identity_of(f"Bearer {other}", "") is None
    finally:
        refreshing.close()
    assert caplog.text.count("line 1: expected `TOKEN`") == 1
    assert TOKEN not in caplog.text


def _replace(directory: Path, text: str) -> None:
    other = directory / "other"
    other.mkdir(exist_ok=True)
    os.replace(token_file(other, text), directory / "tokens")


def _wait(come: Callable[[], bool]) -> None:
    while not come():  # faulthandler_timeout ends a test that waits for ever
        pass
