"""Archives from URLs, and the packages that archives ask for."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_servers import HANDLERS, Answer, ModelServerRun, ask, make_mar
from tests.support.wheels import make_wheel

INNER = HANDLERS / "inner.py"


class Files(http.server.SimpleHTTPRequestHandler):
    """Those of a directory, and a redirection to somewhere else; no log."""

    def do_GET(self) -> None:
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/b-1.0.mar")  # type: ignore[attr-defined]
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("web")
    for name in ("a", "b"):
        make_mar(directory, name, handler=INNER)
    (directory / "broken.mar").write_text("no archive")
    handler = functools.partial(Files, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def register(server: ModelServerRun, url: str, **query: object) -> Answer:
    asked = "&".join(f"{key}={value}" for key, value in {"url": url, **query}.items())
    return ask(server.management(f"models?{asked}"), b"", "POST")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel of a package `persia_probe_words`, whose WORD is `installed`."""
    directory = tmp_path_factory.mktemp("wheels")
    make_wheel(directory, "persia_probe_words", 'WORD = "installed"\n')
    return directory


def test_an_archive_is_fetched_and_goes_with_its_model(tmp_path: Path, web: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    allowed = f"{web}/.*,file://{tmp_path}/.*"
    state = ["--state", str(tmp_path / "state")]
    with ModelServerRun(tmp_path, store, "--enable-model-api", *state, allowed_urls=allowed) as server:
        assert register(server, f"{web}/a-1.0.mar", initial_workers=1).status == 200
        assert (store / "a-1.0.mar").is_file() and server.predict("a", do="version") == "1.0"
        again = register(server, f"{web}/a-1.0.mar")
        assert (again.status, again.json["message"]) == (500, "Model file already exists a-1.0.mar")
        missing = register(server, f"{web}/missing.mar").json
        assert missing["type"] == "DownloadArchiveException"
        assert missing["message"] == f"Failed to download archive from: {web}/missing.mar"
        assert register(server, f"{web}/broken.mar").status == 400 and not (store / "broken.mar").exists()
        make_mar(tmp_path / "outside", "c", handler=INNER)
        assert register(server, f"file://{tmp_path}/outside/c-1.0.mar").status == 200
    with ModelServerRun(tmp_path, store, "--enable-model-api", *state, allowed_urls=allowed) as server:
        server.wait_ready()
        assert server.predict("a", do="version") == "1.0"
        for name in ("a", "c"):
            assert ask(server.management(f"models/{name}"), None, "DELETE").status == 200
    assert list(store.iterdir()) == [] and (tmp_path / "outside" / "c-1.0.mar").is_file()


@pytest.mark.parametrize("path", ["a-1.0.mar", "elsewhere/b-1.0.mar"])
def test_what_is_not_allowed_is_not_fetched(tmp_path: Path, web: str, path: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    with ModelServerRun(tmp_path, store, "--enable-model-api", allowed_urls=f"{web}/elsewhere/.*") as server:
        answer = register(server, f"{web}/{path}")
        assert answer.status == 404 and answer.json["message"].endswith("does not match any allowed URL(s)")
        assert register(server, "file:///etc/hostname").status == 404
    assert list(store.iterdir()) == []


def test_requirements_are_installed_once_for_each_content(tmp_path: Path, wheels: Path) -> None:
    store = tmp_path / "store"
    make_mar(store, "a", handler=INNER, requirements="persia-probe-words==1.0\n")
    make_mar(store, "b", handler=INNER, requirements="persia-probe-words==1.0\n")
    make_mar(store, "own", handler=INNER, requirements="persia-probe-words==1.0\n", config="useVenv: true\n")
    make_mar(store, "bad", handler=INNER, requirements="persia-probe-words==2.0\n")
    state = tmp_path / "state"
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    options = ["--enable-model-api", "--state", str(state)]
    with ModelServerRun(tmp_path, store, *options, environment=environment, install_py_dep_per_model="true") as server:
        for name in ("a", "b", "own"):
            assert register(server, f"{name}-1.0.mar", initial_workers=1).status == 200
            assert server.predict(name, do="import persia_probe_words") == "installed"
        assert ask(server.management("models/own")).json[0]["useVenv"] is True
        assert len([path for path in (state / "requirements").iterdir() if path.is_dir()]) == 2
        bad = register(server, "bad-1.0.mar")
        assert (bad.status, bad.json["type"]) == (400, "ModelException")
        assert bad.json["message"].startswith("Custom pip package installation failed for model bad")
        assert "No matching distribution found for persia-probe-words==2.0" in server.log()
        assert [one["modelName"] for one in ask(server.management("models")).json["models"]] == ["a", "b", "own"]
