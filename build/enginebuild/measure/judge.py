"""Runs a converted network on the held-out data and holds it against the gate's rules on accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from enginebuild.candidates import Made, Quality
from enginebuild.data import Dataset
from enginebuild.datatypes import Arrays
from enginebuild.gate import Evidence, accuracy_objections
from enginebuild.measure.evaluate import CONFIDENCE, evaluate, fidelity
from enginebuild.measure.metric import Metric
from enginebuild.network import check_outputs
from enginebuild.recipe.recipe import Recipe
from enginebuild.targets.target import Model


class Judge:
    """Judges converted networks.

    Args:
        recipe: What is demanded.
        data: The held-out data.
        metrics: The recipe's metrics on them.
        reference: Outputs of the FP32 PyTorch network on them.
    """

    def __init__(self, recipe: Recipe, data: Dataset, metrics: Sequence[Metric], reference: Arrays) -> None:
        self._recipe, self._data, self._metrics, self._reference = recipe, data, metrics, reference

    def judge(self, made: Made, model: Model) -> Quality:
        """Return how good it is, from its outputs on the held-out data.

        Raises:
            BuildFailed: The runtime cannot run it, or none of its outputs can be measured.
        """
        recipe = self._recipe
        outputs = model.run_all(self._data.inputs, recipe.serving.max_batch_size)
        check_outputs(made.path.name, recipe.outputs, outputs, self._data.samples)
        confidence = recipe.gate.confidence or CONFIDENCE
        metrics = evaluate(self._metrics, outputs, self._reference, recipe.seed, confidence)
        close = fidelity(recipe, outputs, self._reference)
        evidence = Evidence(made.variant.rules, made.variant.is_baseline, metrics, close, speedup=None, batching=None)
        return Quality(metrics, close, accuracy_objections(evidence, recipe.gate), outputs)
