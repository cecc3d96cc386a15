"""From an ONNX graph to a serialised engine. Precision is in the graph: networks are strongly typed, in 10 as in 11."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from enginebuild.recipe.engine import Engine as Options
from enginebuild.targets.tensorrt.bindings import ErrorLog, major_version
from enginebuild.targets.tensorrt.profiles import Profile
from services.core.errors import BuildFailed

_MIB = 1 << 20
_SHOWN_ERRORS = 3
# The last version in which strong typing is a choice.
_WEAK_TOO = 10


class EngineBuilder:
    """Builds engines.

    Args:
        trt: The module ``tensorrt``.
        options: How, from the recipe.
        log: What TensorRT says.
        say: Tells a person what is under way.
    """

    def __init__(self, trt: Any, options: Options, log: ErrorLog, say: Callable[[str], None]) -> None:
        self._trt, self._options, self._log, self._say = trt, options, log, say

    def build(
        self, source: Path, profiles: Mapping[str, Profile], timing_cache: Path | None, *, sparse: bool = False
    ) -> bytes:
        """Return the engine of an ONNX file.

        Args:
            source: The ONNX file, whose types are the engine's.
            profiles: Shapes of every input, batch first.
            timing_cache: File of layers timed before, read and written; None to time every layer anew.
            sparse: Whether its weights are 2:4 sparse.

        Raises:
            BuildFailed: TensorRT cannot parse it, lacks an operator, or finds no implementation of it.
        """
        trt = self._trt
        builder = trt.Builder(self._log.logger)
        network = builder.create_network(self._flags())
        parser = trt.OnnxParser(network, self._log.logger)
        if not parser.parse_from_file(str(source)):
            raise BuildFailed(f"TensorRT cannot read {source.name}: {self._parser_errors(parser)}")
        config = self._config(builder)
        if sparse:
            config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        if config.add_optimization_profile(self._profile(builder, network, profiles)) < 0:
            raise BuildFailed(f"TensorRT refuses the profile of {source.name}: {self._log.text}")
        cache = self._read_cache(config, timing_cache)
        self._say(f"building an engine of {source.name} at level {self._options.level}")
        serialized = builder.build_serialized_network(network, config)
        if serialized is None:  # no exception, whatever went wrong
            raise BuildFailed(f"TensorRT builds no engine of {source.name}: {self._log.text}")
        if timing_cache is not None:
            _write(timing_cache, bytes(cache.serialize()))
        return bytes(serialized)

    def _flags(self) -> int:
        if major_version(self._trt) > _WEAK_TOO:
            return 0  # there is no other kind of network, and the flag does nothing
        return 1 << int(self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def _config(self, builder: Any) -> Any:
        trt, options = self._trt, self._options
        config = builder.create_builder_config()
        config.builder_optimization_level = options.level
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        # On by default, and no FP32: ten bits of mantissa.
        config.clear_flag(trt.BuilderFlag.TF32)
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
        if options.hardware_compatible:
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        if options.version_compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        return config

    def _profile(self, builder: Any, network: Any, profiles: Mapping[str, Profile]) -> Any:
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            if tensor.is_shape_tensor:
                raise BuildFailed(f"input '{tensor.name}' is used as a shape; an engine of this build takes data only")
            shapes = profiles[tensor.name]
            profile.set_shape(tensor.name, shapes.min, shapes.opt, shapes.max)
        return profile

    def _read_cache(self, config: Any, path: Path | None) -> Any:
        known = path.read_bytes() if path is not None and path.is_file() else b""
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            self._say("the timing cache is of another TensorRT or GPU, or damaged, and is written anew")
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        return cache

    def _parser_errors(self, parser: Any) -> str:
        found = [parser.get_error(index) for index in range(parser.num_errors)]
        words = [f"node {error.node()} ({error.node_operator()}): {error.desc()}" for error in found]
        return "; ".join(words[:_SHOWN_ERRORS]) or self._log.text


def timing_cache_file(version: str, device: str, compute_capability: str) -> Path:
    """Return the file of the timings for one TensorRT on one kind of GPU: they are true for no other."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = "".join(c if c.isalnum() else "_" for c in device)
    return caches / "penstock" / "tensorrt" / f"{version}-{name}-{compute_capability}.timing"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)
