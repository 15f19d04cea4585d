"""The section `security`: what is accepted, and where a server may listen by it."""

from __future__ import annotations

import warnings

import pytest

from persia.config import SecurityConfig, SecurityWarning, check_call, check_listen
from persia.errors import ConfigError
from tests.support.global_configs import error_of, parse

TLS = SecurityConfig(certificate="c", key="k")
MUTUAL = SecurityConfig(certificate="c", key="k", client_ca="ca")
TOKENS = SecurityConfig(tokens="t")
OPEN = SecurityConfig(insecure=True)

LOCAL = ["127.0.0.1:8888", "127.3.2.1:0", "[::1]:8888", "localhost:1", "unix:/run/persia.sock", "[::ffff:127.0.0.1]:1"]
ELSEWHERE = ["0.0.0.0:8888", "[::]:8888", ":8888", "192.0.2.7:8888", "[2001:db8::1]:1", "no-such-host.invalid:1"]


def test_all_keys_are_read() -> None:
    text = "security:\n" + "".join(
        f"  {key}: /{key}\n"
        for key in (
            "certificate",
            "key",
            "client_ca",
            "tokens",
            "ca",
            "server_name",
            "client_certificate",
            "client_key",
            "token",
        )
    )
    assert parse(text + "  insecure: true\n").security == SecurityConfig(
        certificate="/certificate",
        key="/key",
        client_ca="/client_ca",
        tokens="/tokens",
        ca="/ca",
        server_name="/server_name",
        client_certificate="/client_certificate",
        client_key="/client_key",
        token="/token",
        insecure=True,
    )
    assert parse("common_config: {}").security == SecurityConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("certifcate: a", "line 1: unknown key `certifcate`, did you mean `certificate`? - at `$.security.certifcate`"),
        ("key: ''", "line 1: expected a text that is not empty, got the text '' - at `$.security.key`"),
        ("insecure: on", "line 1: expected true or false, got `on` - at `$.security.insecure`"),
        ("certificate: a", "expected `key` beside `certificate`, the key of this certificate - at `$.security.certificate`"),
        ("key: a", "expected `certificate` beside `key`, the certificate of this key - at `$.security.key`"),
        (
            "client_ca: a",
            "expected `certificate` beside `client_ca`, a certificate of the server: without it nothing is encrypted, and "
            "clients show none - at `$.security.client_ca`",
        ),
        (
            "client_certificate: a, client_key: b",
            "expected `ca` beside `client_certificate`, who signs the servers' certificates: without it clients do not speak "
            "TLS - at `$.security.client_certificate`",
        ),
        (
            "client_certificate: a, ca: b",
            "expected `client_key` beside `client_certificate`, the key of this certificate"
            " - at `$.security.client_certificate`",
        ),
        (
            "server_name: a",
            "expected `ca` beside `server_name`, who signs the servers' certificates: without it clients do not speak TLS"
            " - at `$.security.server_name`",
        ),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    assert error_of(f"security: {{{text}}}") == message


def test_a_mistake_between_keys_names_the_file() -> None:
    assert error_of("security: {key: a}", "g.yml").startswith("g.yml: expected `certificate`")


@pytest.mark.parametrize("address", LOCAL)
@pytest.mark.parametrize("security", [SecurityConfig(), TLS, TOKENS, OPEN])
def test_on_this_machine_nothing_is_asked(address: str, security: SecurityConfig) -> None:
    check_listen(address, security)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_open_to_others_must_be_written_out(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_listen(address, SecurityConfig())
    text = str(caught.value)
    assert f"listener on {address}, which has neither TLS nor tokens: " in text and text.endswith("at `$.security`")
    for way_out in ("`certificate` and `key` (`persia-launcher certificates`", "or `tokens`", "or `insecure: true`"):
        assert way_out in text
    check_listen(address, OPEN)


def test_what_a_client_has_is_no_protection_of_a_server() -> None:
    with pytest.raises(ConfigError):
        check_listen("0.0.0.0:1", SecurityConfig(ca="ca", client_certificate="c", client_key="k", token="t"))


def test_half_a_protection_is_warned_of() -> None:
    with pytest.warns(SecurityWarning, match=r"0\.0\.0\.0:1 takes tokens in plain text: .* Write `certificate` and `key`"):
        check_listen("0.0.0.0:1", TOKENS)
    with pytest.warns(SecurityWarning, match=r"0\.0\.0\.0:1 is encrypted, but asks nobody who he is: write `client_ca` or"):
        check_listen("0.0.0.0:1", TLS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_listen("0.0.0.0:1", MUTUAL)
        check_listen("0.0.0.0:1", SecurityConfig(certificate="c", key="k", tokens="t"))
        check_listen("0.0.0.0:1", SecurityConfig(tokens="t", insecure=True))


def test_a_token_in_plain_text_is_warned_of() -> None:
    with pytest.warns(SecurityWarning, match=r"the token for 192\.0\.2\.7:1 travels in plain text: .* Write `ca`"):
        check_call("192.0.2.7:1", SecurityConfig(token="t"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_call("127.0.0.1:1", SecurityConfig(token="t"))
        check_call("unix:/run/persia.sock", SecurityConfig(token="t"))
        check_call("192.0.2.7:1", SecurityConfig(token="t", ca="system"))
        check_call("192.0.2.7:1", SecurityConfig(token="t", insecure=True))
        check_call("192.0.2.7:1", SecurityConfig())
