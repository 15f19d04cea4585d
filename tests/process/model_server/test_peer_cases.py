"""The operations of TorchServe's own suite, asked in order of a real TorchServe and of ours, over both wires.

What differs has to stand in a table of docs/model-server.md, and what stands there has to differ.
"""

from __future__ import annotations

import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from persia.torchserve.schema import management_call, new_message, open_channel
from tests.support.model_servers import HANDLERS, ModelServerRun, ask, make_mar
from tests.support.peer_cases import ARCHIVES, CASES, MORE_CASES, Case, MoreCase
from tests.support.peer_suite_cases import SUITE_CASES, SuiteCase
from tests.support.places import ROOT
from tests.support.plain_torchserves import PlainTorchServe
from tests.support.servers import PATIENCE, wait_until

pytestmark = pytest.mark.whole_way

TABLE = (ROOT / "docs" / "model-server.md").read_text().partition("## The peer's own cases\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (\d+) \| (REST|gRPC) \| (.*?) \| (.*?) \| (.+?) \|$", TABLE, re.MULTILINE)
ALLOWED = {(int(number), wire): (torchserve, ours) for number, wire, torchserve, ours, _ in ROWS}
CONFIG = """\
minWorkers: 1
maxWorkers: 2
batchSize: 2
maxBatchDelay: 5
responseTimeout: 20
startupTimeout: 30
maxRetryTimeoutInSec: 40
clientTimeoutInMills: 9000
jobQueueSize: 7
deviceType: cpu
"""
ANYTHING_ALLOWED = "file://.*|http(s)?://.*"


class Side(NamedTuple):
    """A server that is asked: where its inference, its management and its metrics listen, and its archives."""

    inference: str
    rest: str
    metrics: str
    channel: grpc.Channel
    store: Path


class NothingThere(http.server.BaseHTTPRequestHandler):
    """Answers that nothing is there, and writes no log."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NothingThere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def store_of(directory: Path) -> Path:
    store = directory / "store"
    for name in (*ARCHIVES, "other", "fails_to_load"):
        (store / make_mar(store, name)).rename(store / f"{name}.mar")
    (store / make_mar(store, "other", "2.0")).rename(store / "other-2.mar")
    (store / make_mar(store, "inner", handler=HANDLERS / "inner.py")).rename(store / "inner.mar")
    (store / make_mar(store, "configured", config=CONFIG)).rename(store / "configured.mar")
    (store / "no_archive.mar").write_text("no archive")
    (store / make_mar(store, "out_of_memory")).rename(store / "out_of_memory.mar")
    (store / make_mar(store, "versioned", "1.11")).rename(store / "two_parts.mar")
    (store / make_mar(store, "versioned", "1.2.1")).rename(store / "three_parts.mar")
    for name, path in (("deep", "inside/deep"), ("no_version", "inside/no_version")):
        unpack(store / make_mar(store, name, "1.11"), store / path)
    change_manifest(store / "inside/no_version", "modelVersion")
    for key, name in (("modelName", "no_name"), ("handler", "no_handler"), ("", "no_manifest")):
        directory = store.parent / name
        unpack(store / make_mar(store, name), directory)
        change_manifest(directory, key)
        shutil.make_archive(str(directory), "zip", directory)
        directory.with_suffix(".zip").rename(store / f"{name}.mar")
    return store


def unpack(archive: Path, directory: Path) -> None:
    """The archive goes."""
    shutil.unpack_archive(archive, directory, "zip")
    archive.unlink()


def change_manifest(directory: Path, without: str) -> None:
    """without: a key of the model that goes; empty: the manifest goes."""
    path = directory / "MAR-INF" / "MANIFEST.json"
    if not without:
        shutil.rmtree(path.parent)
        return
    manifest = json.loads(path.read_text())
    del manifest["model"][without]
    path.write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    theirs, ours = tmp_path_factory.mktemp("torchserve"), tmp_path_factory.mktemp("model_server")
    with (
        PlainTorchServe(theirs, store_of(theirs), allowed_urls=ANYTHING_ALLOWED) as torchserve,
        ModelServerRun(ours, store_of(ours), "--enable-model-api", allowed_urls=".*") as run,
    ):
        torchserve.wait_started()
        with (
            open_channel(torchserve.grpc_management) as their_channel,
            open_channel(run.places["grpc_management"]) as our_channel,
        ):
            yield (
                Side(
                    f"http://{torchserve.rest}",
                    f"http://{torchserve.management}",
                    f"http://{torchserve.metrics}",
                    their_channel,
                    theirs / "store",
                ),
                Side(
                    f"http://{run.places['inference']}",
                    f"http://{run.places['management']}",
                    f"http://{run.places['metrics']}",
                    our_channel,
                    ours / "store",
                ),
            )


def plain(text: str, side: Side) -> str:
    """Without what is another one in each run."""
    text = text.replace(str(side.store), "STORE")
    text = re.sub(r'"(startTime|id)": "[^"]+"', r'"\1": ""', text)
    return re.sub(r'"(memoryUsage|pid)": -?\d+', r'"\1": 0', text)


def over_rest(side: Side, case: Case, host: str) -> str:
    answer = ask(f"{side.rest}/{case.path.replace('HOST', host)}", None, case.method)
    return f"{answer.status}: {plain(answer.body.decode(), side)}"


def over_grpc(side: Side, case: Case, host: str) -> str:
    """Of the words of an error their first line: TorchServe adds the class of its Java exception in another one."""
    operation, fields = case.rpc(host)
    request = new_message(f"{operation}Request", **fields)
    try:
        said = management_call(side.channel, operation)(request, timeout=PATIENCE).msg
    except grpc.RpcError as error:
        return f"{error.code().name}: {plain((error.details() or '').partition(chr(10))[0], side)}"
    return f"OK: {plain(said, side)}"


def models_of(side: Side) -> str:
    return plain(ask(f"{side.rest}/models?limit=100").body.decode(), side)


def even_out(sides: tuple[Side, Side], case: Case) -> None:
    """TorchServe takes a model whose registration has failed away after its answer, and under load sometimes not at all."""

    def are_even() -> bool:
        return models_of(sides[0]) == models_of(sides[1])

    what = f"both list the same models after {case}"
    try:
        wait_until(are_even, what, PATIENCE / 4)
    except AssertionError:
        theirs, ours = ({model["modelName"] for model in ask(f"{side.rest}/models?limit=100").json["models"]} for side in sides)
        for name in theirs - ours:
            ask(f"{sides[0].rest}/models/{name}", None, "DELETE")
        wait_until(are_even, what)


def brief(answer: str) -> str:
    """As a table has it: a code, and the sentence of what is JSON."""
    code, _, body = answer.replace(": application/json ", ": ").partition(": ")
    try:
        told = json.loads(body)
    except ValueError:
        return answer.strip()
    if isinstance(told, dict) and "message" in told:
        return f"{code} {told['type']}: {told['message']}"
    return f"{code}: {told['status']}" if isinstance(told, dict) and "status" in told else f"{code}: {json.dumps(told)}"


def more_over_rest(side: Side, case: MoreCase) -> str:
    url = f"{side.inference if case.listener == 'inference' else side.rest}/{case.path.lstrip('/')}"
    is_json = case.body.startswith(("{", "["))
    headers = {"Content-Type": "application/json" if is_json else "text/plain"}
    answer = ask(url, case.body.encode() or None, case.method, headers)
    return f"{answer.status}: {answer.headers['content-type']} {plain(answer.body.decode(), side)}"


# The request that comes after a registration that failed: TorchServe takes the model away after its answer, mostly later than
# this comes, and sometimes sooner.
FAILED_MODEL = 115, "REST"


def test_more_answers_of_the_peer(sides: tuple[Side, Side]) -> None:
    different = {}
    for case in MORE_CASES:
        theirs, ours = (more_over_rest(side, case) for side in sides)
        if theirs != ours:
            different[case.number, "REST"] = (brief(theirs), brief(ours))
    allowed = {key: told for key, told in ALLOWED.items() if MORE_CASES[0].number <= key[0] <= MORE_CASES[-1].number}
    if FAILED_MODEL not in different:
        allowed.pop(FAILED_MODEL)
    assert different == allowed


def of_suite_over_rest(side: Side, case: SuiteCase) -> str:
    place = {"inference": side.inference, "management": side.rest, "metrics": side.metrics}[case.listener]
    path = case.path.lstrip("/").replace("STORE", str(side.store))
    answer = ask(f"{place}/{path}", case.body(str(side.store)), case.method, case.headers)
    kept = {name: answer.headers[name] for name in ("pragma", "cache-control", "expires")}
    body = plain(answer.body.decode(), side)
    return f"{answer.status}: {answer.headers['content-type']} {body}" + ("" if all(kept.values()) else f" {kept}")


def test_what_the_peers_suite_asks_besides(sides: tuple[Side, Side]) -> None:
    different = {}
    for case in SUITE_CASES:
        theirs, ours = (of_suite_over_rest(side, case) for side in sides)
        if theirs != ours:
            different[case.number, "REST"] = (brief(theirs), brief(ours))
    assert different == {key: told for key, told in ALLOWED.items() if key[0] >= SUITE_CASES[0].number}


def test_the_page_on_moving_compares_the_two(sides: tuple[Side, Side]) -> None:
    page = (ROOT / "docs" / "moving-from-torchserve.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for side, place in zip(sides, ("127.0.0.1:8080", "127.0.0.1:9080"), strict=True):
        ask(f"{side.rest}/models?url=inner.mar&model_name=my_model&initial_workers=1", None, "POST")
        code = code.replace(place, side.inference.removeprefix("http://"))
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["theirs"] == found["ours"] == (200, None, b"a request")
    for side in sides:
        assert ask(f"{side.rest}/models/my_model", None, "DELETE").status == 200


def operations_of(url: str) -> dict[tuple[str, str], tuple[str, set[str]]]:
    """As a listener describes them: paths and methods, each with its id and the names of its parameters."""
    paths = ask(url, None, "OPTIONS").json["paths"]
    return {
        (path, method): (operation["operationId"], {parameter["name"] for parameter in operation["parameters"]})
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("listener", ["inference", "rest"])
def test_what_the_peer_describes_for_clients_is_described_as_well(sides: tuple[Side, Side], listener: str) -> None:
    """TorchServe gives three operations of one listener the same id; ours are unique. What it ignores is not described."""
    theirs, ours = (operations_of(f"{getattr(side, listener)}/") for side in sides)
    theirs.pop(("/metrics", "get"))  # which is at an address of its own
    assert theirs.keys() <= ours.keys()
    for key, (name, parameters) in theirs.items():
        assert ours[key][0] == name or key[0].startswith(("/v1", "/v2")), key
        assert parameters - {"s3_sse_kms", "number_gpu", "timeout", "synchronous"} <= ours[key][1], key


@pytest.mark.parametrize("wire", ["REST", "gRPC"])
def test_the_peers_cases(sides: tuple[Side, Side], web_server: str, wire: str) -> None:
    asking = over_rest if wire == "REST" else over_grpc
    different: dict[tuple[int, str], tuple[str, str]] = {}
    for case in CASES:
        theirs, ours = (asking(side, case, web_server) for side in sides)
        if theirs != ours:
            different[case.number, wire] = (brief(theirs), brief(ours))
        even_out(sides, case)
    assert different == {key: told for key, told in ALLOWED.items() if key[1] == wire and key[0] < len(CASES)}
