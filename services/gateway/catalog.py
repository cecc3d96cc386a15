"""What the gateway says of itself and of its models: states, metadata, configurations, statistics.

Everything but inference, for both edges. Whether a model is served is the route table's to say; what it looks like is
Triton's, whose documents are handed on, its statistics added up over the replicas.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as package_version
from typing import Any
from urllib.parse import quote

import orjson

from services.core.errors import NotFound, PenstockError, UpstreamFailure
from services.gateway.merged_statistics import merge_statistics
from services.gateway.routes import Routes
from services.triton.upstream import Inspector

SERVER_NAME = "penstock"
# The extensions of the protocol that pass through the gate.
EXTENSIONS = (
    "classification",
    "sequence",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)

Document = dict[str, Any]


class Catalog:
    """Read-only documents.

    Args:
        triton: Triton, or its replicas.
        routes: The present route table.
        draining: Whether this worker is on its way out.
    """

    def __init__(self, triton: Inspector, routes: Routes, draining: Callable[[], bool]) -> None:
        self._triton = triton
        self._routes = routes
        self._draining = draining

    def server(self) -> Document:
        """Return the server's metadata."""
        return {"name": SERVER_NAME, "version": package_version("penstock"), "extensions": list(EXTENSIONS)}

    async def not_ready(self) -> str | None:
        """Return why no request should be sent here now; None when all is well."""
        if self._draining():
            return "the gateway is shutting down"
        if self._routes.table is None:
            return "the gateway has no route table yet: it has not reached its controller"
        if not await self._triton.ready():
            return "Triton is not ready"
        return None

    async def model_not_ready(self, model: str, version: int | None) -> str | None:
        """Return why a model, or one version of it, cannot answer now; None when it can."""
        try:
            path = self._path(model, version)
            await self._triton.document(f"{path}/ready")
        except PenstockError as error:
            return error.message
        return None

    async def metadata(self, model: str, version: int | None) -> Document:
        """Return a version's metadata; without a version, that of the stable one, with every version that is served.

        Raises:
            NotFound: The route table does not have it.
            Unavailable: Triton is away.
        """
        found = await self._object(self._path(model, version))
        if version is None:
            found["versions"] = [str(one) for one in sorted(self._routes.route(model).versions)]
        return found

    async def configuration(self, model: str, version: int | None) -> Document:
        """Return a version's configuration; as ``metadata``."""
        return await self._object(f"{self._path(model, version)}/config")

    async def statistics(self, model: str | None, version: int | None) -> Document:
        """Return the statistics of one version, of all versions of a model, or of every model, over all replicas."""
        path = "v2/models/stats"
        if model is not None:
            self._routes.route(model, version)
            below = "" if version is None else f"/versions/{version}"
            path = f"v2/models/{quote(model, safe='')}{below}/stats"
        return merge_statistics((await self._triton.documents(path)).values())

    async def index(self, *, ready_only: bool) -> list[Document]:
        """Return the models of Triton's repository with their states."""
        body = orjson.dumps({"ready": True} if ready_only else {})
        found = await self._triton.document("v2/repository/index", body)
        if not isinstance(found, list):
            raise UpstreamFailure("Triton's repository index is no list")
        return found

    def _path(self, model: str, version: int | None) -> str:
        route = self._routes.route(model, version)
        return f"v2/models/{quote(model, safe='')}/versions/{version or route.stable}"

    async def _object(self, path: str) -> Document:
        found = await self._triton.document(path)
        if not isinstance(found, dict):
            raise UpstreamFailure(f"Triton's document {path} is no object")
        return found


def version_number(text: str) -> int | None:
    """Return the version that a client named; None for an empty text.

    Raises:
        NotFound: It is no positive integer, so no version is called that.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text)):  # noqa: PLR2004 - 64 bits
        raise NotFound(f"'{text[:40]}' is no version; versions are positive integers")
    return int(text)
