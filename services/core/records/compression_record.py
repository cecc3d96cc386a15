"""What was done to a trained network before it was converted, for its manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkRebuildEntry:
    """Whether a compressed network comes out the same when it is made again on the same machine.

    Attributes:
        builds: How often it was made, the published one included.
        identical: How many of the others are the same, byte for byte, as ONNX in FP32.
        differing: The tensors that differ in some of them.
        max_difference: Largest difference of an element; None where tensors differ in shape.
    """

    builds: int
    identical: int
    differing: tuple[str, ...]
    max_difference: float | None


@dataclass(frozen=True, slots=True)
class CompressionEntry:
    """What was done to the trained network before it was converted.

    Attributes:
        techniques: In words, in their order.
        fine_tuned_by: The recipe's function that trained the result.
        parameters: How many parameters are left.
        threads: Of PyTorch in the fine-tuning, by which the weights differ.
        rebuild: Whether the same comes out again; None where it was made once.
    """

    techniques: tuple[str, ...]
    fine_tuned_by: str
    parameters: int
    threads: int
    rebuild: NetworkRebuildEntry | None
