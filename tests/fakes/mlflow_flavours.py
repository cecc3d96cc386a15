"""What a data scientist does: logs networks with MLflow's own flavours, and registers them.

    python -m tests.fakes.mlflow_flavours SERVER NAME

registers three versions of NAME, with a network that does what ``tiny_recipe`` asks for: 1 pickled by the pytorch
flavour, 2 by it as a torch.export file, 3 a pickled Python function.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings
from pathlib import Path

_TIMEOUT_S = 120.0
ROOT = Path(__file__).parents[2]


def log_flavours(address: str, name: str) -> None:
    """Run this file as a process, so that MLflow's global state stays in there."""
    command = [sys.executable, "-m", "tests.fakes.mlflow_flavours", address, name]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr


def main() -> None:
    """Log and register."""
    import mlflow
    import mlflow.pyfunc
    import mlflow.pytorch
    import numpy as np
    import torch
    from mlflow.models.signature import ModelSignature
    from mlflow.types import Schema, TensorSpec

    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("name")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    mlflow.set_tracking_uri(options.server)
    mlflow.set_experiment(options.name)

    class Constant(mlflow.pyfunc.PythonModel):  # type: ignore[misc] # it has no types
        """Answers the same to everything."""

        def predict(self, context: object, model_input: object, params: object = None) -> list[int]:
            """Answer."""
            return [0]

    class Sums(torch.nn.Module):
        """Scores the larger of two sums."""

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """Score."""
            scores = torch.stack([left.sum(1), right.sum(1)], dim=1)
            return scores, scores[:, :1] - scores[:, 1:]

    network, example = Sums().eval(), [np.ones((2, 4), np.float32), np.ones((2, 4), np.float32)]
    names = ("left", "right")
    signature = ModelSignature(Schema([TensorSpec(np.dtype(np.float32), (-1, 4), name) for name in names]))
    common = {"registered_model_name": options.name, "pip_requirements": ["torch"]}
    for format_ in ("pickle", "pt2"):
        with mlflow.start_run():
            mlflow.pytorch.log_model(
                network,
                name="model",
                input_example=example,
                signature=signature,
                serialization_format=format_,
                **common,
            )
    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="model", python_model=Constant(), **common)


if __name__ == "__main__":
    main()
