"""A model's weights come from its own folder and from nowhere else, wherever in the graph they are."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from services.core.errors import IntegrityError
from services.triton.layout import RepositoryLayout
from services.triton.onnx_external import external_faults, external_locations
from services.triton.trust import Trust

WEIGHTS = np.arange(16, dtype=np.float32).reshape(4, 4)


def tensor(location: str | None) -> Any:
    """Return a weight in the graph, or in a file of this name."""
    made = numpy_helper.from_array(WEIGHTS, "w")
    if location is not None:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
        made.external_data.add(key="length", value="64")
    return made


def graph(weight: Any, nodes: list[Any] | None = None) -> Any:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y"))
    return helper.make_graph(nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])


def write(folder: Path, made: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())
    return path


def in_a_constant(location: str) -> Any:
    constant = helper.make_node("Constant", [], ["c"], value=tensor(location))
    return graph(tensor(None), [constant, helper.make_node("MatMul", ["x", "c"], ["y"])])


def in_a_branch(location: str) -> Any:
    inner = graph(tensor(location))
    return graph(tensor(None), [helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner)])


@pytest.mark.parametrize("make", [lambda name: graph(tensor(name)), in_a_constant, in_a_branch])
def test_every_name_is_found_wherever_it_stands(tmp_path: Path, make: Any) -> None:
    assert set(external_locations(write(tmp_path, make("../secret")))) == {"../secret"}


def test_a_model_with_its_weights_in_it_names_nothing(tmp_path: Path) -> None:
    assert list(external_locations(write(tmp_path, graph(tensor(None))))) == []
    (tmp_path / "model.onnx").write_bytes(b"")
    assert list(external_locations(tmp_path / "model.onnx")) == []


def link(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(WEIGHTS.tobytes())
    (folder / "weights").symlink_to(folder.parent / "outside")


def hard_link(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(WEIGHTS.tobytes())
    os.link(folder.parent / "outside", folder / "weights")


def linked_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "weights").write_bytes(WEIGHTS.tobytes())
    (folder / "sub").symlink_to(folder.parent / "elsewhere")


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("location", "prepare", "words"),
    [
        ("../../secret", nothing, "leads out of its folder"),
        ("a/../../secret", nothing, "leads out of its folder"),
        ("..\\secret", nothing, "leads out of its folder"),
        ("/etc/passwd", nothing, "leads out of its folder"),
        ("", nothing, "leads out of its folder"),
        ("weights", link, "is a link"),
        ("weights", hard_link, "another name elsewhere"),
        ("sub/weights", linked_folder, "is a link"),
        ("weights", nothing, "is not there"),
    ],
)
def test_weights_from_elsewhere_are_not_loaded(tmp_path: Path, location: str, prepare: Any, words: str) -> None:
    folder = tmp_path / "sums" / "1"
    write(folder, graph(tensor(location)))
    (tmp_path / "sums" / "config.pbtxt").write_text('name: "sums"')
    prepare(folder)
    with pytest.raises(IntegrityError, match=words):
        Trust(RepositoryLayout(tmp_path)).check("sums", 1)


def test_weights_beside_the_model_are_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "sums" / "1"
    model = onnx.load(str(write(folder, graph(tensor(None)))))
    onnx.save_model(
        model, str(folder / "model.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert list(external_locations(folder / "model.onnx")) == ["weights.bin"]
    assert external_faults(folder) == []


@pytest.mark.parametrize("content", [b"\x3a\xff\xff\x7f", b"\x0b", b"no protobuf at all", b"\xff" * 11, b"\x3a"])
def test_what_is_no_model_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    (fault,) = external_faults(tmp_path)
    assert fault.startswith("model.onnx is no ONNX model")


def test_graphs_without_end_are_refused(tmp_path: Path) -> None:
    def nested(field: int, inner: bytes) -> bytes:
        size, header = len(inner), bytearray([field << 3 | 2])
        while size > 0x7F:
            header.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes(header) + bytes([size]) + inner

    inner = b""
    for _ in range(100):
        inner = nested(1, nested(5, nested(6, inner)))  # node, attribute, graph
    (tmp_path / "model.onnx").write_bytes(nested(7, inner))
    assert "levels deep" in external_faults(tmp_path)[0]


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "model.onnx").write_bytes(content)
    assert all(isinstance(fault, str) for fault in external_faults(folder))
