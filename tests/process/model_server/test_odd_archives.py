"""Archives that nobody packs by mistake: they are refused by name, nothing of them stays, and the server notices nothing."""

from __future__ import annotations

import io
import json
import os
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.model_servers import HANDLERS, Answer, ModelServerRun, ask, make_mar

HANDLER = HANDLERS / "inner.py"
MEMBERS = 50
SIZE = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerRun]:
    directory = tmp_path_factory.mktemp("odd_archives")
    store = directory / "store"
    make_mar(store, "good", handler=HANDLER)
    scratch = directory / "scratch"
    scratch.mkdir()
    limits: dict[str, Any] = {
        "max_unpacked_files": MEMBERS,
        "max_unpacked_size": SIZE,
        "allowed_urls": f"file://{directory}/.*",
    }
    with ModelServerRun(directory, store, "--enable-model-api", environment={"TMPDIR": str(scratch)}, **limits) as run:
        yield run
        assert run.stop() == 0
        assert list(scratch.iterdir()) == []


def refused(server: ModelServerRun, url: str, status: int = 400) -> str:
    """Its words. Nothing of it stays on the disk, and no thread waits for it."""
    answer: Answer = ask(server.management(f"models?url={quote(url)}"), b"", "POST")
    assert answer.status == status, answer
    (unpacked,) = (server.store.parent / "scratch").iterdir()
    assert [path.name for path in unpacked.iterdir() if not path.name.startswith(".")] == []
    return str(answer.json["message"])


def pack(server: ModelServerRun, name: str, model: dict[str, Any] | bytes, files: dict[str, bytes] | None = None) -> str:
    """An archive whose manifest says this of its model, or is this."""
    manifest = model if isinstance(model, bytes) else json.dumps({"model": {"modelName": name, **model}}).encode()
    with zipfile.ZipFile(server.store / f"{name}.mar", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", manifest)
        for path, content in {HANDLER.name: HANDLER.read_bytes(), **(files or {})}.items():
            archive.writestr(path, content)
    return f"{name}.mar"


def test_what_is_no_file_is_not_opened(server: ModelServerRun) -> None:
    os.mkfifo(server.store / "pipe.mar")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(server.store / "socket.mar"))
    (server.store / "device.mar").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a named pipe"), ("socket", "a socket"), ("device", "a device")):
        assert refused(server, f"{name}.mar") == f"expected a file, got {kind}: {name}.mar"
    os.mkfifo(server.store.parent / "pipe_elsewhere.mar")
    url = f"file://{server.store.parent}/pipe_elsewhere.mar"
    assert refused(server, url) == f"{url}: expected a file, got a named pipe: pipe_elsewhere.mar"
    os.mkfifo(server.store / "pipe.onnx")
    assert refused(server, "pipe.onnx") == "expected a file, got a named pipe: pipe.onnx"


@pytest.mark.parametrize("key", ["serializedFile", "configFile", "requirementsFile"])
def test_a_directory_with_a_pipe_in_it(server: ModelServerRun, key: str) -> None:
    directory = server.store / f"with_pipe_{key}"
    (directory / "MAR-INF").mkdir(parents=True)
    os.mkfifo(directory / "pipe")
    model = {"modelName": "pipe", "handler": HANDLER.name, key: "pipe"}
    (directory / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": model}))
    assert refused(server, directory.name) == (
        f"expected a file of the archive for model.{key} in MAR-INF/MANIFEST.json of {directory.name}, got 'pipe'"
    )


@pytest.mark.parametrize("key", ["handler", "serializedFile", "modelFile", "requirementsFile", "configFile", "extraFiles"])
@pytest.mark.parametrize("outside", ["../outside.yaml", "/etc/passwd", "a/../../b"])
def test_a_manifest_that_names_a_file_outside_of_its_archive(server: ModelServerRun, key: str, outside: str) -> None:
    url = pack(server, "outside", {"handler": HANDLER.name, key: outside})
    assert refused(server, url) == (
        f"expected a file of the archive for model.{key} in MAR-INF/MANIFEST.json of outside.mar, got '{outside}'"
    )


def test_an_archive_that_unpacks_to_more_than_it_may(server: ModelServerRun) -> None:
    url = pack(server, "large", {"handler": HANDLER.name}, {"zeros": bytes(4 * SIZE)})
    most = f"expected large.mar to unpack to at most {SIZE} bytes, got more"
    assert refused(server, url) == f"{most}: if it is what it should be, raise max_unpacked_size"
    many = pack(server, "many", {"handler": HANDLER.name}, {f"d/{i}": b"" for i in range(MEMBERS)})
    most = f"expected many.mar to unpack to at most {MEMBERS} files, got more"
    assert refused(server, many) == f"{most}: if it is what it should be, raise max_unpacked_files"


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_a_tar_that_unpacks_to_more_than_it_may(server: ModelServerRun, compression: str) -> None:
    mode: Any = f"w:{compression}"
    with tarfile.open(server.store / "large.tar.gz", mode) as archive:
        zeros = tarfile.TarInfo("zeros")
        zeros.size = 4 * SIZE
        archive.addfile(zeros, io.BytesIO(bytes(zeros.size)))
    assert refused(server, "large.tar.gz").startswith(f"expected large.tar.gz to unpack to at most {SIZE} bytes")


def test_a_tar_with_a_header_that_fills_memory(server: ModelServerRun) -> None:
    with tarfile.open(server.store / "header.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("file")
        entry.pax_headers = {"comment": "x" * (4 << 20)}
        archive.addfile(entry)
    assert refused(server, "header.tar.gz").startswith("expected a header of at most 1048576 bytes in the tar, got 4")


def test_a_member_that_decompresses_to_anything(server: ModelServerRun) -> None:
    with zipfile.ZipFile(server.store / "lzma.mar", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("zeros", bytes(SIZE))
    assert refused(server, "lzma.mar") == "expected members that are stored or deflated, got another one: 'zeros'"


@pytest.mark.parametrize(
    ("files", "manifest", "words"),
    [
        ({"a": b"", "a/b": b""}, None, "odd.mar is no archive that can be unpacked: "),
        ({}, b"[" * 100_000, "Failed to parse model signature: MAR-INF/MANIFEST.json of odd.mar is nested too deep"),
        ({}, {"modelName": "\ud800"}, "expected a text for model.modelName in MAR-INF/MANIFEST.json of odd.mar, got "),
        ({}, {"modelVersion": ["1"]}, "expected a text for model.modelVersion in MAR-INF/MANIFEST.json of odd.mar, got ['1']"),
        (
            {"c": b"batchSize: 99999999999999999999"},
            {"configFile": "c"},
            "expected a number from 0 to 65536 for batchSize, got",
        ),
        ({"c": b"[" * 100_000}, {"configFile": "c"}, "Failed to read the model's config file c of odd.mar: "),
        ({"c": b"a: 2026-99-99"}, {"configFile": "c"}, "Failed to read the model's config file c of odd.mar: "),
    ],
)
def test_a_mistake_in_an_archive_is_named(
    server: ModelServerRun, files: dict[str, bytes], manifest: dict[str, Any] | bytes | None, words: str
) -> None:
    model = manifest if isinstance(manifest, bytes) else {"handler": HANDLER.name, **(manifest or {})}
    assert refused(server, pack(server, "odd", model, files)).startswith(words)


def test_a_name_that_no_file_can_have(server: ModelServerRun) -> None:
    words = refused(server, "x" * 5000)
    assert words == "expected the name of an archive as url, got one that no file can have: File name too long"


@pytest.mark.parametrize("key", ["batch_size", "max_batch_delay", "response_timeout", "startup_timeout"])
def test_a_registration_with_a_number_that_no_queue_has(server: ModelServerRun, key: str) -> None:
    answer = ask(server.management(f"models?url=good-1.0.mar&{key}={10**30}"), b"", "POST")
    assert answer.status == 400 and answer.json["message"].startswith("expected a number from 0 to "), answer
    assert ask(server.management("models")).json == {"models": []}
