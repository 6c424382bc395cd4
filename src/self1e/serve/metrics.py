"""Figures of the server, as Prometheus reads them. No picture, prompt or key is among them."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from self1e.serve.messages import Pass

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
COUNTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = every = CollectorRegistry()
        self.requests = Counter("self1e_requests", "Requests", ["path", "status"], registry=every)
        self.seconds = Histogram(
            "self1e_request_seconds", "From request to answer", ["path"], buckets=SECONDS, registry=every
        )
        self.jobs = Histogram("self1e_pass_jobs", "Requests answered together", buckets=COUNTS, registry=every)
        self.passes = Histogram("self1e_pass_seconds", "Of the model, for those", buckets=SECONDS, registry=every)
        self.prompts = Counter("self1e_prompts", "Prompts answered", registry=every)
        self.pictures = Counter("self1e_pictures", "Pictures asked about", ["known"], registry=every)
        self.restarts = Counter("self1e_restarts", "Processes with the model that were replaced", registry=every)

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A figure that is looked up when it is asked for."""
        Gauge(name, what, registry=self.registry).set_function(value)

    def request(self, path: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def event(self, event: Pass | str) -> None:
        """Something happened at the model."""
        if not isinstance(event, Pass):
            self.restarts.inc()
            return
        self.jobs.observe(event.jobs)
        self.passes.observe(event.seconds)
        self.prompts.inc(event.prompts)
        self.pictures.labels("no").inc(event.encoded)
        self.pictures.labels("yes").inc(max(0, event.jobs - event.encoded))

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self.registry)
