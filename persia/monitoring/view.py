"""What the console shows, as plain values for JSON: made of what servers said, without asking them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from persia.checkpoint_id import checkpoint_name
from persia.feature_lookup import feature_label
from persia.monitoring.asking import MiddlewareAnswer, Round, ShardAnswer
from persia.monitoring.windows import Counters, Rise, Window, quantile, together
from persia.v1 import embedding_pb2 as pb

__all__ = ["View"]

MOST_POINTS = 400
_MOST_TEXTS = 100  # of packets that are set aside


class _Seen(NamedTuple):
    """One replica: what it said, and what it did of late."""

    shard: int
    answer: ShardAnswer
    rise: Rise


class View:
    """Of one deployment over time. For one thread."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], Window] = {}
        self._points: deque[dict[str, Any]] = deque(maxlen=MOST_POINTS)

    def add(self, found: Round, models: Sequence[Mapping[str, Any]], drift: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """All that there is to show now."""
        seen = [_Seen(index, one, self._rise_of(one)) for index, shard in enumerate(found.shards) for one in shard]
        middlewares = [_middleware(one, self._rise_of_forwards(one)) for one in found.middlewares]
        whole = together(one.rise for one in seen)
        bounds = _bounds(seen)
        point = self._point(seen, whole, bounds)
        self._points.append(point)
        return {
            "now": point,
            "shards": [
                {"shard": index, "replicas": [_replica(one, bounds) for one in seen if one.shard == index]}
                for index in range(len(found.shards))
            ],
            "middlewares": middlewares,
            "features": _features(whole),
            "variants": _variants(seen, whole),
            "set_aside": _set_aside(seen)[:_MOST_TEXTS],
            "problems": [*_unknown_variants(seen), *_problems(seen)],
            "models": [dict(model) for model in models],
            "drift": [dict(one) for one in drift],
            "history": {key: [old.get(key) for old in self._points] for key in point},
        }

    def _rise_of(self, answer: ShardAnswer) -> Rise:
        status = answer.status
        if status is None:
            return Rise()
        counters = Counters(
            when=answer.when,
            start=status.server_start,
            lookups=tuple(status.lookups.took.within),
            failed=status.lookups.failed,
            delays=tuple(status.update_delays.within),
            features=_counts(status.features),
            variants={"": (status.unknown_variant_lookups,), **{one.name: (one.lookups,) for one in status.variants}},
        )
        return self._windows.setdefault(("server", answer.address), Window()).add(counters)

    def _rise_of_forwards(self, answer: MiddlewareAnswer) -> Rise:
        if answer.status is None:
            return Rise()
        forwards = answer.status.forwards
        counters = Counters(answer.when, 0, tuple(forwards.took.within), forwards.failed)
        return self._windows.setdefault(("middleware", answer.address), Window()).add(counters)

    def _point(self, seen: Sequence[_Seen], whole: Rise, bounds: tuple[Sequence[float], Sequence[float]]) -> dict[str, Any]:
        """What is kept of each moment."""
        statuses = [one.answer.status for one in seen if one.answer.status is not None]
        ready = [status for status in statuses if status.ready]
        served = {one.shard for one in seen if one.answer.status is not None and one.answer.status.ready}
        ids, new = (sum(counts[index] for counts in whole.features.values()) for index in (0, 1))
        epochs = [status.epoch for status in ready if status.newest_epoch]
        versions = [status.version for status in ready]
        return {
            "time": round(time.time(), 1),
            "shards": len({one.shard for one in seen}),
            "shards_served": len(served),
            "servers": len(seen),
            "servers_ready": len(ready),
            "lookups": whole.rate,
            "failed": whole.failed / whole.seconds if whole.seconds else 0.0,
            "p50": quantile(0.5, bounds[0], whole.lookups),
            "p99": quantile(0.99, bounds[0], whole.lookups),
            "freshness": quantile(0.99, bounds[1], whole.delays),
            "misses": new / ids if ids else None,
            "epoch": max(epochs, default=None),
            "epoch_behind": min(epochs, default=None),
            "version": max(versions, default=None),
            "version_behind": min(versions, default=None),
            "rows": sum(status.rows for status in ready),
            "bytes": sum(status.bytes for status in statuses),
            "set_aside": sum(len(status.set_aside) for status in statuses),
            "packets": sum(status.packets_applied for status in statuses),
        }


def _bounds(seen: Iterable[_Seen]) -> tuple[Sequence[float], Sequence[float]]:
    """Of lookups and of packets' delays: those of all servers of one release."""
    lookups: Sequence[float] = ()
    delays: Sequence[float] = ()
    for one in seen:
        if one.answer.status is not None:
            lookups = lookups or list(one.answer.status.lookups.took.bounds)
            delays = delays or list(one.answer.status.update_delays.bounds)
    return lookups or (0.0,), delays or (0.0,)


def _counts(features: Iterable[pb.FeatureTotals]) -> dict[str, tuple[int, ...]]:
    return {one.name: (one.ids, one.new_ids, one.wrong_dim, one.cut) for one in features}


def _replica(one: _Seen, bounds: tuple[Sequence[float], Sequence[float]]) -> dict[str, Any]:
    status = one.answer.status
    if status is None:
        return {"address": one.answer.address, "ready": False, "state": one.answer.problem, "answers": False}
    misplaced = status.shard_index != one.shard
    return {
        "address": one.answer.address,
        "ready": status.ready and not misplaced,
        "answers": True,
        "state": f"it is shard {status.shard_index} of {status.shard_count}" if misplaced else status.state,
        "version": status.version,
        "epoch": status.epoch if status.newest_epoch else None,
        "newest_epoch": status.newest_epoch or None,
        "oldest_epoch": status.epoch_low or None,
        "stalled": status.epoch_stalled,
        "stalled_seconds": status.epoch_stalled_seconds,
        "held": status.epochs_held,
        "waiting": status.packets_waiting,
        "rows": status.rows,
        "bytes": status.bytes,
        "checkpoint": checkpoint_name(status.checkpoint_id) if status.checkpoint_id else "",
        "checkpoint_seconds": status.checkpoint_seconds,
        "packets": status.packets_applied,
        "last_packet": status.last_packet,
        "set_aside": len(status.set_aside),
        "non_finite": status.non_finite_rows,
        "lookups": one.rise.rate,
        "failed": one.rise.failed,
        "p50": quantile(0.5, bounds[0], one.rise.lookups),
        "p99": quantile(0.99, bounds[0], one.rise.lookups),
        "freshness": quantile(0.99, bounds[1], one.rise.delays),
    }


def _middleware(answer: MiddlewareAnswer, rise: Rise) -> dict[str, Any]:
    if answer.status is None:
        return {"address": answer.address, "ready": False, "state": answer.problem}
    bounds = list(answer.status.forwards.took.bounds) or [0.0]
    return {
        "address": answer.address,
        "ready": answer.status.ready,
        "state": answer.status.state,
        "lookups": rise.rate,
        "failed": rise.failed,
        "p50": quantile(0.5, bounds, rise.lookups),
        "p99": quantile(0.99, bounds, rise.lookups),
        "unusable": {
            replica.address: replica.state for shard in answer.status.shards for replica in shard.replicas if not replica.ready
        },
    }


def _features(whole: Rise) -> list[dict[str, Any]]:
    """The ids of each within the window; those that miss most come first."""
    found = [
        {
            "name": feature_label(name),
            "ids": counts[0] / whole.seconds if whole.seconds else 0.0,
            "misses": counts[1] / counts[0] if counts[0] else None,
            "wrong_dim": counts[2],
        }
        for name, counts in whole.features.items()
        if name or counts[0]
    ]
    return sorted(found, key=lambda one: -(one["misses"] or 0.0))


def _unknown_variants(seen: Iterable[_Seen]) -> list[dict[str, str]]:
    """Servers that of late were asked for a variant which they have not."""
    return [
        {
            "where": f"shard {one.shard}, {one.answer.address}",
            "problem": f"{count} lookups of late named a variant that the newest epoch has not",
        }
        for one in seen
        for count in one.rise.variants.get("", ())
        if count
    ]


def _variants(seen: Sequence[_Seen], whole: Rise) -> list[dict[str, Any]]:
    """What variants have of their own, in all servers together, how many servers have them, and lookups of all servers."""
    ready = [one.answer.status for one in seen if one.answer.status is not None and one.answer.status.ready]
    found: dict[str, list[pb.VariantStatus]] = {}
    for status in ready:
        for variant in status.variants:
            found.setdefault(variant.name, []).append(variant)
    return [
        {
            "name": name,
            "servers": len(variants),
            "of": sum(1 for status in ready if status.newest_epoch),
            "rows": sum(variant.rows for variant in variants),
            "bytes": sum(variant.bytes for variant in variants),
            "lookups": sum(whole.variants.get(name, ())) / whole.seconds if whole.seconds else 0.0,
        }
        for name, variants in sorted(found.items())
    ]


def _set_aside(seen: Iterable[_Seen]) -> list[dict[str, Any]]:
    """Each packet once, with all who have set it aside for that reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in seen:
        for entry in one.answer.status.set_aside if one.answer.status is not None else ():
            found.setdefault((entry.packet, entry.reason), []).append(f"shard {one.shard}, {one.answer.address}")
    return [{"packet": packet, "reason": reason, "by": by} for (packet, reason), by in sorted(found.items())]


def _problems(seen: Iterable[_Seen]) -> list[dict[str, str]]:
    found = []
    for one in seen:
        status = one.answer.status
        if status is not None:
            texts = [*status.problems, *([status.epoch_stalled] if status.epoch_stalled else [])]
            found += [{"where": f"shard {one.shard}, {one.answer.address}", "problem": text} for text in dict.fromkeys(texts)]
    return found
