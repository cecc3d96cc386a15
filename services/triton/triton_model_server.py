"""Loading and unloading of exact versions in one Triton."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from google.protobuf import json_format

from services.core.errors import DeadlineExceeded, NotFound, PenstockError, Unavailable, UpstreamFailure
from services.core.inventory import Inventory
from services.triton.http import HttpPool
from services.triton.layout import RepositoryLayout
from services.triton.model_control import ModelControl
from services.triton.model_server import NOTHING
from services.triton.triton_errors import error_from, without_traceback
from services.triton.trust import Trust

_OK = 200
_READY = "READY"
_INDEX_TIMEOUT_S = 10.0
# A fresh connection for every question. After a SIGTERM Triton closes fresh ones at once, goes on answering on those
# that are open as if nothing were, and waits for them to its exit timeout: a kept one would not see that it is leaving,
# and would hold it up (Triton 2.51).
_FRESH = {"Connection": "close"}
_HEALTH_TIMEOUT_S = 1.0


class _Row(NamedTuple):
    """One version in Triton's repository index."""

    model: str
    version: int
    state: str
    reason: str


class TritonModelServer:
    """The ``ModelServer`` that is a Triton with explicit model control.

    A load posts the model's ``config.pbtxt`` with ``version_policy { specific }`` put in: Triton leaves versions that
    stay untouched, loads new ones beside them and unloads the others after their last request.

    Args:
        pool: Connections to Triton's HTTP port, for short questions.
        control: Loads and unloads.
        repository: The repository that this Triton was started with.
        trust: Looks at every version before it is loaded; default asks for no signature.
        load_timeout_s: Bound on one load, until every version is READY.
        poll_s: How often a load looks whether it is done.
    """

    def __init__(
        self,
        pool: HttpPool,
        control: ModelControl,
        repository: RepositoryLayout,
        *,
        trust: Trust | None = None,
        load_timeout_s: float = 120.0,
        poll_s: float = 0.1,
    ) -> None:
        self._pool = pool
        self._control = control
        self._repository = repository
        self._trust = trust or Trust(repository)
        self._load_timeout_s = load_timeout_s
        self._poll_s = poll_s
        self._locks: dict[str, asyncio.Lock] = {}

    async def loaded(self) -> Inventory:
        """Return the READY versions by model."""
        ready: dict[str, set[int]] = {}
        for row in await self._index():
            if row.state == _READY:
                ready.setdefault(row.model, set()).add(row.version)
        return Inventory({self._pool.address: {model: frozenset(versions) for model, versions in ready.items()}})

    async def occupied(self) -> frozenset[str]:
        """Return the models that have a version loaded, or on its way in or out."""
        return frozenset(row.model for row in await self._index() if row.state in {_READY, "LOADING", "UNLOADING"})

    async def config(self, model: str, version: int) -> dict[str, Any]:
        """Return the configuration that a loaded version runs with.

        Raises:
            Unavailable: The server does not answer, or the version is not loaded.
            UpstreamFailure: The answer makes no sense.
        """
        path = f"/v2/models/{quote(model, safe='')}/versions/{version}/config"
        response = await self._pool.request("GET", path, _FRESH, timeout_s=_INDEX_TIMEOUT_S)
        if response.status != _OK:
            raise error_from(response.status, response.body)
        try:
            return dict(orjson.loads(response.body))
        except (ValueError, TypeError) as error:
            raise UpstreamFailure(f"Triton's configuration of model '{model}' makes no sense: {error!r}") from error

    async def load(self, model: str, versions: frozenset[int], tolerated: frozenset[int] = NOTHING) -> None:
        """Make exactly these versions READY, and leave those that are tolerated.

        Raises:
            IntegrityError: A version that is not loaded yet is not what was published; nothing was changed.
        """
        async with self._alone(model, f"{_named(model, versions)} not READY"):
            self._require_published(model, versions)
            loaded = (await self.loaded()).everywhere(model)
            versions |= tolerated & loaded
            if not versions:
                await self._take_down(model)
                return
            # What is loaded runs from memory: a file that was damaged since must not keep the next version out.
            for version in sorted(versions - loaded):
                await asyncio.to_thread(self._trust.check, model, version)
            await self._control.load(model, self._config(model, versions))
            await self._until(lambda index: _are_ready(model, versions, index))

    async def unload(self, model: str) -> None:
        """Unload every version of a model."""
        async with self._alone(model, f"model '{model}' not unloaded"):
            await self._take_down(model)

    async def ready(self) -> bool:
        """Whether Triton says that it is ready."""
        with contextlib.suppress(PenstockError):
            return (
                await self._pool.request("GET", "/v2/health/ready", _FRESH, timeout_s=_HEALTH_TIMEOUT_S)
            ).status == _OK
        return False

    async def _take_down(self, model: str) -> None:
        await self._control.unload(model)
        await self._until(lambda index: not any(row.model == model and row.state == _READY for row in index))

    def _require_published(self, model: str, versions: frozenset[int]) -> None:
        if versions and (missing := versions - set(self._repository.versions(model))):
            raise NotFound(f"{_named(model, missing)} not in {self._repository.root}; publish it first")

    def _config(self, model: str, versions: frozenset[int]) -> str:
        config = self._repository.config(model)
        config.name = model
        config.version_policy.Clear()
        config.version_policy.specific.versions.extend(sorted(versions))
        return json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None)

    @contextlib.asynccontextmanager
    async def _alone(self, model: str, failure: str) -> AsyncIterator[None]:
        """Bound a change of one model, and let no other change of it run meanwhile.

        Two loads of one model at once would each wait for a set of versions that the other one takes away.
        """
        try:
            async with asyncio.timeout(self._load_timeout_s), self._locks.setdefault(model, asyncio.Lock()):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded(f"{failure} within {self._load_timeout_s:g} s; see Triton's log") from error

    async def _until(self, is_done: Callable[[list[_Row]], bool]) -> None:
        while True:
            if is_done(await self._index()):
                return
            await asyncio.sleep(self._poll_s)

    async def _index(self) -> list[_Row]:
        headers = {"Content-Type": "application/json", **_FRESH}
        response = await self._pool.request("POST", "/v2/repository/index", headers, (b"{}",), _INDEX_TIMEOUT_S)
        if response.status != _OK:
            error = error_from(response.status, response.body)
            raise error if isinstance(error, Unavailable | DeadlineExceeded) else UpstreamFailure(str(error)) from error
        try:
            rows = orjson.loads(response.body)
            # A model that was never loaded has neither version nor state.
            return [
                _Row(row["name"], int(row["version"]), row.get("state", ""), row.get("reason", ""))
                for row in rows
                if row.get("version")
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UpstreamFailure(f"Triton's repository index makes no sense: {error!r}") from error


def _are_ready(model: str, versions: frozenset[int], index: list[_Row]) -> bool:
    rows = {row.version: row for row in index if row.model == model}
    failed = [rows[version] for version in versions if version in rows and rows[version].state == "UNAVAILABLE"]
    if failed:
        reasons = "; ".join(
            f"version {row.version}: {without_traceback(row.reason) or 'no reason given'}" for row in failed
        )
        raise UpstreamFailure(f"Triton could not load model '{model}': {reasons}")
    return versions == {version for version, row in rows.items() if row.state == _READY}


def _named(model: str, versions: frozenset[int]) -> str:
    return f"model '{model}' version {', '.join(map(str, sorted(versions)))}"
