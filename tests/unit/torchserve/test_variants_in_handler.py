"""The handler with variants, in this process: each request has the rows of its own, whoever comes with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ts.utils.util import PredictionException

from persia.handlers.variant_counts import VariantCounts
from persia.torchserve.details import split_details
from persia.torchserve.scores import decode_scores
from persia.writers import VariantCommitter
from tests.support.kept_answers import BATCHES, MODEL, HandlerOf, Shards, Trainer, store_of
from tests.support.servers import wait_until

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning"),  # of watchdog
]

BATCH = BATCHES[0]


class Scene:
    """Servers with the variants `b`, and `old`, which goes with another version of the model; handlers of version 1.0."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        trainer = Trainer(directory / "packets")
        self.store = store_of(directory / "store", "1.0")
        self.shards = stack.enter_context(Shards(directory / "packets", 2))
        VariantCommitter(directory / "packets", "old").commit(dense={MODEL: "0.5"})
        self.epoch, _ = trainer.commit(share=0.9, variant="b")
        self.shards.wait_for_epoch(self.epoch)
        self._stack = stack
        self.handler = self.handler_with()

    def handler_with(self, **settings: Any) -> HandlerOf:
        archive = self.store / f"{MODEL}-1.0.mar"
        handler = self._stack.enter_context(HandlerOf(archive, self.shards.addresses, {"timeout_ms": 60_000, **settings}))
        wait_until(lambda: handler.kept(BATCH, variant="b").receipt.epoch == self.epoch, "the handler is at the epoch")
        return handler


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path_factory.mktemp("variants"), stack)


def asked(variant: str = "", **more: bytes) -> dict[str, bytes]:
    request = {"batch": BATCH, "format": b"npy", "details": b"1", **more}
    return {**request, "variant": variant.encode()} if variant else request


def variant_and_scores(answer: bytes) -> tuple[str | None, list[float]]:
    details, scores = split_details(answer)
    assert details is not None
    decoded = decode_scores(scores)
    assert not isinstance(decoded, dict)
    return details.variant, decoded.reshape(-1).tolist()


@pytest.mark.parametrize("merge", ["lookup", False])
def test_requests_of_several_variants_come_together_and_fail_alone(scene: Scene, merge: Any) -> None:
    handler = scene.handler_with(merge=merge)
    (alone,), (shared,) = handler.answers(asked("b")), handler.answers(asked())
    assert variant_and_scores(alone)[1] != variant_and_scores(shared)[1]
    requests = asked("b"), asked(), asked("unknown"), asked("b"), asked("../b"), asked("old"), asked("unknown")
    handler.context.takes_refusals = True  # as a model server does, and TorchServe over HTTP
    answers = handler.answers(*requests)
    assert [variant_and_scores(answers[i]) for i in (0, 1, 3)] == [variant_and_scores(one) for one in (alone, shared, alone)]
    for i, (code, said) in {
        2: (404, "variant 'unknown': "),
        4: (400, "expected the name of a variant"),
        5: (503, "in which the variant goes with this version"),
        6: (404, "expected a variant of the newest epoch (b, old), got another one"),
    }.items():
        assert answers[i].error_code == code and said in answers[i].message
    handler.context.takes_refusals = False
    with pytest.raises(PredictionException, match="request 2 of 2 that TorchServe put together: variant 'unknown'"):
        handler.answers(asked(), asked("unknown"))


def test_a_split_is_stable_and_a_request_may_say_otherwise(scene: Scene) -> None:
    handler = scene.handler_with(variants={"none": 50, "b": 50}, variants_sticky_by="user")
    users = [str(user).encode() for user in range(12)]
    first = [variant_and_scores(answer)[0] for answer in handler.answers(*(asked(user=user) for user in users))]
    again = [variant_and_scores(*handler.answers(asked(user=user)))[0] for user in users]
    assert first == again and set(first) == {None, "b"}
    for variant, told in (("none", None), ("b", "b")):
        assert {
            variant_and_scores(answer)[0] for answer in handler.answers(*(asked(variant, user=user) for user in users))
        } == {told}


def counts_of(handler: HandlerOf) -> dict[tuple[str, str], int]:
    """By the name of a metric and the variant, since the last time."""
    found = {(metric.name, metric.dimensions[0].value): metric.value for metric in handler.context.metrics.store}
    handler.context.metrics.store.clear()
    handler.context.metrics.cache.clear()
    return found


def test_requests_and_failures_are_counted_by_variant(scene: Scene) -> None:
    handler = scene.handler_with(merge=False)
    handler.handler.lookups.variants.counts = VariantCounts(())  # as of a worker whom nobody has asked for one
    counts_of(handler)
    handler.answers(asked(), asked())
    assert counts_of(handler) == {}
    handler.context.takes_refusals = True
    handler.answers(asked("b"), asked(), asked("unknown"), asked("b"), asked("other"), asked("old"), asked("../b"))
    assert counts_of(handler) == {
        ("VariantRequests", "b"): 2,
        ("VariantRequests", "none"): 1,
        ("VariantRequests", "(others)"): 3,
        ("VariantFailures", "(others)"): 3,
    }
    handler.context.takes_refusals = False
    with pytest.raises(PredictionException):
        handler.answers(asked("b"), asked("unknown"))  # one error for both, over gRPC in TorchServe
    assert counts_of(handler) == {
        ("VariantRequests", "b"): 1,
        ("VariantFailures", "b"): 1,
        ("VariantRequests", "(others)"): 1,
        ("VariantFailures", "(others)"): 1,
    }
    handler = scene.handler_with(variants={"none": 0, "gone": 1})
    counts_of(handler)
    with pytest.raises(PredictionException, match="variant 'gone'"):
        handler.answers(asked())
    assert counts_of(handler) == {("VariantRequests", "gone"): 1, ("VariantFailures", "gone"): 1}
