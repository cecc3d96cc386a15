"""What each model version takes and gives, asked of Triton once and kept as long as the version is served."""

from __future__ import annotations

import asyncio

from services.core.errors import DeadlineExceeded, Overloaded
from services.core.inference import ModelSchema
from services.core.route import RouteTable
from services.triton.upstream import Upstream

Key = tuple[str, int]


class SchemaCache:
    """Schemas by model and version.

    However many requests need a schema that is not there, one asks for it. The cache owns that task: a request that
    gives up does not end it, ``aclose`` does.

    Args:
        upstream: Whom to ask.
        max_waiting: Most requests that may wait for schemas at once.
    """

    def __init__(self, upstream: Upstream, max_waiting: int = 512) -> None:
        self._upstream = upstream
        self._max_waiting = max_waiting
        self._schemas: dict[Key, ModelSchema] = {}
        self._loading: dict[Key, asyncio.Task[ModelSchema]] = {}
        self._waiting = 0

    def get(self, model: str, version: int) -> ModelSchema | None:
        """Return the schema if it is there."""
        return self._schemas.get((model, version))

    async def fetch(self, model: str, version: int, timeout_s: float) -> ModelSchema:
        """Return the schema, asking for it if it is not there.

        Raises:
            DeadlineExceeded: It did not come within ``timeout_s`` seconds.
            Overloaded: Too many requests wait already.
            Unavailable: Triton is away or has not loaded the version.
        """
        key = (model, version)
        schema = self._schemas.get(key)
        if schema is not None:
            return schema
        if self._waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._waiting} requests wait for Triton to describe its models; try again after a second"
            )
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key), name=f"schema of {model} {version}")
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"Triton did not describe model '{model}' version {version} within the {timeout_s:.3f} s left"
            ) from error
        finally:
            self._waiting -= 1

    def forget(self, model: str, version: int) -> None:
        """Drop one schema, because Triton said that it does not have the version."""
        self._schemas.pop((model, version), None)

    def retain(self, table: RouteTable) -> None:
        """Drop the schemas of versions that the table does not list."""
        for model, version in list(self._schemas):
            route = table.routes.get(model)
            if route is None or version not in route.versions:
                del self._schemas[model, version]

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, key: Key) -> ModelSchema:
        try:
            schema = await self._upstream.schema(*key)
            self._schemas[key] = schema
            return schema
        finally:
            del self._loading[key]
