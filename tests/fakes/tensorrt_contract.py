"""Objects that keep to the classes of the real TensorRT bindings, and do what a test says.

An attribute that the real class lacks, a property that cannot be set, an argument of another name or type: each fails
as it would on a GPU machine. pybind11 writes every signature into the docstring, and from there it is read.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

_OVERLOAD = re.compile(r"^(?:\d+\. )?(?P<name>\w+)\((?P<parameters>.*)\) -> (?P<returns>.+)$")
_NUMBERS = {
    "int": "__int__",
    "typing.SupportsInt": "__int__",
    "float": "__float__",
    "typing.SupportsFloat": "__float__",
}
_NATIVE = re.compile(r"^(?:[\w.]+\.|\w+::)+(?P<name>\w+)$")
# What the C++ side calls differently.
_RENAMED = {"IParserError": "ParserError"}
_REQUIRED = object()

Answer = Callable[..., Any]


class Contract:
    """The module ``tensorrt`` with objects of this file in place of those that need its libraries.

    Attributes:
        calls: Every method that was called, as ``Class.method``, with its arguments by name.

    Args:
        real: The real bindings.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self._answers: dict[tuple[str, str], Answer] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def answer(self, kind: str, name: str, answer: Answer) -> None:
        """Say what a method returns, or which value a property has.

        Args:
            kind: The class.
            name: Its method or property.
            answer: Called with the object and the arguments.
        """
        self.attribute(getattr(self._real, kind), name)
        self._answers[kind, name] = answer

    def new(self, kind: str, **state: Any) -> Bound:
        """Return an object of a class; ``state`` is for the answers."""
        return Bound(self, getattr(self._real, kind), state)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)  # as the real module: AttributeError where there is none
        if not inspect.isclass(found) or hasattr(found, "__members__") or name in ("ILogger", "Logger", "IProfiler"):
            return found

        def construct(*args: Any, **keywords: Any) -> Any:
            return self.call(Bound(self, found, {}), "__init__", args, keywords)

        return construct

    def attribute(self, kind: type, name: str) -> Any:
        """Return the real attribute of a class.

        Raises:
            AttributeError: The real class has none of this name.
        """
        for base in kind.__mro__:
            if name in vars(base):
                return vars(base)[name]
        raise AttributeError(f"{kind.__name__} has no attribute '{name}'")

    def call(self, bound: Bound, name: str, args: Sequence[Any], keywords: dict[str, Any]) -> Any:
        """Call a method: check the arguments, write it down, answer."""
        kind: type = object.__getattribute__(bound, "_kind")
        arguments, returns = self._fitting(kind, name, args, keywords)
        self.calls.append((f"{kind.__name__}.{name}", arguments))
        if (answer := self._answers.get((kind.__name__, name))) is not None:
            return answer(bound, *arguments.values())
        return bound if name == "__init__" else self._default(returns)

    def read(self, bound: Bound, name: str) -> Any:
        """Return a property's value: what was set, or what the test says."""
        kind, state = object.__getattribute__(bound, "_kind"), bound.state
        if name in state:
            return state[name]
        if (answer := self._answers.get((kind.__name__, name))) is not None:
            return answer(bound)
        raise AssertionError(f"the test does not say what {kind.__name__}.{name} is")

    def check(self, annotation: str, value: Any, what: str) -> None:
        """Require that a value is what an annotation says.

        Raises:
            TypeError: It is not.
        """
        if not self._is(annotation, value):
            raise TypeError(f"{what}: {value!r} is no {annotation}")

    def _fitting(
        self, kind: type, name: str, args: Sequence[Any], keywords: dict[str, Any]
    ) -> tuple[dict[str, Any], str]:
        signatures = _signatures(self.attribute(kind, name).__doc__ or "")
        assert signatures, f"{kind.__name__}.{name} shows no signature"
        reasons = []
        for parameters, returns in signatures:
            try:
                arguments = _assigned(parameters[1:], args, keywords)  # without self
                for (parameter, annotation, _), value in zip(parameters[1:], arguments.values(), strict=True):
                    if value is not _REQUIRED:
                        self.check(annotation, value, parameter)
            except TypeError as error:
                reasons.append(str(error))
            else:
                return {key: value for key, value in arguments.items() if value is not _REQUIRED}, returns
        raise TypeError(f"{kind.__name__}.{name}: {'; '.join(reasons)}")

    def _is(self, annotation: str, value: Any) -> bool:
        if " | " in annotation:
            return any(self._is(part.strip(), value) for part in annotation.split(" | "))
        if annotation in ("str", "bool", "tuple", "None"):
            return type(value).__name__.removesuffix("Type") == annotation
        if annotation in _NUMBERS:
            return hasattr(value, _NUMBERS[annotation]) and not isinstance(value, str)
        if annotation in ("bytes", "typing_extensions.Buffer", "collections.abc.Buffer"):
            return isinstance(value, bytes | bytearray | memoryview)
        native = self._native(annotation)
        assert native is not None, f"nobody knows what '{annotation}' takes"
        if native is self._real.Dims:
            return isinstance(value, native | tuple | list) and all(isinstance(size, int) for size in value)
        return value is None or isinstance(value, native) or (isinstance(value, Bound) and value.is_a(native))

    def _native(self, annotation: str) -> Any:
        match = _NATIVE.match(annotation)
        name = match["name"] if match else annotation
        return getattr(self._real, _RENAMED.get(name, name), None)

    def _default(self, returns: str) -> Any:
        simple: dict[str, Any] = {"None": None, "bool": True, "int": 0, "str": ""}
        if returns in simple:
            return simple[returns]
        native = self._native(returns)
        assert inspect.isclass(native), f"the test does not say what gives the {returns}"
        return Bound(self, native, {})


class Bound:
    """An object of a real class.

    Attributes:
        state: What the answers keep in it.
    """

    state: dict[str, Any]

    def __init__(self, contract: Contract, kind: type, state: dict[str, Any]) -> None:
        object.__setattr__(self, "_contract", contract)
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "state", state)

    def is_a(self, kind: type) -> bool:
        """Return whether its class is, or comes from, another."""
        return issubclass(object.__getattribute__(self, "_kind"), kind)

    def __getattr__(self, name: str) -> Any:
        contract: Contract = object.__getattribute__(self, "_contract")
        found = contract.attribute(object.__getattribute__(self, "_kind"), name)
        if isinstance(found, property):
            return contract.read(self, name)
        return lambda *args, **keywords: contract.call(self, name, args, keywords)

    def __setattr__(self, name: str, value: Any) -> None:
        contract: Contract = object.__getattribute__(self, "_contract")
        kind: type = object.__getattribute__(self, "_kind")
        found = contract.attribute(kind, name)
        if not isinstance(found, property) or found.fset is None:
            raise AttributeError(f"{kind.__name__}.{name} cannot be set")
        for parameters, _ in _signatures(found.fset.__doc__ or ""):
            contract.check(parameters[-1][1], value, f"{kind.__name__}.{name}")
        contract.calls.append((f"{kind.__name__}.{name}", {"value": value}))
        self.state[name] = value

    def __bytes__(self) -> bytes:
        return bytes(self.state["content"])


def _signatures(text: str) -> list[tuple[list[tuple[str, str, Any]], str]]:
    """Return parameters (name, annotation, default) and return annotation of each overload in a docstring."""
    found = []
    for line in text.splitlines():
        match = _OVERLOAD.match(line.strip())
        # Setters are called by no name of their own.
        if match is None:
            match = re.match(r"^\((?P<parameters>.*)\) -> (?P<returns>.+)$", line.strip())
        if match is not None and not match["parameters"].startswith("*args"):
            found.append(([_parameter(part) for part in _parted(match["parameters"])], match["returns"]))
    return found


def _parameter(text: str) -> tuple[str, str, Any]:
    declared, equals, default = text.partition(" = ")
    name, _, annotation = declared.partition(": ")
    return name, annotation, default if equals else _REQUIRED


def _parted(text: str) -> list[str]:
    """Return what stands between the commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[(<") - (character in "])>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _assigned(
    parameters: Sequence[tuple[str, str, Any]], args: Sequence[Any], keywords: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments by name; what has a default and was not given is left out as ``_REQUIRED``."""
    names = [name for name, _, _ in parameters]
    if len(args) > len(parameters):
        raise TypeError(f"takes {len(parameters)} arguments, {len(args)} given")
    given = dict(zip(names, args, strict=False))
    for name, value in keywords.items():
        if name not in names or name in given:
            raise TypeError(f"has no argument '{name}', or has it twice; it takes {', '.join(names)}")
        given[name] = value
    if missing := [name for name, _, default in parameters if default is _REQUIRED and name not in given]:
        raise TypeError(f"lacks {', '.join(missing)}")
    return {name: given.get(name, _REQUIRED) for name in names}
