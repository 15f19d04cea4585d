"""Updates metrics of each kind."""

from typing import Any

from ts.metrics.metric_type_enum import MetricTypes


def handle(data: Any, context: Any) -> Any:
    if data is None:  # the model is loaded
        return None
    metrics = context.metrics
    dimensions = [context.model_name, "Model"]
    for inputs in data:
        size = float(bytes(inputs["size"]).decode())
        metrics.get_metric("Samples", MetricTypes.COUNTER).add_or_update(1, dimensions)
        metrics.get_metric("Depth", MetricTypes.GAUGE).add_or_update(size, dimensions)
        metrics.get_metric("Size", MetricTypes.HISTOGRAM).add_or_update(size, dimensions)
        metrics.add_counter("Unnamed", 1)
    return ["measured"] * len(data)
