"""Directions that are wrong, or do not fit what a client finds: it is served as the middleware would serve it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from typing_extensions import Self

from persia.ctx import InferCtx
from persia.errors import DeadlineExceeded
from persia.routing.lookup import RouterOptions
from persia.rpc.wire import DIRECTIONS, FORWARD, MIDDLEWARE_STATUS
from persia.serving.server import Server
from persia.v1 import embedding_pb2
from persia.v1 import middleware_pb2 as pb
from tests.support.middlewares import Deployment, Middleware
from tests.support.names import OFTEN, Names
from tests.support.persia_packets import CONFIG, MIX
from tests.support.proxies import Spoiler
from tests.support.replicas import GOLDEN_BATCH, assert_golden
from tests.support.servers import PATIENCE, EmbeddingServer, free_port, wait_until

BATCH = GOLDEN_BATCH.read_bytes()
PATIENT = RouterOptions(watch=replace(OFTEN, answer=PATIENCE))


class Guide:
    """A middleware whose directions are what a test wants: at first its own. While `speaks` is not set, there are none."""

    def __init__(self, middleware: Middleware) -> None:
        self._stub = middleware.stub
        self.directions: pb.DirectionsResponse = self._stub.Directions(pb.DirectionsRequest())
        self.asked = 0
        self.milliseconds: list[int] = []  # that callers have given it for their lookups
        self.speaks = Event()
        self.speaks.set()
        self._server = Server([])
        self._server.add_unary(MIDDLEWARE_STATUS, pb.MiddlewareStatusRequest, self._stub.Status)
        self._server.add_unary(FORWARD, pb.ForwardRequest, self._forward)
        self._server.add_unary(DIRECTIONS, pb.DirectionsRequest, self._direct)
        self.address = self._server.listen("127.0.0.1:0")

    def _forward(self, request: pb.ForwardRequest) -> pb.ForwardResponse:
        self.milliseconds.append(request.timeout_ms)
        response: pb.ForwardResponse = self._stub.Forward(request)
        return response

    def _direct(self, _request: pb.DirectionsRequest) -> pb.DirectionsResponse:
        directions = self.directions
        self.asked += 1
        self.speaks.wait()
        return directions

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.speaks.set()
        self._server.stop(0)


@pytest.fixture
def guide(deployment: Deployment) -> Iterator[Guide]:
    with Guide(deployment.middleware) as guide:
        yield guide


def look(context: InferCtx) -> bool:
    assert_golden(context.get_embedding_from_bytes(BATCH).lookup)
    return True


@pytest.mark.parametrize(
    "wrong",
    [
        pb.DirectionsResponse(
            embedding_config=b'{"slots_config": {"\xff": {"dim": 1}}}', shards=[pb.ShardDirections(addresses=["127.0.0.1:1"])]
        ),
        pb.DirectionsResponse(shards=[pb.ShardDirections(addresses=["127.0.0.1:"])]),
        pb.DirectionsResponse(shards=[pb.ShardDirections(addresses=["[::1]:99999"])]),
    ],
    ids=["no text", "no port", "no such port"],
)
def test_wrong_directions_are_not_followed(guide: Guide, deployment: Deployment, wrong: pb.DirectionsResponse) -> None:
    wrong.embedding_config = wrong.embedding_config or guide.directions.embedding_config
    guide.directions = wrong
    with InferCtx([guide.address], timeout=PATIENCE, options=PATIENT) as context:
        for _ in range(3):
            before, guide.asked = deployment.middleware.lookups(), 0
            assert look(context)
            assert deployment.middleware.lookups() == before + 1
            wait_until(lambda: guide.asked, "it is asked again")


def test_where_directions_change_the_old_ones_are_not_followed_any_more(guide: Guide, deployment: Deployment) -> None:
    def skips() -> bool:
        before = deployment.middleware.lookups()
        return look(context) and deployment.middleware.lookups() == before

    with InferCtx([guide.address], options=PATIENT) as context:
        wait_until(skips, "the shards are asked")
        guide.directions = pb.DirectionsResponse(
            embedding_config=guide.directions.embedding_config, shards=[pb.ShardDirections(addresses=["127.0.0.1:1"])]
        )
        before = guide.asked
        wait_until(lambda: guide.asked > before, "the new ones are on their way")
        before = guide.asked
        guide.speaks.clear()
        wait_until(lambda: guide.asked > before, "they have come, for it asks again")
        assert not skips()


def test_a_server_that_does_not_say_its_start_is_told_from_no_other_and_not_directed_to(tmp_path: Path) -> None:
    """As those of older releases: in a client's network the same address may be another one of them."""
    with EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt") as server, Spoiler(server.wait_ready()) as old:
        old.says_start = False
        with Middleware(tmp_path, CONFIG, [old.address]).wait_ready() as middleware:
            assert list(middleware.stub.Directions(pb.DirectionsRequest()).server_starts) == []


def test_an_answer_of_another_server_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ports are forwarded, lookups may come to another server than probes. Its rows may be others."""
    names, port = Names(monkeypatch, "localhost"), free_port()
    names.addresses = ["127.0.0.2"]
    with (
        EmbeddingServer(tmp_path, CONFIG, checkpoint=MIX / "ckpt", arguments=("--port", str(port))) as server,
        Spoiler(server.wait_ready(), f"127.0.0.2:{port}") as other,
        Middleware(tmp_path, CONFIG, [f"localhost:{port}"]).wait_ready() as middleware,
        InferCtx([middleware.address], options=PATIENT) as context,
    ):
        other.spoil = of_another_server
        wait_until(lambda: look(context) and other.lookups >= 3, "lookups are tried, and more than once")


def of_another_server(answer: bytes) -> bytes:
    response = embedding_pb2.LookupResponse.FromString(answer)
    response.server_start += 1
    response.numbers = bytes(len(response.numbers))
    return response.SerializeToString()


def test_a_batch_that_does_not_fit_the_directions_is_left_to_the_middleware(guide: Guide) -> None:
    config = json.loads(guide.directions.embedding_config)
    config["slots_config"].popitem()  # as of a middleware that has got another config since
    guide.directions.embedding_config = json.dumps(config).encode()
    with InferCtx([guide.address], options=PATIENT) as context:
        wait_until(lambda: look(context) and guide.asked > 3, "lookups are answered while the directions are followed")


@pytest.mark.parametrize(
    ("seconds", "most", "least"),
    [(0.4, 360, 1), (PATIENCE, 1000 * PATIENCE - 50, 900 * PATIENCE), (float("inf"), 2**32 - 1, 2**32 - 1)],
    ids=["a tenth less", "50 ms less", "as much as can be said"],
)
def test_a_middleware_is_given_less_time_than_its_caller_has(guide: Guide, seconds: float, most: int, least: int) -> None:
    with InferCtx([guide.address], timeout=PATIENCE, options=replace(PATIENT, clients_ask_shards=False)) as context:
        assert look(context)
        guide.milliseconds.clear()

        def has_come() -> bool:
            with suppress(DeadlineExceeded):  # a busy machine may need all of it
                context.get_embedding_from_bytes(BATCH, timeout=seconds)
            return bool(guide.milliseconds)

        wait_until(has_come, "the middleware is asked")
    assert least <= guide.milliseconds[0] <= most
