"""What Prometheus reads at GET /metrics: requests, how long they took, rows, and the memory that is in use."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH: Final = "/metrics"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The measurements of one service; `rows` gives its rows by work, `memory` the share in use by what it is for."""

    def __init__(self, rows: Callable[[], Mapping[str, int]], memory: Callable[[], Mapping[str, float]]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a line more for each, of when it was first counted
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "aae_zoo_requests", "Requests that were answered", ("method", "path", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "aae_zoo_request_seconds",
            "Seconds from a request's head to the end of its answer",
            ("path",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._registry.register(_Now(rows, memory))
        ProcessCollector(registry=self._registry)

    def page(self) -> tuple[bytes, str]:
        """All of them in Prometheus' text format, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


class _Now(Collector):
    """What is looked up when it is asked for."""

    def __init__(self, rows: Callable[[], Mapping[str, int]], memory: Callable[[], Mapping[str, float]]) -> None:
        self._rows, self._memory = rows, memory

    def collect(self) -> Iterable[Metric]:
        """The rows so far, and the memory in use."""
        rows = CounterMetricFamily("aae_zoo_rows", "Rows that the model ran", labels=["work"])
        for work, count in self._rows().items():
            rows.add_metric([work], count)
        memory = GaugeMetricFamily("aae_zoo_memory_in_use", "The share of a budget that requests have", labels=["of"])
        for name, share in self._memory().items():
            memory.add_metric([name], share)
        return rows, memory


class Measured:
    """Middleware that counts every request, refused ones too, under the path of its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begun = time.perf_counter()
        try:
            await self.app(scope, receive, noting)
        except Exception:
            status = status or 500
            raise
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.seconds.labels(path).observe(time.perf_counter() - begun)
            self._metrics.requests.labels(scope["method"], path, status or "none").inc()
