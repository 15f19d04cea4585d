"""The console over real servers in this process: its page, its values, and who may see them."""

from __future__ import annotations

import gzip
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from persia.batch import IDTypeFeature, PersiaBatch
from persia.config import SecurityConfig
from persia.drift.overview import Asked
from persia.drift.state import Piece, StateDirectory
from persia.errors import NotFound, Unavailable
from persia.launcher import main
from persia.monitoring.asking import Asker, Round, ShardAnswer
from persia.monitoring.console import Console, Source
from persia.monitoring.drift_entries import drift_entries
from persia.monitoring.view import MOST_POINTS, View
from persia.security import ClientSecurity, ServerSecurity
from persia.v1 import embedding_pb2 as pb
from tests.support.certified import TOKEN, token_file
from tests.support.drift_streams import USUAL, Stream
from tests.support.golden import GOLDEN
from tests.support.in_process import LocalDeployment
from tests.support.servers import free_port, wait_until

MIX = GOLDEN / "mix"
PLAIN = SecurityConfig()


@pytest.fixture(scope="module")
def deployment() -> Iterator[LocalDeployment]:
    with LocalDeployment(MIX, 2) as started:
        yield started


@contextmanager
def console(
    places: list[list[str]],
    middlewares: list[str],
    sources: dict[str, Source] | None = None,
    section: SecurityConfig = PLAIN,
) -> Iterator[Console]:
    """One that asks often."""
    asker = Asker(places, middlewares, ClientSecurity(PLAIN))
    shown = Console(asker, sources or {}, 0.05, ("127.0.0.1", 0), section, ServerSecurity(section).guard)
    shown.start()
    try:
        wait_until(lambda: shown.latest is not None, "the first round is over")
        yield shown
    finally:
        shown.close()


def get(shown: Console, path: str, **headers: str) -> tuple[int, Any, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{shown.port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def values_once(shown: Console, condition: Callable[[Any], bool]) -> Any:
    """As soon as they are so."""

    def found() -> list[Any]:
        values = json.loads(get(shown, "/data")[2])
        return [values] if condition(values) else []

    return wait_until(found, "the values are as expected")[0]


def test_the_values_are_those_of_the_servers(deployment: LocalDeployment) -> None:
    with ExitStack() as stack:
        shown = stack.enter_context(console([], [deployment.middleware]))
        before = json.loads(get(shown, "/data")[2])
        context = deployment.forwarded()
        batch = PersiaBatch([IDTypeFeature("user_id", [np.arange(2**63, 2**63 + 8, dtype=np.uint64)])], requires_grad=False)
        for _ in range(5):
            context.get_embedding_from_bytes(batch.to_bytes())
        values = values_once(shown, lambda now: now["now"]["lookups"] > 0 and now["middlewares"][0]["lookups"] > 0)
    assert (values["now"]["shards"], values["now"]["shards_served"], values["now"]["servers_ready"]) == (2, 2, 2)
    assert [replica["address"] for shard in values["shards"] for replica in shard["replicas"]] == deployment.addresses
    assert all(replica["ready"] and replica["rows"] > 0 for shard in values["shards"] for replica in shard["replicas"])
    assert len({replica["checkpoint"] for shard in values["shards"] for replica in shard["replicas"]}) == 1
    assert 0 < values["now"]["p50"] <= values["now"]["p99"]
    assert values["middlewares"][0]["state"] == "serving" and values["middlewares"][0]["p99"] > 0
    (feature,) = values["features"]  # the servers of these tests know no config
    assert feature["name"] == "(not in the embedding config)"
    assert feature["ids"] > 0 and feature["misses"] == 1.0
    assert set(values["history"]) == set(values["now"]) and len(values["history"]["time"]) > 1
    assert before["set_aside"] == values["set_aside"] == values["problems"] == []


def test_servers_that_do_not_answer_are_shown(deployment: LocalDeployment) -> None:
    gone = f"127.0.0.1:{free_port()}"
    swapped = [*reversed(deployment.addresses)]
    with console([[deployment.addresses[0], gone], [gone, swapped[1]]], [gone]) as shown:
        values = json.loads(get(shown, "/data")[2])
    (first, second) = values["shards"]
    assert [replica["ready"] for replica in first["replicas"]] == [True, False]
    assert "refused" in first["replicas"][1]["state"] and not first["replicas"][1]["answers"]
    assert second["replicas"][1]["state"] == "it is shard 0 of 2" and not second["replicas"][1]["ready"]
    assert "refused" in values["middlewares"][0]["state"]


def test_models_and_drift_that_cannot_be_asked_leave_the_rest(deployment: LocalDeployment) -> None:
    def fail() -> list[dict[str, Any]]:
        raise Unavailable("nobody is there")

    sources: dict[str, Source] = {"models": fail, "drift": lambda: [{"model": "ctr", "signals": []}]}
    with console([[deployment.addresses[0]]], [], sources) as shown:
        values = json.loads(get(shown, "/data")[2])
    assert values["models"] == [{"problem": "nobody is there"}]
    assert values["drift"] == [{"model": "ctr", "signals": []}]
    assert values["now"]["servers_ready"] == 1


def test_the_page_needs_nothing_from_elsewhere(deployment: LocalDeployment) -> None:
    with console([[deployment.addresses[0]]], []) as shown:
        status, headers, body = get(shown, "/")
        assert get(shown, "/other")[0] == 404
        packed = get(shown, "/data", **{"Accept-Encoding": "gzip"})
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    page = body.decode()
    assert set(re.findall(r"https?://[^\s\"')]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, and no place
    assert "innerHTML" not in page  # what servers say is text, never markup
    assert packed[1]["Content-Encoding"] == "gzip" and json.loads(gzip.decompress(packed[2]))["now"]


def test_the_values_want_the_token_of_the_servers(deployment: LocalDeployment, tmp_path: Path) -> None:
    section = SecurityConfig(tokens=token_file(tmp_path))
    with console([[deployment.addresses[0]]], [], section=section) as shown:
        assert get(shown, "/")[0] == 200  # which asks for one
        refused = get(shown, "/data")
        assert (refused[0], refused[1]["WWW-Authenticate"], refused[2]) == (401, "Bearer", b"")
        assert get(shown, "/data", Authorization="Bearer wrong")[0] == 401
        assert get(shown, "/data", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_drift_is_shown_with_the_worst_signals_first(tmp_path: Path) -> None:
    assert drift_entries(Asked(tmp_path)) == []  # nothing yet
    with pytest.raises(NotFound, match=r"there is no directory .*elsewhere"):  # which the page shows
        drift_entries(Asked(tmp_path / "elsewhere"))
    generator = np.random.default_rng(1)
    directory = StateDirectory(tmp_path, "ctr", "1.0")
    for number, stream in enumerate([USUAL] * 8 + [Stream(shift=0.5, swap=True)] * 3):
        for window in stream.windows(1, generator):
            window.begin, window.end, window.seen = number * 600.0, (number + 1) * 600.0, 1000
            directory.write(Piece(window, 600.0, 0))
        if number == 7:
            made = CliRunner().invoke(
                main, ["drift", "baseline", "--state", str(tmp_path), "--model", "ctr", "--version", "1.0"]
            )
            assert made.exit_code == 0, made.output
    (entry,) = drift_entries(Asked(tmp_path))
    assert (entry["model"], entry["version"], entry["state"]) == ("ctr", "1.0", "drift")
    states = [signal["state"] for signal in entry["signals"]]
    assert states[0] == "drift" and states == sorted(states, key=["drift", "warn", "ok", "too_few"].index)
    assert ("numbers[0]", "values") in {(one["what"], one["signal"]) for one in entry["signals"] if one["state"] == "drift"}


def status_of(shard: int, **fields: Any) -> pb.StatusResponse:
    return pb.StatusResponse(shard_index=shard, shard_count=2, ready=True, state="serving", server_start=1, **fields)


def round_of(*statuses: pb.StatusResponse, when: float = 0.0) -> Round:
    return Round(tuple((ShardAnswer(f"h:{index}", when, status),) for index, status in enumerate(statuses)), ())


def test_variants_are_put_together_with_how_many_servers_have_them() -> None:
    own = [pb.VariantStatus(name="b", rows=3, bytes=300), pb.VariantStatus(name="a", rows=1, bytes=100)]
    follows = {"epoch": 4, "newest_epoch": 4}
    late, fails = status_of(1, variants=own[:1], **follows), status_of(1, variants=own, **follows)
    fails.ready = False
    values = View().add(round_of(status_of(0, variants=own, **follows), late, fails), [], [])
    assert values["variants"] == [
        {"name": "a", "servers": 1, "of": 2, "rows": 1, "bytes": 100, "lookups": 0.0},
        {"name": "b", "servers": 2, "of": 2, "rows": 6, "bytes": 600, "lookups": 0.0},
    ]


def test_lookups_of_variants_are_shown_and_those_of_unknown_ones_are_a_problem() -> None:
    view = View()

    def said(lookups: int, unknown: int, when: float) -> dict[str, Any]:
        own = [pb.VariantStatus(name="b", lookups=lookups)]
        asked = [status_of(shard, variants=own, unknown_variant_lookups=unknown, newest_epoch=4) for shard in range(2)]
        return view.add(round_of(*asked, when=when), [], [])

    assert said(10, 5, 0.0)["problems"] == []  # of the time before anybody looked
    values = said(40, 8, 10.0)
    assert [one["lookups"] for one in values["variants"]] == [6.0]
    assert values["problems"] == [
        {"where": f"shard {shard}, h:{shard}", "problem": "3 lookups of late named a variant that the newest epoch has not"}
        for shard in range(2)
    ]


def test_what_is_set_aside_stands_once_with_all_who_did() -> None:
    broken = [pb.SetAsidePacket(packet="s0/inc_1", reason="torn")]
    values = View().add(
        round_of(status_of(0, set_aside=broken), status_of(1, set_aside=broken, problems=["no disk"], epoch_stalled="no disk")),
        [],
        [],
    )
    assert values["set_aside"] == [{"packet": "s0/inc_1", "reason": "torn", "by": ["shard 0, h:0", "shard 1, h:1"]}]
    assert values["problems"] == [{"where": "shard 1, h:1", "problem": "no disk"}]
    assert values["now"]["set_aside"] == 2


def test_epochs_over_time_and_no_more_points_than_a_page_can_use() -> None:
    view = View()
    for epoch in range(1, MOST_POINTS + 20):
        found = round_of(status_of(0, epoch=epoch, newest_epoch=epoch), status_of(1, epoch=epoch - 1, newest_epoch=epoch))
        values = view.add(found, [], [])
    assert len(values["history"]["epoch"]) == MOST_POINTS
    assert values["history"]["epoch"][-2:] == [MOST_POINTS + 18, MOST_POINTS + 19]
    assert values["now"]["epoch_behind"] == MOST_POINTS + 18
    assert values["shards"][1]["replicas"][0]["newest_epoch"] == MOST_POINTS + 19


def test_freshness_is_that_of_the_window() -> None:
    view = View()
    for when, within in ((0.0, [0, 0, 0]), (2.0, [0, 10, 0])):
        delays = pb.Durations(bounds=[1.0, 3.0], within=within)
        values = view.add(round_of(status_of(0, update_delays=delays), when=when), [], [])
    assert values["now"]["freshness"] == pytest.approx(2.98)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected somebody to ask"),
        (["--middleware", "nowhere"], "expected `host:port`, got `nowhere`"),
        (["--middleware", "127.0.0.1:1", "--host", "0.0.0.0"], "security"),
        (["--global-config", "/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], words: str) -> None:
    run = CliRunner().invoke(main, ["console", *arguments], env={"PERSIA_GLOBAL_CONFIG": None})
    assert run.exit_code == 2 and words in run.output
