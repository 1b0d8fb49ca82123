"""Numbers for Prometheus. No label names a user or holds a text: what a label can be is known before any request."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from sharedllm.serving.engine import AnyEngine

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_GAUGES = {
    "waiting": "Requests in the engine's queue.",
    "running": "Requests in the batch.",
    "owners": "Distinct adapters in the batch, the base among them.",
    "table_rows": "Adapters on the device.",
    "table_room": "Adapters that the device has room for.",
    "cache_tokens": "Tokens whose keys and values have a place.",
    "cache_room": "Tokens whose keys and values there is room for.",
}
_COUNTERS = {
    "batches": "Passes of the model.",
    "prompt_tokens": "Tokens of prompts.",
    "cached_tokens": "Tokens of prompts that had been read before, for an earlier request of the same release.",
    "new_tokens": "Tokens drawn.",
    "proposed_tokens": "Tokens read before they were drawn, as they might come next.",
    "accepted_tokens": "Those of them that did come next.",
    "table_hits": "Requests whose adapter was on the device already.",
    "table_misses": "Requests whose adapter had to be copied to the device.",
}


class Metrics:
    """What one app counts, in a registry of its own.

    Attributes:
        requests: by endpoint (the address's template), status, and the kind of adapter that answered.
        first_token: seconds from a request's way into the engine to its first token.
    """

    def __init__(self, engine: "AnyEngine") -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "sharedllm_requests", "Requests answered.", ("endpoint", "status", "route"), registry=self._registry
        )
        self.first_token = Histogram(
            "sharedllm_first_token_seconds", "Time to first token.", buckets=SECONDS, registry=self._registry
        )
        self._registry.register(_EngineCounters(engine))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)


class _EngineCounters(Collector):
    """The engine's own counters, read when they are asked for."""

    def __init__(self, engine: "AnyEngine") -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        counters = self._engine.counters
        for name, what in _GAUGES.items():
            yield GaugeMetricFamily(f"sharedllm_{name}", what, value=getattr(counters, name))
        for name, what in _COUNTERS.items():
            yield CounterMetricFamily(f"sharedllm_{name}", what, value=getattr(counters, name))
        finished = CounterMetricFamily("sharedllm_finished", "Engine requests by how they ended.", labels=("reason",))
        # The engine's thread may add a reason meanwhile.
        for reason, count in list(counters.finished.items()):
            finished.add_metric((reason,), count)
        yield finished
