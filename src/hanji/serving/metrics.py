"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from hanji.serving.backend import Load
from hanji.serving.flight import Flight
from hanji.serving.models import Served

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_TOKEN_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The figures of one service, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter was born is no figure of a service
        self._registry = CollectorRegistry()
        own = self._registry
        self._requests = Counter("hanji_requests", "Requests answered", ["endpoint", "code"], registry=own)
        self._errors = Counter(
            "hanji_errors", "Answers that are errors, those within a stream included", ["code"], registry=own
        )
        self._seconds = Histogram(
            "hanji_request_seconds", "From a request to its end", ["endpoint"], buckets=_SECONDS, registry=own
        )
        self._first = Histogram(
            "hanji_time_to_first_token_seconds", "From a request to the first token of its answers",
            ["model"], buckets=_SECONDS, registry=own,
        )  # fmt: skip
        self._each = Histogram(
            "hanji_time_per_token_seconds", "Between tokens of an answer, after the first", ["model"],
            buckets=_TOKEN_SECONDS, registry=own,
        )  # fmt: skip
        self._tokens = Counter(
            "hanji_tokens", "Tokens read, found ready, and written", ["model", "kind"], registry=own
        )
        self._lost = Counter("hanji_log_lost", "Requests that could not be logged", registry=own)

    def watch(self, models: Callable[[], Iterable[Served]]) -> None:
        """Asks these models how busy they are whenever the figures are read."""
        self._registry.register(_Busy(models))

    def answered(self, endpoint: str, code: int, seconds: float) -> None:
        """A request came to its end."""
        self._requests.labels(endpoint, code).inc()
        self._seconds.labels(endpoint).observe(seconds)
        if code >= 400:
            self._errors.labels(code).inc()

    def failed_midway(self, code: int) -> None:
        """A stream ended in an error."""
        self._errors.labels(code).inc()

    def generated(self, model: str, flight: Flight, prompt_tokens: int) -> None:
        """Answers came to their end."""
        written, first = flight.completion_tokens, flight.first_token_seconds
        for kind, count in (
            ("prompt", prompt_tokens), ("prompt_reused", flight.reused_tokens), ("completion", written)
        ):  # fmt: skip
            self._tokens.labels(model, kind).inc(count)
        if first is not None:
            self._first.labels(model).observe(first)
            later = max(len(ticket.answer.ids) for ticket in flight.tickets) - 1
            if later > 0:
                self._each.labels(model).observe((flight.seconds - first) / later)

    def read(self, model: str, tokens: int) -> None:
        """Texts were read: embeddings, labels, scores."""
        self._tokens.labels(model, "prompt").inc(tokens)

    def log_lost(self, count: int) -> None:
        """The database did not take so many requests."""
        self._lost.inc(count)

    def text(self) -> bytes:
        """All of them, as Prometheus reads it."""
        return generate_latest(self._registry)


class _Busy(Collector):
    """How busy each model is now."""

    def __init__(self, models: Callable[[], Iterable[Served]]) -> None:
        self._models = models

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by Prometheus's library."""
        loads = [(served.name, served.backend.load()) for served in self._models()]
        gauges: tuple[tuple[str, str, Callable[[Load], int]], ...] = (
            ("hanji_queue_length", "Answers that wait for a slot", lambda load: load.waiting),
            ("hanji_running", "Answers on their way", lambda load: load.running),
            ("hanji_slots", "Answers that can be on their way", lambda load: load.slots),
            ("hanji_cache_bytes", "Keys and values of answers on their way", lambda load: load.cache_bytes),
            ("hanji_prefix_bytes", "Keys and values kept of beginnings", lambda load: load.prefix_bytes),
        )
        for name, told, value in gauges:
            gauge = GaugeMetricFamily(name, told, labels=["model"])
            for model, load in loads:
                gauge.add_metric([model], value(load))
            yield gauge
