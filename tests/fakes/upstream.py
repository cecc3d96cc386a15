"""An ``Upstream`` whose models are Python functions, with scripted delays, errors and stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson

from services.core.errors import DeadlineExceeded, NotFound, PenstockError, Unavailable
from services.core.inference import InferRequest, InferResponse, ModelSchema, TensorSpec
from services.core.route import Route, RouteTable
from services.core.tensor import ITEM_SIZE, Tensor, element_count

DATATYPES = tuple(ITEM_SIZE)
LABELS = 3


def schema(model: str, inputs: list[TensorSpec], outputs: list[TensorSpec], max_batch_size: int = 0) -> ModelSchema:
    """Return a schema of version 1."""
    return ModelSchema(model, 1, {s.name: s for s in inputs}, {s.name: s for s in outputs}, max_batch_size)


Answer = Callable[[InferRequest, int], list[Tensor]]


def echo(request: InferRequest, _version: int) -> list[Tensor]:
    """Answer every input as an output of the same name."""
    return list(request.inputs)


def scores(request: InferRequest, version: int) -> list[Tensor]:
    """Answer the input times the version number: the classes keep their order, the values tell the version."""
    image = request.inputs[0]
    values = np.frombuffer(image.data, "<f4") * np.float32(version)
    return [Tensor("scores", "FP32", image.shape, values.astype("<f4").tobytes())]


def add(request: InferRequest, _version: int) -> list[Tensor]:
    """Answer sum and difference of two inputs."""
    by_name = {tensor.name: tensor for tensor in request.inputs}
    left, right = (np.frombuffer(by_name[name].data, "<i4") for name in ("LEFT", "RIGHT"))
    shape = by_name["LEFT"].shape
    wanted = [output.name for output in request.outputs] or ["SUM", "DIFFERENCE"]
    results = {"SUM": left + right, "DIFFERENCE": left - right}
    return [Tensor(name, "INT32", shape, results[name].tobytes()) for name in wanted]


@dataclass
class FakeModel:
    """One model: its interface and what it answers."""

    schema: ModelSchema
    answer: Answer
    versions: frozenset[int]


def standard_models() -> dict[str, FakeModel]:
    """Return the models that the gateway's tests speak to.

    ``echo`` has one optional input and output of every datatype, named after it; ``digits`` has versions 1 to 3,
    batches of up to 8 and class labels; ``pair`` needs two inputs and gives two outputs; ``repeat`` is decoupled.
    """
    each = [TensorSpec(datatype, datatype, (-1, -1), optional=True) for datatype in DATATYPES]
    image = TensorSpec("image", "FP32", (-1, LABELS))
    pair = [TensorSpec("LEFT", "INT32", (-1, 2)), TensorSpec("RIGHT", "INT32", (-1, 2))]
    results = [TensorSpec("SUM", "INT32", (-1, 2)), TensorSpec("DIFFERENCE", "INT32", (-1, 2))]
    return {
        "echo": FakeModel(schema("echo", each, each), echo, frozenset({1})),
        "digits": FakeModel(
            schema("digits", [image], [TensorSpec("scores", "FP32", (-1, LABELS), labels=True)], max_batch_size=8),
            scores,
            frozenset({1, 2, 3}),
        ),
        "repeat": FakeModel(
            replace(
                schema("repeat", [TensorSpec("N", "INT32", (-1,))], [TensorSpec("N", "INT32", (-1,))]), decoupled=True
            ),
            echo,
            frozenset({1}),
        ),
        "pair": FakeModel(schema("pair", pair, results, max_batch_size=4), add, frozenset({1})),
    }


def standard_table(generation: int = 1, candidate: int | None = None, weight_percent: int = 0) -> RouteTable:
    """Return the route table of ``standard_models``; ``digits`` may have a candidate."""
    routes = {
        "echo": Route("echo", 1, versions=frozenset({1})),
        "repeat": Route("repeat", 1, versions=frozenset({1})),
        "digits": Route("digits", 1, candidate, weight_percent, frozenset({1, 2})),
        "pair": Route("pair", 1, versions=frozenset({1})),
    }
    return RouteTable(generation, routes)


@dataclass
class FakeUpstream:
    """Runs models in the test's own process.

    Attributes:
        models: What it has loaded.
        requests: Every request that reached it, with the version.
        paths: Every document that was asked for.
        error: Raised instead of an answer.
        delay_s: Gives the time that the next answer takes.
        hold: While set, answers wait for it.
        holds: The same for one version, by its number.
        errors: As ``error`` for one version, by its number; its schema is not affected.
        cancelled: Requests that were given up while they were being answered.
        schema_calls: How often a schema was asked for.
        is_ready: What ``ready`` says.
    """

    models: dict[str, FakeModel] = field(default_factory=standard_models)
    requests: list[tuple[InferRequest, int]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    error: PenstockError | None = None
    delay_s: Callable[[], float] | None = None
    hold: asyncio.Event | None = None
    holds: dict[int, asyncio.Event] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)
    cancelled: int = 0
    schema_calls: int = 0
    is_ready: bool = True

    async def infer(self, request: InferRequest, version: int, timeout_s: float) -> InferResponse:
        self.requests.append((request, version))
        try:
            async with asyncio.timeout(timeout_s):
                if self.hold is not None:
                    await self.hold.wait()
                if version in self.holds:
                    await self.holds[version].wait()
                if self.delay_s is not None:
                    await asyncio.sleep(self.delay_s())
        except TimeoutError as error:
            raise DeadlineExceeded(f"no answer within {timeout_s:.3f} s") from error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        if version in self.errors:
            raise self.errors[version]
        outputs = self._model(request.model, version).answer(request, version)
        return InferResponse(request.model, version, request.id, outputs)

    async def stream(
        self, request: InferRequest, version: int, timeout_s: float
    ) -> AsyncGenerator[InferResponse, None]:
        """Answer as often as the first input has elements, then with an empty final response."""
        first = await self.infer(request, version, timeout_s)
        count = element_count(request.inputs[0].shape, request.inputs[0].name)
        for _ in range(count):
            yield replace(first, final=False)
        yield InferResponse(request.model, version, request.id, [])

    async def schema(self, model: str, version: int) -> ModelSchema:
        self.schema_calls += 1
        if self.error is not None:
            raise self.error
        found = self._model(model, version).schema
        return replace(found, version=version)

    async def document(self, path: str, body: bytes | None = None) -> Any:
        self.paths.append(path)
        if not self.is_ready:
            raise Unavailable("Triton is away")
        if path == "v2/repository/index":
            return self._index(ready_only=bool(body and orjson.loads(body).get("ready")))
        if path == "v2/models/stats":
            return {"model_stats": [_statistics(name, 1) for name in self.models]}
        parts = path.split("/")
        name, rest = parts[2], parts[3:]
        version = int(rest[1]) if rest[:1] == ["versions"] else 1
        model = self._model(name, version)
        match rest[-1] if rest and rest[-1] != str(version) else "":
            case "ready":
                return None
            case "config":
                return _config(model.schema)
            case "stats":
                return {"model_stats": [_statistics(name, version)]}
            case _:
                return _metadata(model)

    async def documents(self, path: str) -> dict[str, Any]:
        return {"fake:1": await self.document(path)}

    async def ready(self) -> bool:
        return self.is_ready

    def _index(self, *, ready_only: bool) -> list[dict[str, str]]:
        states = [
            {"name": name, "version": str(version), "state": "READY"}
            for name, model in self.models.items()
            for version in sorted(model.versions)
        ]
        return states if ready_only else [*states, {"name": "asleep"}]

    def _model(self, model: str, version: int) -> FakeModel:
        found = self.models.get(model)
        if found is None or version not in found.versions:
            raise NotFound(f"Request for unknown model: '{model}' version {version} is not found")
        return found


def _statistics(name: str, version: int) -> dict[str, Any]:
    return {"name": name, "version": str(version), "inference_count": 7}


def _config(found: ModelSchema) -> dict[str, Any]:
    return {
        "name": found.model,
        "backend": "fake",
        "max_batch_size": found.max_batch_size,
        "input": [{"name": s.name, "optional": s.optional} for s in found.inputs.values()],
        "output": [{"name": s.name, "label_filename": "labels.txt" * s.labels} for s in found.outputs.values()],
    }


def _metadata(model: FakeModel) -> dict[str, Any]:
    def tensors(specs: dict[str, TensorSpec]) -> list[dict[str, Any]]:
        return [{"name": s.name, "datatype": s.datatype, "shape": list(s.dims)} for s in specs.values()]

    found = model.schema
    versions = [str(version) for version in sorted(model.versions)]
    return {
        "name": found.model,
        "versions": versions,
        "platform": "fake",
        "inputs": tensors(found.inputs),
        "outputs": tensors(found.outputs),
    }
