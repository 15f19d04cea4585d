"""A context and a middleware with different embedding configs: it is an error that names the feature, never a wrong answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from persia.config import EMBEDDING_CONFIG_VARIABLE, load_embedding_config
from persia.config.slots_match import facts_of
from persia.ctx import InferCtx
from persia.errors import ConfigError, Unavailable
from persia.routing.expected_slots import ExpectedSlots
from persia.routing.topology import config_bytes
from persia.signature import FeatureSignature
from tests.support.middlewares import Deployment, Middleware
from tests.support.persia_packets import CONFIG
from tests.support.replicas import GOLDEN_BATCH, assert_golden
from tests.support.servers import PATIENCE, free_port, wait_until

BATCH = GOLDEN_BATCH.read_bytes()
SLOTS = load_embedding_config(CONFIG).slots
FIRST = next(iter(SLOTS.values()))


def config_with(path: Path, **changes: object) -> Path:
    """The golden config with one thing changed in its first slot; group: that many are put before all others."""
    tree = yaml.safe_load(CONFIG.read_text())
    slots = tree["slots_config"]
    groups = int(str(changes.pop("groups", 0)))
    for name, value in changes.items():
        slots[FIRST.name][name] = value
    for number in range(groups):
        slots[f"more{number}"] = {"dim": 4}
        tree["feature_groups"] = {f"group{number}": [f"more{number}"], **tree.get("feature_groups", {})}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


@pytest.fixture(params=["by the middleware", "either way"])
def only_middleware(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """A global config by which the middleware does all lookups, or None: then shards are asked as it directs."""
    if request.param == "either way":
        return None
    path = tmp_path / "client.yml"
    path.write_text(yaml.safe_dump({"embedding_worker_config": {"clients_ask_shards": False}}))
    return path


def test_the_same_config_is_served(deployment: Deployment, only_middleware: Path | None) -> None:
    address = deployment.middleware.address
    with InferCtx([address], embedding_config=CONFIG, global_config=only_middleware) as context:
        for _ in range(10):
            assert_golden(context.get_embedding_from_bytes(BATCH, timeout=PATIENCE).lookup)


def test_another_dim_is_refused_by_the_features_name(
    deployment: Deployment, only_middleware: Path | None, tmp_path: Path
) -> None:
    own = config_with(tmp_path / "own.yml", dim=FIRST.dim + 1)
    address = deployment.middleware.address
    with InferCtx([address], embedding_config=own, global_config=only_middleware) as context:
        for _ in range(3):
            with pytest.raises(ConfigError) as raised:
                context.get_embedding_from_bytes(BATCH, timeout=PATIENCE)
            problem = f"feature '{FIRST.name}': expected dim {FIRST.dim + 1}, got {FIRST.dim}"
            assert f"the middleware at {address} is not asked: " in str(raised.value) and problem in str(raised.value)


def test_a_group_that_was_put_before_is_refused_and_said(deployment: Deployment, tmp_path: Path) -> None:
    own = config_with(tmp_path / "own.yml", groups=1)
    said = r"feature 'more0': expected a slot.*inserted, removed or moved before it"
    with (
        InferCtx([deployment.middleware.address], embedding_config=own) as context,
        pytest.raises(ConfigError, match=said),
    ):
        context.get_embedding_from_bytes(BATCH, timeout=PATIENCE)


def test_the_environments_config_counts_where_it_exists(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EMBEDDING_CONFIG_VARIABLE, str(tmp_path / "own.yml"))
    with InferCtx([deployment.middleware.address]) as context:  # there is no such file
        assert_golden(context.get_embedding_from_bytes(BATCH, timeout=PATIENCE).lookup)
    config_with(tmp_path / "own.yml", dim=FIRST.dim + 1)
    with InferCtx([deployment.middleware.address]) as context, pytest.raises(ConfigError, match="expected dim"):
        context.get_embedding_from_bytes(BATCH, timeout=PATIENCE)


def signatures(prefix: int = 0) -> Iterator[FeatureSignature]:
    """What an archive knows of some of the slots."""
    for slot in list(SLOTS.values())[:2]:
        facts = facts_of(slot)
        yield FeatureSignature(
            name=slot.name,
            dim=slot.dim,
            pooling=facts.pooling,  # type: ignore[arg-type]
            length=facts.length,
            prefix=prefix or slot.prefix,
            prefix_bits=slot.prefix_bits,
            hash_stack_rounds=facts.hash_stack_rounds,
            hash_stack_size=facts.hash_stack_size,
        )


def test_what_is_expected_may_be_given_and_goes_before_a_config(deployment: Deployment, tmp_path: Path) -> None:
    other = config_with(tmp_path / "own.yml", dim=FIRST.dim + 1)
    address = deployment.middleware.address
    with InferCtx([address], embedding_config=other, expects=signatures()) as context:
        assert_golden(context.get_embedding_from_bytes(BATCH, timeout=PATIENCE).lookup)
    wrong = 77 << (64 - FIRST.prefix_bits)
    with InferCtx([address], expects=signatures(wrong)) as context, pytest.raises(ConfigError, match="prefix of group 77"):
        context.get_embedding_from_bytes(BATCH, timeout=PATIENCE)


def test_a_context_that_routes_by_itself_is_compared_too(deployment: Deployment, tmp_path: Path) -> None:
    with InferCtx(deployment.addresses, embedding_config=CONFIG, expects=signatures()) as context:
        assert_golden(context.get_embedding_from_bytes(BATCH, timeout=PATIENCE).lookup)
    other = config_with(tmp_path / "own.yml", dim=FIRST.dim + 1)
    with (
        InferCtx(deployment.addresses, embedding_config=other, expects=signatures()) as context,
        pytest.raises(ConfigError, match=f"expected dim {FIRST.dim}, got {FIRST.dim + 1}"),
    ):
        context.get_embedding_from_bytes(BATCH, timeout=PATIENCE)
    replicas = [[address] for address in deployment.addresses]
    with pytest.raises(ConfigError, match=f"expected dim {FIRST.dim}, got {FIRST.dim + 1}"):
        InferCtx(replicas, embedding_config=other, expects=signatures())


def test_two_contexts_with_different_configs_work_beside_each_other(deployment: Deployment, tmp_path: Path) -> None:
    grown = config_with(tmp_path / "grown.yml", groups=1)
    with (
        Middleware(tmp_path, grown, deployment.addresses).wait_ready() as other,
        InferCtx([deployment.middleware.address], embedding_config=CONFIG) as first,
        InferCtx([other.address], embedding_config=grown) as second,
        InferCtx([other.address], embedding_config=CONFIG) as crossed,
    ):
        for _ in range(5):
            lookup = second.get_embedding_from_bytes(BATCH, timeout=PATIENCE).lookup
            assert lookup.embedding_config_id == load_embedding_config(grown).fingerprint_id
            assert_golden(first.get_embedding_from_bytes(BATCH, timeout=PATIENCE).lookup)
            with pytest.raises(ConfigError, match=r"inserted, removed or moved"):
                crossed.get_embedding_from_bytes(BATCH, timeout=PATIENCE)


def test_a_middleware_that_comes_back_with_another_config_is_never_believed(
    deployment: Deployment, only_middleware: Path | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Shards that it has directed to before are asked as before: by the config that was compared."""
    config = config_with(tmp_path / "served.yml")
    arguments = ["--port", str(free_port())]
    with (
        Middleware(tmp_path, config, deployment.addresses, arguments=arguments).wait_ready() as middleware,
        InferCtx([middleware.address], embedding_config=CONFIG, global_config=only_middleware) as context,
    ):
        context.wait_for_serving(PATIENCE)
        assert_golden(context.get_embedding_from_bytes(BATCH).lookup)
        config_with(config, groups=1)
        middleware.kill()
        middleware.start()

        def is_refused() -> bool:
            try:
                assert_golden(context.get_embedding_from_bytes(BATCH, timeout=0.2).lookup)
            except ConfigError as error:
                return "inserted, removed or moved" in str(error)
            except (Unavailable, TimeoutError):
                return False
            return only_middleware is None and f"{middleware.address} is not used" in caplog.text

        wait_until(is_refused, "it is refused")
        middleware.kill()
        config_with(config)
        middleware.start()

        def serves_again() -> bool:
            try:
                assert_golden(context.get_embedding_from_bytes(BATCH, timeout=0.2).lookup)
            except (ConfigError, Unavailable, TimeoutError):
                return False
            return True

        wait_until(serves_again, "it is asked again")


def test_only_answers_by_a_config_that_was_compared_are_believed(caplog: pytest.LogCaptureFixture) -> None:
    config = load_embedding_config(CONFIG)
    expected_slots = ExpectedSlots(list(SLOTS.values()))
    compare = partial(expected_slots.compare, data=config_bytes(config))
    assert config.fingerprint_id not in expected_slots.met and 0 not in expected_slots.met
    assert compare(config.fingerprint_id) == ""
    assert config.fingerprint_id in expected_slots.met and config.fingerprint_id + 1 not in expected_slots.met
    assert "got another one" in expected_slots.compare(5, b"{}") and 5 not in expected_slots.met
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert expected_slots.compare(0, b"") == ""  # of an older release
    assert 0 in expected_slots.met and [record.levelno for record in caplog.records] == [logging.WARNING]
