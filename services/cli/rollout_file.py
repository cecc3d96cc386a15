"""The YAML file of ``penstock rollout start --file``."""

from __future__ import annotations

from pydantic import Field

from services.controller.api.rest_models import RolloutModel


class RolloutFile(RolloutModel):
    """A rollout as it shall go; model and version may be given on the command line instead."""

    model: str = Field("", description="Model name.")
    version: int = Field(0, description="The candidate: a published version that is not the stable one.")
