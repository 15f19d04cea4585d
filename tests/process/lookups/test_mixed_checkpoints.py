"""A checkpoint is written over another one, and servers start anew: no answer ever has rows of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from persia.checkpoint_id import checkpoint_name
from persia.ctx import InferCtx
from persia.errors import PersiaError, Unavailable
from persia.routing.lookup import RouterOptions
from persia.routing.router import Router
from persia.v1 import middleware_pb2 as pb
from tests.support.load import Load
from tests.support.middlewares import Middleware
from tests.support.proxies import Spoiler
from tests.support.servers import PATIENCE, EmbeddingServer, free_port, wait_until
from tests.support.two_checkpoints import BATCH, CONFIG, NEW, OLD, batch, config_file, source_of, write

pytestmark = pytest.mark.whole_way

DIFFERENT = "expected embedding servers with one checkpoint, {}, got different ones, whose rows must not be mixed: "


class Shards(ExitStack):
    """Two shards with `each` replicas of a checkpoint with old rows; they keep their ports."""

    def __init__(self, directory: Path, each: int = 1) -> None:
        super().__init__()
        self.directory = directory
        self.checkpoint = write(directory / "ckpt", OLD)
        self.config = config_file(directory)
        self.shards = [[self._start(index, k) for k in range(each)] for index in range(2)]
        for server in self.all:
            server.wait_ready()

    def _start(self, index: int, k: int) -> EmbeddingServer:
        ports = ["--port", str(free_port()), "--metrics-port", "0"]
        return self.enter_context(
            EmbeddingServer(
                self.directory / f"{index}-{k}",
                self.config,
                checkpoint=self.checkpoint,
                index=index,
                count=2,
                arguments=ports,
            )
        )

    @property
    def all(self) -> list[EmbeddingServer]:
        return [server for replicas in self.shards for server in replicas]

    @property
    def addresses(self) -> list[list[str]]:
        return [[server.address for server in replicas] for replicas in self.shards]


@contextmanager
def router_of(shards: Shards, mixed: str = "old") -> Iterator[Router]:
    router = Router(CONFIG, shards.addresses, RouterOptions(wait_for_shard=0.05, mixed_checkpoints=mixed))
    try:
        wait_until(lambda: all(replica.usable for shard in router.shards for replica in shard.replicas), "all can be used")
        yield router
    finally:
        router.close()


def look_up(router: Router) -> float:
    return source_of(router.lookup(batch(), PATIENCE))


def restart(*servers: EmbeddingServer) -> None:
    for server in servers:
        server.kill()
        server.start()
    for server in servers:
        server.wait_ready()


def answer_or_error(look: Callable[[], float]) -> float | PersiaError:
    """InvalidInput, which a mixture is, is not among the errors."""
    try:
        return look()
    except Unavailable as error:
        return error


@pytest.mark.parametrize("mixed", ["old", "error"])
def test_a_shard_that_comes_back_with_other_rows_is_not_mixed_in(tmp_path: Path, mixed: str) -> None:
    with Shards(tmp_path) as shards, router_of(shards, mixed) as router:
        look = partial(look_up, router)
        assert look() == OLD
        write(shards.checkpoint, NEW)
        (staying,), (restarted,) = shards.shards
        restarted.kill()
        restarted.start()
        wanted = "one that every shard has" if mixed == "old" else "the same one everywhere"
        said: set[str] = set()

        def is_refused() -> bool:
            answer = answer_or_error(look)
            assert answer == OLD or isinstance(answer, Unavailable)
            said.add(str(answer))
            return DIFFERENT.format(wanted) in str(answer)

        wait_until(is_refused, "the mixture is refused")
        ids = [checkpoint_name(server.wait_ready().status().checkpoint_id) for server in shards.all]
        assert ids[0] != ids[1]
        message = str(answer_or_error(look))
        assert f"shard 0 of 2: {staying.address} has {ids[0]} (2" in message
        assert f"shard 1 of 2: {restarted.address} has {ids[1]} (2" in message
        assert "Restart the servers" in message and "bring its files back" in message
        assert router.why_not_ready() == message
        restart(staying)
        wait_until(lambda: answer_or_error(look) == NEW, "it is answered from the new one")
        for _ in range(20):
            assert look() == NEW
        assert checkpoint_name(router.lookup(batch()).checkpoint_id) == ids[1]


def test_with_replicas_answers_go_on_from_the_old_one_until_every_shard_has_the_new(tmp_path: Path) -> None:
    with (
        Shards(tmp_path, each=2) as shards,
        router_of(shards) as router,
        Load(partial(look_up, router)) as load,
    ):
        load.wait_for_more()
        write(shards.checkpoint, NEW)
        restart(*[replicas[0] for replicas in shards.shards])
        wait_until(
            lambda: sum(bool(replica.excluded) for shard in router.shards for replica in shard.replicas) == 2, "two wait"
        )
        load.wait_for_more()
        assert load.failures == [] and set(load.answers) == {OLD}
        excluded = [replica for shard in router.shards for replica in shard.replicas if replica.excluded]
        assert all("and lookups are answered from" in replica.why_unusable() for replica in excluded)
        restart(shards.shards[0][1])
        wait_until(lambda: not any(replica.excluded for replica in router.shards[0].replicas), "the new one is taken")
        load.wait_for_more()
        restart(shards.shards[1][1])
        load.wait_for_more()
        assert load.failures == [] and set(load.answers) == {OLD, NEW}
        assert load.answers[-1] == NEW
        begun_new = load.answers.index(NEW)
        assert OLD not in load.answers[begun_new + 4 :]  # but for those that were under way


def test_error_refuses_although_every_shard_has_the_old_one(tmp_path: Path) -> None:
    with Shards(tmp_path, each=2) as shards, router_of(shards, "error") as router:
        write(shards.checkpoint, NEW)
        restart(shards.shards[0][0])
        wait_until(lambda: router.checkpoint_choice.problem, "it is known")
        with pytest.raises(Unavailable, match="the same one everywhere"):
            router.lookup(batch())
        restart(*shards.all[1:])
        wait_until(lambda: not router.checkpoint_choice.problem, "all have the same")
        assert source_of(router.lookup(batch(), PATIENCE)) == NEW


def test_a_server_without_a_checkpoint_is_a_mixture_too(tmp_path: Path) -> None:
    with Shards(tmp_path) as shards, EmbeddingServer(tmp_path / "empty", shards.config, index=1, count=2) as empty:
        addresses = [shards.addresses[0], [empty.wait_ready().address]]
        router = Router(CONFIG, addresses, RouterOptions(wait_for_shard=0.05))
        try:
            wait_until(lambda: f"shard 1 of 2: {empty.address} has none" in router.why_not_ready(), "it is refused")
            with pytest.raises(Unavailable, match=DIFFERENT.format("one that every shard has")):
                router.lookup(batch())
            gone = [server.address for server in (shards.all[0], empty)]
            for server in (shards.all[0], empty):
                server.kill()
            wait_until(lambda: all(f"({address}: " in router.why_not_ready() for address in gone), "what is wrong now is said")
            assert "different ones" not in router.why_not_ready()
        finally:
            router.close()


def test_an_answer_of_another_checkpoint_than_the_probe_saw_is_dropped(tmp_path: Path) -> None:
    """As of a server that was started anew between two probes."""
    with Shards(tmp_path) as shards, Spoiler(shards.all[1]) as spoiler:
        router = Router(CONFIG, [shards.addresses[0], [spoiler.address]], RouterOptions(wait_for_shard=0.05))
        identity = shards.all[1].status().checkpoint_id.to_bytes(8, "little")
        try:
            wait_until(lambda: not router.why_not_ready(), "it is ready")
            assert source_of(router.lookup(batch(), PATIENCE)) == OLD
            spoiler.spoil = lambda answer: answer.replace(identity, bytes(range(8)))
            with pytest.raises(Unavailable, match=r"expected one of checkpoint [0-9a-f]{16}, got one of 0706050403020100"):
                router.lookup(batch(), PATIENCE)
        finally:
            router.close()


def test_a_middleware_says_it_and_clients_that_ask_shards_follow_it(tmp_path: Path) -> None:
    with Shards(tmp_path) as shards:
        servers = shards.addresses
        with (
            Middleware(tmp_path, shards.config, servers, arguments=["--metrics-port", "0"]).wait_ready() as middleware,
            InferCtx([middleware.address], timeout=PATIENCE) as context,
            middleware.context() as forwarded,
        ):
            contexts = [context, forwarded]
            lookups = [c.get_embedding_from_bytes(BATCH).lookup for c in contexts]
            old = shards.all[0].status()
            assert [(source_of(lookup), lookup.checkpoint_id) for lookup in lookups] == [(OLD, old.checkpoint_id)] * 2
            assert middleware.stub.Directions(pb.DirectionsRequest()).mixed_checkpoints == "old"
            write(shards.checkpoint, NEW)
            restart(shards.shards[1][0])
            status = wait_until(
                lambda: status if "different ones" in (status := middleware.status()).state else None, "it is said"
            )
            assert not status.ready
            said = {replica.checkpoint_id for shard in status.shards for replica in shard.replicas}
            assert said == {server.status().checkpoint_id for server in shards.all} and len(said) == 2
            health = health_pb2_grpc.HealthStub(middleware.channel)
            wait_until(
                lambda: health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING,
                "health says so",
            )
            for one in contexts:
                wait_until(partial(refuses, one), "a client hears it")
            restart(shards.shards[0][0])
            for one in contexts:
                wait_until(partial(serves_the_new_one, one), "the new one is served")


def ask(context: InferCtx) -> float:
    return source_of(context.get_embedding_from_bytes(BATCH, timeout=PATIENCE).lookup)


def serves_the_new_one(context: InferCtx) -> bool:
    return answer_or_error(partial(ask, context)) == NEW


def refuses(context: InferCtx) -> bool:
    answer = answer_or_error(partial(ask, context))
    assert answer == OLD or isinstance(answer, Unavailable)
    return "different ones, whose rows must not be mixed" in str(answer)


def test_servers_name_their_checkpoint(tmp_path: Path) -> None:
    with Shards(tmp_path) as shards:
        first, second = [server.status() for server in shards.all]
        assert first.checkpoint_id == second.checkpoint_id != 0
        assert first.checkpoint_seconds == second.checkpoint_seconds > 1_700_000_000
        name = checkpoint_name(first.checkpoint_id)
        server = shards.all[0]
        assert server.metrics(r"persia_checkpoint_info\{(.*)\} (\S+)") == [(f'checkpoint="{name}",replica_index="0"', "1.0")]
        ((_, seconds),) = server.metrics(r"(persia_checkpoint_timestamp_seconds)\{.*\} (\S+)")
        assert float(seconds) == first.checkpoint_seconds
        assert f"rows that this shard has in checkpoint {name} (2" in server.log()
        _, response = server.rows(batch().features[0].ids, 8)
        assert response.checkpoint_id == first.checkpoint_id
