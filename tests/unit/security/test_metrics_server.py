"""Metrics with TLS and tokens."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Gauge

from persia.config import SecurityConfig
from persia.security import ServerSecurity
from persia.security.metrics_server import MetricsServer
from tests.support.certified import TOKEN, mutual_tls, token_file


@contextmanager
def served(section: SecurityConfig, host: str = "127.0.0.1") -> Iterator[str]:
    registry = CollectorRegistry()
    Gauge("rows", "All of them.", registry=registry).set(7)
    server = MetricsServer(host, 0, registry, section, ServerSecurity(section).guard)
    server.start()
    try:
        scheme = "https" if section.certificate else "http"
        yield f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics"
    finally:
        server.close()


def scrape(url: str, context: ssl.SSLContext | None = None, token: str | None = None) -> str:
    """What Prometheus would get, or the status of the refusal."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        error.close()
        return str(error.code)


def trusting(section: SecurityConfig, shows: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=section.ca)
    if shows:
        context.load_cert_chain(str(section.client_certificate), section.client_key)
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_without_a_section_everybody_may_ask(host: str) -> None:
    with served(SecurityConfig(), host) as url:
        assert "rows 7.0" in scrape(url)


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    with served(SecurityConfig(tokens=token_file(tmp_path))) as url:
        assert "rows 7.0" in scrape(url, token=TOKEN)
        assert scrape(url) == scrape(url, token=TOKEN[::-1]) == "401"


def test_a_certificate_is_asked_for_and_a_token_beside_it(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path)
    with served(section) as url:
        assert "rows 7.0" in scrape(url, trusting(section))
        with pytest.raises(OSError, match=r"(?i)certificate|reset|closed|eof"):
            scrape(url, trusting(section, shows=False))
        with pytest.raises(OSError, match=r"(?i)closed|reset"):
            scrape(url.replace("https", "http"))
    both = msgspec.structs.replace(section, tokens=token_file(tmp_path))
    with served(both) as url:
        assert "rows 7.0" in scrape(url, trusting(both), TOKEN)
        assert scrape(url, trusting(both)) == "401"


def test_certificates_are_read_again(tmp_path: Path) -> None:
    section = mutual_tls(tmp_path)
    with served(section) as url:
        assert "rows 7.0" in scrape(url, trusting(section))
        (tmp_path / "ca.pem").unlink()
        old = (tmp_path / "client.pem").read_bytes(), (tmp_path / "client-key.pem").read_bytes()
        mutual_tls(tmp_path)  # of another CA
        assert "rows 7.0" in scrape(url, trusting(section))
        (tmp_path / "client.pem").write_bytes(old[0])
        (tmp_path / "client-key.pem").write_bytes(old[1])
        with pytest.raises(OSError, match=r"(?i)certificate|alert|reset|closed|eof"):
            scrape(url, trusting(section))
