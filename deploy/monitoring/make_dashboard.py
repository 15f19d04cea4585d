"""Writes dashboard.json, which Grafana imports. The metrics are in docs/operations.md, the recorded ones in rules.yml.

python deploy/monitoring/make_dashboard.py > deploy/monitoring/dashboard.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


class Query(NamedTuple):
    """`legend`: with the labels of a series in braces."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """What a panel shows. `unit`: Grafana's name for it. `bad_from`: the value from which on it is red."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    text: str = ""
    bad_from: float | None = None


def quantiles(metric: str, by: str, legend: str) -> tuple[Query, ...]:
    """The median and the 99th percentile of a histogram, by these labels."""
    labels = ", ".join(part for part in (by, "le") if part)
    return tuple(
        Query(
            f"histogram_quantile({rank}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))",
            f"{name} {legend}".strip(),
        )
        for rank, name in ((0.5, "p50"), (0.99, "p99"))
    )


def mean(metric: str, by: str, legend: str) -> Query:
    """The mean of a histogram."""
    sums, counts = (f"sum by ({by}) (rate({metric}_{part}[$__rate_interval]))" for part in ("sum", "count"))
    return Query(f"{sums} / {counts}", legend)


ROWS: Mapping[str, tuple[Panel, ...]] = {
    "At a glance": (
        Panel(
            "Shards without a replica",
            (Query("count(max by (shard) (persia_shard_replica_usable) == 0) or vector(0)"),),
            kind="stat",
            width=4,
            text="Lookups of their ids fail.",
            bad_from=1,
        ),
        Panel("Servers that are ready", (Query("sum(persia_ready)"),), kind="stat", width=4),
        Panel("Lookups a second", (Query("sum(replica_index:persia_lookups:rate5m)"),), "reqps", "stat", 4),
        Panel("Lookups, p99 of the slowest shard", (Query("max(replica_index:persia_lookup_seconds:p99_5m)"),), "s", "stat", 4),
        Panel("Packets set aside", (Query("sum(persia_packets_set_aside)"),), kind="stat", width=4, bad_from=1),
        Panel(
            "Alerts",
            (Query('count(ALERTS{alertname=~"Persia.*", alertstate="firing"}) or vector(0)'),),
            kind="stat",
            width=4,
            bad_from=1,
        ),
    ),
    "Lookups": (
        Panel("Lookups by shard", (Query("replica_index:persia_lookups:rate5m", "shard {{replica_index}}"),), "reqps"),
        Panel("Time of a lookup in the servers", quantiles("persia_lookup_seconds", "", ""), "s"),
        Panel(
            "Time of a lookup through the middleware",
            (
                *quantiles("persia_forward_seconds", "", "in all"),
                *quantiles("persia_forward_shards_seconds", "", "of it for the shards"),
            ),
            "s",
        ),
        Panel(
            "Lookups that failed, by status",
            (
                Query("sum by (code) (rate(persia_lookup_errors_total[$__rate_interval]))", "servers: {{code}}"),
                Query("sum by (code) (rate(persia_forward_errors_total[$__rate_interval]))", "middleware: {{code}}"),
            ),
            "reqps",
        ),
        Panel(
            "Lookups without a shard",
            (Query("sum by (instance) (rate(persia_forward_without_shard_total[$__rate_interval]))", "{{instance}}"),),
            "reqps",
            text="With missing_shard: zeros.",
        ),
        Panel(
            "Ids a second",
            (Query("sum by (replica_index) (rate(persia_lookup_ids_total[$__rate_interval]))", "shard {{replica_index}}"),),
            "cps",
        ),
    ),
    "Shards and replicas": (
        Panel(
            "Replicas that can be used",
            (Query("max by (shard, address) (persia_shard_replica_usable)", "shard {{shard}} {{address}}"),),
            kind="state-timeline",
            width=12,
        ),
        Panel(
            "Version of the table",
            (Query("max by (shard, address) (persia_shard_replica_version)", "shard {{shard}} {{address}}"),),
            width=12,
        ),
        Panel("Rows", (Query("persia_rows", "shard {{replica_index}} {{instance}}"),)),
        Panel("Memory of the table", (Query("persia_table_bytes", "shard {{replica_index}} {{instance}}"),), "bytes"),
        Panel(
            "Rows that went",
            (
                Query("sum(rate(persia_deleted_rows_total[$__rate_interval]))", "deleted by packets"),
                Query("sum(rate(persia_expired_rows_total[$__rate_interval]))", "time to live was over"),
                Query("sum(rate(persia_evicted_rows_total[$__rate_interval]))", "beyond the capacity"),
            ),
            "cps",
        ),
        Panel(
            "Checkpoint",
            (Query("max by (replica_index) (time() - persia_checkpoint_timestamp_seconds)", "shard {{replica_index}}"),),
            "s",
            text="How long ago training wrote it.",
        ),
    ),
    "Updates": (
        Panel("From a packet's time to its rows being served", quantiles("persia_update_delay_seconds", "", ""), "s"),
        Panel(
            "Packets applied",
            (
                Query(
                    "sum by (replica_index) (rate(persia_packets_applied_total[$__rate_interval]))", "shard {{replica_index}}"
                ),
            ),
            "cps",
        ),
        Panel(
            "What is wrong",
            (
                Query("sum by (replica_index) (persia_packets_set_aside)", "set aside by shard {{replica_index}}"),
                Query("sum by (replica_index) (persia_update_problems)", "problems of shard {{replica_index}}"),
                Query("sum by (replica_index) (persia_non_finite_rows_total)", "rows with NaN of shard {{replica_index}}"),
            ),
            bad_from=1,
        ),
        Panel(
            "Epochs",
            (
                Query("max(persia_epoch_newest)", "committed"),
                Query("persia_epoch", "served by shard {{replica_index}} {{instance}}"),
                Query("max(persia_epoch_oldest)", "oldest that is kept"),
            ),
        ),
        Panel(
            "The next epoch cannot be built",
            (Query("persia_epoch_stalled_seconds", "shard {{replica_index}} {{instance}}"),),
            "s",
            bad_from=1,
        ),
        Panel(
            "Earlier epochs",
            (Query("persia_epoch_retained_bytes", "memory of shard {{replica_index}} {{instance}}"),),
            "bytes",
        ),
    ),
    "Variants": (
        Panel(
            "Lookups by variant",
            (
                Query("sum by (variant) (rate(persia_variant_lookups_total[$__rate_interval]))", "servers: {{variant}}"),
                Query(
                    "sum by (variant) (rate(persia_forward_variant_lookups_total[$__rate_interval]))", "middleware: {{variant}}"
                ),
            ),
            "reqps",
            text="Of servers: each lookup once for each shard that it asks.",
        ),
        Panel(
            "Lookups of unknown variants",
            (
                Query(
                    "sum by (replica_index) (rate(persia_unknown_variant_lookups_total[$__rate_interval]))",
                    "shard {{replica_index}}",
                ),
            ),
            "reqps",
            bad_from=0.001,
        ),
        Panel("Memory of variants", (Query("sum by (variant) (persia_variant_bytes)", "{{variant}}"),), "bytes"),
    ),
    "Features": (
        Panel(
            "Share of ids without a row",
            (Query("feature:persia_feature_new_ids:ratio_rate5m", "{{feature}}"),),
            "percentunit",
            width=12,
        ),
        Panel(
            "Ids a second",
            (Query('sum by (feature) (rate(persia_feature_ids_total{replica_index!=""}[$__rate_interval]))', "{{feature}}"),),
            "cps",
            width=12,
        ),
        Panel(
            "Ids whose row has another dim",
            (
                Query(
                    'sum by (feature) (rate(persia_feature_wrong_dim_total{replica_index!=""}[$__rate_interval]))',
                    "{{feature}}",
                ),
            ),
            "cps",
            width=12,
            bad_from=1,
        ),
        Panel(
            "Ids beyond a raw slot's room",
            (Query("sum by (feature) (rate(persia_feature_cut_ids_total[$__rate_interval]))", "{{feature}}"),),
            "cps",
            width=12,
        ),
    ),
    "Models": (
        Panel(
            "Requests",
            (
                Query(
                    "sum by (model, version) (rate(persia_model_request_seconds_count[$__rate_interval]))",
                    "{{model}} {{version}}",
                ),
            ),
            "reqps",
        ),
        Panel("Time of a request", quantiles("persia_model_request_seconds", "model, version", "{{model}} {{version}}"), "s"),
        Panel(
            "Where the time goes",
            (
                mean("persia_model_queue_seconds", "model", "{{model}}: waiting for a worker"),
                mean("persia_model_worker_seconds", "model", "{{model}}: with the worker"),
                mean("persia_model_handler_seconds", "model", "{{model}}: in the handler, of a batch"),
            ),
            "s",
        ),
        Panel(
            "Workers",
            (
                Query("persia_model_workers", "{{model}} {{version}}: ready"),
                Query("persia_model_workers_busy", "{{model}} {{version}}: at work"),
                Query("persia_model_queued", "{{model}} {{version}}: requests that wait"),
            ),
        ),
        Panel(
            "Answers by class",
            (Query("sum by (class) (rate(persia_model_answers_total[$__rate_interval]))", "{{class}}"),),
            "reqps",
        ),
        Panel(
            "Requests that were refused, or expired in the queue",
            (
                Query("rate(persia_model_refused_total[$__rate_interval])", "{{model}} {{version}}: refused"),
                Query("rate(persia_model_expired_total[$__rate_interval])", "{{model}} {{version}}: expired"),
            ),
            "reqps",
        ),
        Panel("Processors at work", (Query("persia_host_processors_busy_ratio", "{{instance}}"),), "percentunit", width=12),
        Panel(
            "Memory",
            (
                Query("persia_host_memory_used_bytes", "{{instance}}: used"),
                Query("persia_host_memory_available_bytes", "{{instance}}: available"),
            ),
            "bytes",
            width=12,
        ),
    ),
    "Drift": (
        Panel(
            "Models",
            (Query("persia_drift_model_state", "{{model}} {{version}}"),),
            width=12,
            text="0 ok, 1 warn, 2 drift, 3 too few.",
            bad_from=2,
        ),
        Panel(
            "Signals, as shares of their limits",
            (Query("persia_drift_value / persia_drift_limit", "{{model}} {{what}} {{signal}}"),),
            width=12,
            bad_from=1,
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """As Grafana imports it."""
    panels: list[dict[str, Any]] = []
    numbers, top = count(1), 0
    for title, row in ROWS.items():
        panels.append({"id": next(numbers), "type": "row", "title": title, "gridPos": _place(0, top, WIDTH, 1), "panels": []})
        left, top = 0, top + 1
        height = 4 if row[0].kind == "stat" else 8
        for panel in row:
            if left + panel.width > WIDTH:
                left, top = 0, top + height
            panels.append(_panel(panel, next(numbers), _place(left, top, panel.width, height)))
            left += panel.width
        top += height
    return {
        "title": "persia-serve",
        "uid": "persia-serve",
        "tags": ["persia"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]},
        "panels": panels,
    }


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": query.expr, "legendFormat": query.legend}
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
