"""A stand-in for Triton that speaks what a controller needs of it: loads, unloads, and what is loaded."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


class ModelServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc] # generated code has no types
    """Has every version ready as soon as it is asked for. Used as a context.

    Attributes:
        address: HOST:HTTPPORT/GRPCPORT, as a controller's setting takes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[str, frozenset[int]] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._http.daemon_threads = True
        self._grpc = grpc.server(ThreadPoolExecutor(max_workers=4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._grpc)
        port = self._grpc.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{self._http.server_port}/{port}"
        self._thread = threading.Thread(target=self._http.serve_forever, name="model server")

    def __enter__(self) -> Self:
        self._thread.start()
        self._grpc.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._grpc.stop(0).wait()

    def loaded(self, model: str) -> frozenset[int]:
        """Return the versions of a model that are ready."""
        with self._lock:
            return self._versions.get(model, frozenset())

    def index(self) -> list[dict[str, str]]:
        """Return what Triton's repository index would say."""
        with self._lock:
            return [
                {"name": model, "version": str(version), "state": "READY"}
                for model, versions in self._versions.items()
                for version in versions
            ]

    def RepositoryModelLoad(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the name is the protocol's
        """Have exactly the versions of the configuration in the request."""
        config = json.loads(request.parameters["config"].string_param)
        versions = frozenset(int(version) for version in config["version_policy"]["specific"]["versions"])
        with self._lock:
            self._versions[request.model_name] = versions
        return service_pb2.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request: Any, _context: Any) -> Any:  # noqa: N802 - as above
        """Have no version of a model."""
        with self._lock:
            self._versions.pop(request.model_name, None)
        return service_pb2.RepositoryModelUnloadResponse()


def _handler_of(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # whoever asked was killed meanwhile
                super().handle()

        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            if parts[:2] == ["v2", "models"]:  # of a version: nothing to warm it with
                described = {"name": parts[2], "versions": parts[4:5], "platform": "", "inputs": [], "outputs": []}
                config = {"name": parts[2], "max_batch_size": 0, "input": [], "output": []}
                self._answer(json.dumps(config if parts[-1] == "config" else described).encode())
                return
            self._answer(b"")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._answer(json.dumps(server.index()).encode())

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    return Handler
