"""ONNX Runtime as a Python-based Triton backend, for machines without NGC's C++ backend of the same name.

Triton runs this file for every model with ``backend: "onnxruntime"``, once per model version and instance, in a process
of its own. It reads the same ``config.pbtxt`` as NGC's backend and behaves alike:

- ``default_model_filename`` (``model.onnx``), ``max_batch_size``, ``reshape``, optional inputs;
- the parameters ``intra_op_thread_count``, ``inter_op_thread_count``, ``execution_mode`` (0 sequential, 1 parallel),
  ``enable_mem_arena``, ``enable_mem_pattern`` and every ``session.*`` entry; ``optimization { graph { level } }``;
- every datatype that NumPy has, and BYTES as UTF-8 strings. BF16 is refused when the model is loaded.

The requests of one dynamic batch run as one call of the model. A request that makes it fail does not fail its batch
mates: they run again, each alone. Nothing here imports the rest of the project; Triton's stub has no path to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

# Triton's names of datatypes by ONNX Runtime's.
DATATYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
# As NGC's backend reads ``optimization { graph { level } }``.
GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


@dataclass
class Job:
    """One request on its way through a batch."""

    inputs: dict[str, np.ndarray]
    wanted: list[str]
    outputs: list[Any] = field(default_factory=list)
    error: Any = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What requests must have in common to run as one batch: all but the first dimension."""
        return tuple((name, array.dtype.char, array.shape[1:]) for name, array in self.inputs.items())

    @property
    def rows(self) -> int:
        """Size of the batch dimension; -1 where the inputs do not agree on one."""
        sizes = {array.shape[0] if array.ndim else -1 for array in self.inputs.values()}
        return sizes.pop() if len(sizes) == 1 else -1


class TritonPythonModel:
    """One instance of one model version."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and check that the configuration tells the truth about it."""
        config = json.loads(args["model_config"])
        path = (
            Path(args["model_repository"]) / args["model_version"] / (config["default_model_filename"] or "model.onnx")
        )
        if not path.exists():
            raise pb_utils.TritonModelException(f"no {path}: expected the ONNX file of version {args['model_version']}")
        self._batches = config["max_batch_size"] > 0
        self._input_names = [tensor["name"] for tensor in config["input"]]
        self._strings = {tensor["name"] for tensor in config["input"] if tensor["data_type"] == "TYPE_STRING"}
        self._output_names = [tensor["name"] for tensor in config["output"]]
        self._output_dims = {tensor["name"]: tensor["dims"] for tensor in config["output"] if "reshape" in tensor}
        self._session = ort.InferenceSession(
            str(path), sess_options=session_options(config), providers=providers(args, config)
        )
        # Initializers that are inputs too: what ONNX has for inputs with a default.
        optional = self._session.get_overridable_initializers()
        check_tensors(config, "input", self._session.get_inputs(), optional)
        check_tensors(config, "output", self._session.get_outputs())

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer the requests of one batch, in order."""
        jobs = [self._read(request) for request in requests]
        groups: dict[tuple[Any, ...], list[Job]] = {}
        for position, job in enumerate(jobs):
            if job.error is None:
                alone = (position,) if not self._batches or job.rows < 0 else ()
                groups.setdefault(job.key + alone, []).append(job)
        for group in groups.values():
            self._run(group)
        return [
            pb_utils.InferenceResponse(error=job.error) if job.error else pb_utils.InferenceResponse(job.outputs)
            for job in jobs
        ]

    def finalize(self) -> None:
        """Give the model's memory back."""
        del self._session

    def _read(self, request: Any) -> Job:
        inputs: dict[str, np.ndarray] = {}
        for name in self._input_names:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                # Triton has checked that only optional inputs are missing.
                continue
            array = tensor.as_numpy()
            try:
                inputs[name] = decode_strings(array) if name in self._strings else array
            except UnicodeDecodeError as error:
                words = f"input '{name}' has an element that is not UTF-8: {error}"
                return Job({}, [], error=pb_utils.TritonError(words, pb_utils.TritonError.INVALID_ARG))
        wanted = set(request.requested_output_names())
        return Job(inputs, [name for name in self._output_names if name in wanted])

    def _run(self, group: list[Job]) -> None:
        """Run requests as one batch, or one by one if that fails."""
        try:
            wanted = [name for name in self._output_names if any(name in job.wanted for job in group)]
            if wanted:
                self._share_out(group, dict(zip(wanted, self._session.run(wanted, join(group)), strict=True)))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own that share no base
            if len(group) == 1:
                group[0].error = pb_utils.TritonError(f"ONNX Runtime: {error}", error_code(error))
                return
            for job in group:
                self._run([job])

    def _share_out(self, group: list[Job], outputs: dict[str, Any]) -> None:
        answers: list[list[Any]] = [[] for _ in group]
        for name, output in outputs.items():
            for job, answer, part in zip(group, answers, split(name, np.asarray(output), group), strict=True):
                if name in job.wanted:
                    answer.append(pb_utils.Tensor(name, self._in_shape(name, part)))
        for job, answer in zip(group, answers, strict=True):
            job.outputs = answer

    def _in_shape(self, name: str, array: np.ndarray) -> np.ndarray:
        if array.dtype == object:
            array = np.array([str(item).encode() for item in array.flat], dtype=object).reshape(array.shape)
        dims = self._output_dims.get(name)
        if dims is None:
            return array
        return array.reshape((array.shape[0], *dims) if self._batches else dims)


def join(group: list[Job]) -> dict[str, np.ndarray]:
    """Return the inputs of several requests as one batch."""
    if len(group) == 1:
        return group[0].inputs
    return {name: np.concatenate([job.inputs[name] for job in group]) for name in group[0].inputs}


def split(name: str, output: np.ndarray, group: list[Job]) -> list[np.ndarray]:
    """Return the rows of an output that belong to each request."""
    if len(group) == 1:
        return [output]
    total = sum(job.rows for job in group)
    if not output.ndim or output.shape[0] != total:
        raise ValueError(f"output '{name}' has shape {list(output.shape)}; expected {total} rows for {total} inputs")
    ends = np.cumsum([job.rows for job in group])[:-1]
    return np.split(output, ends)


def decode_strings(array: np.ndarray) -> np.ndarray:
    """Return BYTES elements as the strings that ONNX Runtime wants."""
    items = [item.decode() if isinstance(item, bytes) else str(item) for item in array.flat]
    return np.array(items, dtype=object).reshape(array.shape)


def error_code(error: Exception) -> Any:
    """Say whether the request or the model is to blame, as far as ONNX Runtime tells.

    Its InvalidArgument means two things: an input that does not fit the model, which is the request's fault, or a node
    that could not work with what it got. The second may be a damaged version, which must not look like clients'
    mistakes; NGC's backend calls it an internal error too.
    """
    # Triton's stub adds these names to its module only after it has imported this one.
    codes = pb_utils.TritonError
    unfit = type(error).__name__ == "InvalidArgument" and "while running" not in str(error)
    return codes.INVALID_ARG if unfit else codes.INTERNAL


def session_options(config: dict[str, Any]) -> ort.SessionOptions:
    """Return what NGC's backend would make of the configuration."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    options.graph_optimization_level = GRAPH_LEVELS.get(level, GRAPH_LEVELS[0])
    for name, parameter in config.get("parameters", {}).items():
        try:
            known = set_option(options, name, parameter["string_value"])
        except (ValueError, LookupError) as error:
            raise pb_utils.TritonModelException(
                f"parameter '{name}' is '{parameter['string_value']}', which ONNX Runtime does not take: {error}"
            ) from error
        if not known:
            pb_utils.Logger.log_warn(f"{config['name']}: parameter '{name}' has no effect here")
    return options


def set_option(options: ort.SessionOptions, name: str, value: str) -> bool:
    """Set one of the parameters that NGC's backend knows, and say whether it is one."""
    if name == "intra_op_thread_count":
        options.intra_op_num_threads = int(value)
    elif name == "inter_op_thread_count":
        options.inter_op_num_threads = int(value)
    elif name == "execution_mode":
        modes = {"0": ort.ExecutionMode.ORT_SEQUENTIAL, "1": ort.ExecutionMode.ORT_PARALLEL}
        options.execution_mode = modes[value]
    elif name == "enable_mem_arena":
        options.enable_cpu_mem_arena = is_true(value)
    elif name == "enable_mem_pattern":
        options.enable_mem_pattern = is_true(value)
    elif name.startswith("session."):
        options.add_session_config_entry(name, value)
    else:
        return False
    return True


def is_true(value: str) -> bool:
    """Read a switch as NGC's backend does."""
    return value.lower() in {"1", "true"}


def providers(args: dict[str, str], config: dict[str, Any]) -> list[Any]:
    """Return CUDA for an instance on a GPU where this ONNX Runtime has it, and always the CPU behind it."""
    accelerators = config.get("optimization", {}).get("execution_accelerators")
    if accelerators:
        pb_utils.Logger.log_warn(f"{config['name']}: execution_accelerators have no effect here")
    if args["model_instance_kind"] == "GPU" and "CUDAExecutionProvider" in ort.get_available_providers():
        device = {"device_id": args["model_instance_device_id"]}
        return [("CUDAExecutionProvider", device), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def check_tensors(config: dict[str, Any], side: str, actual: Sequence[Any], optional: Sequence[Any] = ()) -> None:
    """Refuse a configuration whose names, datatypes or shapes are not the model's."""
    by_name = {tensor.name: tensor for tensor in (*actual, *optional)}
    for tensor in config[side]:
        name = tensor["name"]
        found = by_name.get(name)
        if found is None:
            raise pb_utils.TritonModelException(
                f"config.pbtxt has {side} '{name}', but the model's are {', '.join(sorted(by_name))}"
            )
        if tensor.get("allow_ragged_batch"):
            raise pb_utils.TritonModelException(f"{side} '{name}': allow_ragged_batch is not served by this backend")
        if DATATYPES.get(found.type) != tensor["data_type"]:
            raise pb_utils.TritonModelException(
                f"config.pbtxt gives {side} '{name}' {tensor['data_type']}, but the model has {found.type} "
                f"({DATATYPES.get(found.type, 'which this backend does not serve')})"
            )
        dims = list(tensor.get("reshape", {}).get("shape", tensor["dims"]))
        expected = [-1, *dims] if config["max_batch_size"] > 0 else dims
        # The shape of an initializer is its default's, not what it may be replaced by.
        if found in actual and not fits(expected, found.shape):
            raise pb_utils.TritonModelException(
                f"config.pbtxt gives {side} '{name}' shape {expected} (batch first), but the model has {found.shape}"
            )
    if side == "input":
        missing = {tensor.name for tensor in actual} - {tensor["name"] for tensor in config["input"]}
        if missing:
            raise pb_utils.TritonModelException(f"config.pbtxt lacks the model's input {', '.join(sorted(missing))}")


def fits(expected: Sequence[Any], actual: Sequence[Any]) -> bool:
    """Whether a configured shape agrees with the model's, where names and -1 stand for any size.

    ONNX Runtime reports an unknown rank as an empty shape, which therefore fits everything.
    """
    if not actual:
        return True
    if len(expected) != len(actual):
        return False
    batch = len(expected) and expected[0] == -1
    if batch and isinstance(actual[0], int) and actual[0] >= 0:
        return False
    return all(
        want == -1 or not isinstance(have, int) or have < 0 or want == have
        for want, have in zip(expected, actual, strict=True)
    )
