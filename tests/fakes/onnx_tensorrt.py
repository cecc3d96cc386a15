"""A TensorRT that keeps to the real bindings' contract and computes with ONNX: a plan is the graph and its profiles."""

from __future__ import annotations

import ctypes
import json
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from enginebuild.datatypes import Array, Arrays
from enginebuild.targets.tensorrt.bindings import ErrorLog
from enginebuild.targets.tensorrt.gpu import Gpu
from enginebuild.targets.tensorrt.machine import Machine
from onnx.reference import ReferenceEvaluator

from tests.fakes.tensorrt_contract import Bound, Contract

H200 = Gpu("NVIDIA H200", 9, 0)


class OnnxTensorRt:
    """Scripts a contract.

    Attributes:
        trt: To be used as the module ``tensorrt``.
        refused: An operator that the parser does not know.
        unbuildable: Whether the builder finds no implementation.
        error: How far outputs are off, in shares of their size.
        noise: How far outputs of each further engine are off from those of the one before.
        weights: Datatypes of the weights of every graph that was parsed, by its name.
    """

    def __init__(self, real: Any) -> None:
        self.trt = Contract(real)
        self.refused: str | None = None
        self.unbuildable = False
        self.error = 0.0
        self.noise = 0.0
        self.weights: dict[str, set[str]] = {}
        self._engines = 0
        self._real = real
        self._script_building()
        self._script_running()

    def machine(self, gpu: Gpu = H200) -> Machine:
        """Return a machine with this TensorRT."""
        return Machine(gpu, self.trt, HostDevice(), ErrorLog(self.trt))

    def settings(self, name: str) -> list[Any]:
        """Return the values that a property was given."""
        return [arguments["value"] for called, arguments in self.trt.calls if called == name]

    def calls(self, name: str) -> list[dict[str, Any]]:
        """Return the arguments of every call of a method."""
        return [arguments for called, arguments in self.trt.calls if called == name]

    def _script_building(self) -> None:
        answer = self.trt.answer
        answer("Builder", "create_network", lambda _builder, *_flags: self.trt.new("INetworkDefinition"))
        answer("OnnxParser", "__init__", self._open_parser)
        answer("OnnxParser", "parse_from_file", self._parse)
        answer("OnnxParser", "num_errors", lambda parser: len(parser.state.get("errors", ())))
        answer("OnnxParser", "get_error", lambda parser, index: parser.state["errors"][index])
        answer("ParserError", "node", lambda error: error.state["node"])
        answer("ParserError", "node_operator", lambda error: error.state["operator"])
        answer("ParserError", "desc", lambda _: "no importer registered")
        answer("INetworkDefinition", "num_inputs", lambda network: len(network.state["model"].graph.input))
        answer("INetworkDefinition", "get_input", self._input)
        answer("ITensor", "is_shape_tensor", lambda _: False)
        answer("IOptimizationProfile", "set_shape", self._set_shape)
        answer("IBuilderConfig", "add_optimization_profile", self._add_profile)
        answer("IBuilderConfig", "create_timing_cache", lambda _, known: self._cache(known))
        answer("ITimingCache", "serialize", lambda _: self.trt.new("IHostMemory", content=b"timings"))
        answer("Builder", "build_serialized_network", self._build)

    def _script_running(self) -> None:
        answer = self.trt.answer
        answer("Runtime", "deserialize_cuda_engine", self._deserialize)
        answer("ICudaEngine", "num_io_tensors", lambda engine: len(_tensors(engine)))
        answer("ICudaEngine", "get_tensor_name", lambda engine, index: list(_tensors(engine))[index])
        answer("ICudaEngine", "get_tensor_mode", self._mode)
        answer("ICudaEngine", "get_tensor_dtype", self._datatype)
        answer("ICudaEngine", "create_execution_context", self._context)
        answer("ICudaEngine", "create_engine_inspector", lambda one: self.trt.new("EngineInspector", **one.state))
        answer("EngineInspector", "get_engine_information", self._information)
        answer("IExecutionContext", "set_input_shape", self._take_shape)
        answer("IExecutionContext", "get_tensor_shape", self._output_shape)
        answer("IExecutionContext", "set_tensor_address", _take_address)
        answer("IExecutionContext", "execute_async_v3", self._execute)

    def _open_parser(self, parser: Bound, network: Bound, _logger: Any) -> Bound:
        parser.state["network"] = network
        return parser

    def _parse(self, parser: Bound, path: str) -> bool:
        model = onnx.load(path)
        types = {onnx.TensorProto.DataType.Name(one.data_type) for one in model.graph.initializer}
        self.weights[Path(path).stem] = types
        nodes = [node for node in model.graph.node if node.op_type == self.refused]
        parser.state["errors"] = [
            self.trt.new("ParserError", node=number, operator=node.op_type) for number, node in enumerate(nodes)
        ]
        parser.state["network"].state["model"] = model
        return not nodes

    def _input(self, network: Bound, index: int) -> Bound:
        return self.trt.new("ITensor", name=network.state["model"].graph.input[index].name)

    def _set_shape(self, profile: Bound, name: str, *shapes: Sequence[int]) -> None:
        profile.state[name] = tuple(map(tuple, shapes))

    def _add_profile(self, config: Bound, profile: Bound) -> int:
        config.state["profile"] = profile.state
        return 0

    def _cache(self, known: bytes) -> Bound | None:
        return self.trt.new("ITimingCache") if known in (b"", b"timings") else None

    def _build(self, _builder: Bound, network: Bound, config: Bound) -> Bound | None:
        if self.unbuildable:
            return None
        plan = {"model": network.state["model"].SerializeToString(), "profile": dict(config.state["profile"])}
        return self.trt.new("IHostMemory", content=pickle.dumps(plan))

    def _deserialize(self, _runtime: Bound, plan: bytes) -> Bound | None:
        try:
            found = pickle.loads(plan)
        except (pickle.UnpicklingError, ValueError):
            return None
        model = onnx.load_from_string(found["model"])
        self._engines += 1
        error = self.error + self.noise * self._engines
        return self.trt.new("ICudaEngine", model=model, profile=found["profile"], run=_evaluator(model), error=error)

    def _mode(self, engine: Bound, name: str) -> Any:
        mode = self._real.TensorIOMode
        return mode.INPUT if name in {value.name for value in engine.state["model"].graph.input} else mode.OUTPUT

    def _datatype(self, engine: Bound, name: str) -> Any:
        types = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.INT64: "INT64", onnx.TensorProto.INT32: "INT32"}
        return getattr(self._real.DataType, types[_tensors(engine)[name].type.tensor_type.elem_type])

    def _context(self, engine: Bound, *_: Any) -> Bound:
        return self.trt.new("IExecutionContext", **engine.state, shapes={}, addresses={}, engine=engine, profiler=None)

    def _take_shape(self, context: Bound, name: str, shape: Sequence[int]) -> bool:
        least, _, largest = context.state["profile"][name]
        context.state["shapes"][name] = tuple(shape)
        return len(shape) == len(least) and all(a <= b <= c for a, b, c in zip(least, shape, largest, strict=True))

    def _output_shape(self, context: Bound, name: str) -> tuple[int, ...]:
        inputs = {key: np.zeros(shape, _numpy(context, key)) for key, shape in context.state["shapes"].items()}
        return tuple(context.state["run"](inputs)[name].shape)

    def _execute(self, context: Bound, _stream: int) -> bool:
        state = context.state
        inputs = {key: _at(state["addresses"][key], shape, _numpy(context, key)).copy()
                  for key, shape in state["shapes"].items()}  # fmt: skip
        for name, found in state["run"](inputs).items():
            off = found * (1 + state["error"]) if found.dtype.kind == "f" else found
            _at(state["addresses"][name], found.shape, found.dtype)[...] = off
        if state["profiler"] is not None:
            for node in state["model"].graph.node:
                state["profiler"].report_layer_time(node.name, 0.25)
        return True

    def _information(self, inspector: Bound, wanted: Any) -> str:
        assert wanted == self._real.LayerInformationFormat.JSON
        tensor = {"Name": "t", "Dimensions": [1], "Datatype": "Half", "Format": "Row major linear FP16 format"}
        layers = [
            {"Name": node.name, "LayerType": node.op_type, "Inputs": [tensor], "Outputs": [tensor]}
            for node in inspector.state["model"].graph.node
        ]
        return json.dumps({"Layers": layers, "I/O Tensors": []})


class HostDevice:
    """A device whose memory is this process's own."""

    stream = 7

    def allocate(self, shape: Sequence[int], datatype: Any) -> HostBuffer:
        """Return memory for a tensor."""
        return HostBuffer(tuple(shape), datatype)

    def synchronize(self) -> None:
        """Everything is done at once."""


class HostBuffer:
    """Memory for one tensor."""

    def __init__(self, shape: tuple[int, ...], datatype: Any) -> None:
        self.shape, self._array = shape, np.zeros(shape, datatype)
        self.address = self._array.ctypes.data

    def write(self, array: Array) -> None:
        """Copy an array of the same shape and type."""
        assert (array.shape, array.dtype) == (self.shape, self._array.dtype)
        self._array[...] = array

    def read(self) -> Array:
        """Return what is there."""
        return self._array.copy()


def _take_address(context: Bound, name: str, address: int) -> bool:
    context.state["addresses"][name] = address
    return True


def _tensors(engine: Bound) -> dict[str, Any]:
    graph = engine.state["model"].graph
    return {value.name: value for value in (*graph.input, *graph.output)}


def _numpy(context: Bound, name: str) -> Any:
    elem_type = _tensors(context)[name].type.tensor_type.elem_type
    return onnx.helper.tensor_dtype_to_np_dtype(elem_type)


def _at(address: int, shape: Sequence[int], datatype: Any) -> Array:
    size = math.prod(shape) * np.dtype(datatype).itemsize
    raw = (ctypes.c_char * size).from_address(address)
    found: Array = np.frombuffer(memoryview(raw), datatype).reshape(shape)
    return found


def _evaluator(model: Any) -> Any:
    """Return what computes a graph: ONNX Runtime, or where that has no kernels (BF16) ONNX's own slow evaluator."""
    names = [output.name for output in model.graph.output]
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - onnxruntime's own classes share no base but Exception
        slow = ReferenceEvaluator(model)
        return lambda inputs: dict(zip(names, slow.run(None, inputs), strict=True))

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run
