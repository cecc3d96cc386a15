"""The zoo's model repository: a ``config.pbtxt`` for each model, and the Python that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_SOURCES = Path(__file__).parent / "models"

# Datatype on the wire: its name in config.pbtxt.
DATATYPES = {
    "BOOL": "TYPE_BOOL",
    "UINT8": "TYPE_UINT8",
    "UINT16": "TYPE_UINT16",
    "UINT32": "TYPE_UINT32",
    "UINT64": "TYPE_UINT64",
    "INT8": "TYPE_INT8",
    "INT16": "TYPE_INT16",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "FP16": "TYPE_FP16",
    "BF16": "TYPE_BF16",
    "FP32": "TYPE_FP32",
    "FP64": "TYPE_FP64",
    "BYTES": "TYPE_STRING",
}
# Ranks 1 to 3, dynamic, fixed and mixed.
ECHO_DIMS: dict[str, tuple[int, ...]] = {
    "BOOL": (-1,),
    "UINT8": (-1, 2),
    "UINT16": (-1, -1),
    "UINT32": (3,),
    "UINT64": (-1,),
    "INT8": (-1, -1, -1),
    "INT16": (2, 2),
    "INT32": (-1,),
    "INT64": (-1, 1),
    "FP16": (-1,),
    "BF16": (-1, 2),
    "FP32": (-1, -1),
    "FP64": (2, -1),
    "BYTES": (-1,),
}
_ONE_INSTANCE = "instance_group [{ count: 1 kind: KIND_CPU }]\n"
# Without a tensor for the correlation id: Triton 2.51 hands Python a broken one when the id is text.
_CONTROLS = """
sequence_batching {
  max_sequence_idle_microseconds: 600000000
  oldest { max_candidate_sequences: 8 }
  control_input [
    { name: "START" control [{ kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] }] },
    { name: "END" control [{ kind: CONTROL_SEQUENCE_END int32_false_true: [0, 1] }] },
    { name: "READY" control [{ kind: CONTROL_SEQUENCE_READY int32_false_true: [0, 1] }] }
  ]
}
"""


def build_zoo(root: Path) -> dict[str, tuple[int, ...]]:
    """Write every model below ``root`` and return their versions by name."""
    every = [_tensor("input", name, dims, "optional: true") for name, dims in ECHO_DIMS.items()]
    _write(root, "echo", "echo", 0, every + [_tensor("output", name, dims) for name, dims in ECHO_DIMS.items()])
    every = [_tensor("input", name, (-1,), "optional: true") for name in DATATYPES]
    _write(root, "batched", "echo", 4, [*every, *(_tensor("output", name, (-1,)) for name in DATATYPES)])

    scalar = [_tensor(side, "INT32", (1,), "reshape { shape: [] }") for side in ("input", "output")]
    _write(root, "scalar", "echo", 4, scalar)

    # For raw bodies: models of one input.
    _write(root, "vector", "echo", 4, [_tensor(side, "INT16", (-1, 2)) for side in ("input", "output")])
    _write(root, "matrix", "echo", 0, [_tensor(side, "INT16", (-1, -1)) for side in ("input", "output")])
    _write(root, "text", "echo", 0, [_tensor(side, "BYTES", (1,)) for side in ("input", "output")])
    _write(root, "texts", "echo", 4, [_tensor(side, "BYTES", (-1,)) for side in ("input", "output")])

    pair = [_tensor("input", name, (2,), dtype="INT32") for name in ("LEFT", "RIGHT")]
    pair.append(_tensor("input", "BIAS", (2,), "optional: true", dtype="INT32"))
    pair += [_tensor("output", name, (2,), dtype="INT32") for name in ("SUM", "DIFFERENCE")]
    _write(root, "pair", "pair", 8, pair, versions=(1, 2))

    labels = 'label_filename: "labels.txt"'
    scores = [_tensor("input", "FEATURES", (3,), dtype="FP32"), _tensor("output", "SCORES", (3,), labels, dtype="FP32")]
    _write(root, "labelled", "labelled", 8, [*scores, _tensor("output", "ORDER", (3,), dtype="INT64")])
    (root / "labelled" / "labels.txt").write_text("cat\ngrüner hund\nbird\n", encoding="utf-8")

    code = [_tensor("input", "CODE", (1,), dtype="INT32"), _tensor("output", "CODE", (1,), dtype="INT32")]
    _write(root, "faulty", "faulty", 0, code)

    value = [_tensor("input", "VALUE", (1,), dtype="INT32"), _tensor("output", "TOTAL", (1,), dtype="INT32")]
    _write(root, "sequence", "sequence", 8, value, more=_CONTROLS)

    count = [_tensor("input", "COUNT", (1,), dtype="INT32"), _tensor("output", "INDEX", (1,), dtype="INT32")]
    _write(root, "repeat", "repeat", 0, count, more="model_transaction_policy { decoupled: true }\n")

    seen = [_tensor("input", "ANY", (1,), dtype="INT32"), _tensor("output", "SEEN", (1,), dtype="BYTES")]
    _write(root, "parameters", "parameters", 0, seen)
    return {path.name: tuple(sorted(int(one.name) for one in path.glob("[0-9]*"))) for path in root.iterdir()}


def _tensor(side: str, name: str, dims: Sequence[int], more: str = "", dtype: str = "") -> str:
    listed = ", ".join(map(str, dims))
    return f'{side} [{{ name: "{name}" data_type: {DATATYPES[dtype or name]} dims: [{listed}] {more} }}]\n'


def _write(
    root: Path,
    model: str,
    source: str,
    max_batch_size: int,
    tensors: Sequence[str],
    *,
    more: str = "",
    versions: Sequence[int] = (1,),
) -> None:
    for version in versions:
        folder = root / model / str(version)
        folder.mkdir(parents=True)
        (folder / "model.py").write_text((_SOURCES / f"{source}.py").read_text("utf-8"), "utf-8")
    head = f'name: "{model}"\nbackend: "python"\nmax_batch_size: {max_batch_size}\n'
    (root / model / "config.pbtxt").write_text(head + "".join(tensors) + more + _ONE_INSTANCE, "utf-8")
