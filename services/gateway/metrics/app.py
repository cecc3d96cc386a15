"""What the parent serves on the metrics port: ``/metrics`` and ``/healthz``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, make_asgi_app
from prometheus_client.registry import Collector

from services.gateway.metrics.merged import MergedSlabs
from services.process.asgi import ASGIApp, Receive, Scope, Send

_TEXT = (b"content-type", b"text/plain; charset=utf-8")


def metrics_app(collector: Collector, slabs: MergedSlabs, workers: int) -> ASGIApp:
    """Return the ASGI application.

    Args:
        collector: What ``/metrics`` shows.
        slabs: The workers' states, for ``/healthz``.
        workers: How many there should be.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    metrics: ASGIApp = make_asgi_app(registry)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/metrics":
            await metrics(scope, receive, send)
        elif path == "/healthz":
            listening = slabs.listening
            await _answer(send, 200 if listening else 503, f"{listening} of {workers} workers listen\n")
        else:
            await _answer(send, 404, "there are /metrics and /healthz here\n")

    return app


async def _answer(send: Send, status: int, words: str) -> None:
    body = words.encode()
    headers = [_TEXT, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
