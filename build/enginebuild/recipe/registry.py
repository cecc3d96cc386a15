"""A file that a recipe takes from MLflow's model registry."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from enginebuild.recipe.references import Part

# What MLflow's flavours leave behind: they are code.
_PICKLES = (".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill")
LOG_INSTEAD = (
    "MLflow's pickled flavours are code, and Penstock never loads them: log the weights alone "
    "(safetensors.torch.save_file(network.state_dict(), 'model.safetensors') and mlflow.log_artifact), or the network "
    "with torch.export (mlflow.pytorch.log_model(..., serialization_format='pt2'))"
)


def _artifact(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.as_posix() != path or parts.is_absolute() or ".." in parts.parts or "\\" in path or not parts.name:
        raise ValueError("expected a path among the version's artifacts, such as weights/model.safetensors")
    if parts.suffix in _PICKLES:
        raise ValueError(f"'{parts.name}' is a pickle. {LOG_INSTEAD}")
    return path


ArtifactPath = Annotated[str, AfterValidator(_artifact)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class MlflowFile(Part):
    """A file among the artifacts of a registered model in MLflow.

    The version is a number, or what an alias points to when the build runs; the manifest says which it was. Without
    ``server`` it is that of MLFLOW_TRACKING_URI. With ``sha256`` nothing else is taken.
    """

    model: Annotated[str, StringConstraints(pattern=r"^[^/:'\"\\]{1,250}$")]
    version: int | None = Field(None, ge=1)
    alias: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,255}$")] | None = None
    path: ArtifactPath
    sha256: Sha256 | None = None
    server: Annotated[str, StringConstraints(pattern=r"^https?://[^@]+$")] | None = None
    max_bytes: int = Field(16 << 30, ge=1, description="The largest file that is fetched.")

    @model_validator(mode="after")
    def _one_of_both(self) -> MlflowFile:
        if (self.version is None) == (self.alias is None):
            raise ValueError("expected either version or alias")
        return self

    @property
    def source(self) -> str:
        """What it is, for a message."""
        chosen = f"version {self.version}" if self.version is not None else f"alias '{self.alias}'"
        return f"{self.path} of '{self.model}', {chosen}, in MLflow"
