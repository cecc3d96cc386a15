"""The models that are served meanwhile: one whose health a real inference can prove, one without a sample for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loadtest.bench.model import SMALL, WIDTH

PLAIN = replace(SMALL, name="chaos_plain")
SAMPLED = replace(SMALL, name="chaos_sampled")
MODELS = (PLAIN, SAMPLED)
_WARM_UP = f"""model_warmup [{{
  name: "zeros" batch_size: 1
  inputs {{ key: "x" value {{ data_type: TYPE_FP32 dims: [{WIDTH}] zero_data: true }} }}
}}]
"""


def publish_models(repository: Path) -> None:
    """Write both into a repository; errors as in ``BenchModel.publish``."""
    for model in MODELS:
        model.publish(repository)
    config = repository / SAMPLED.name / "config.pbtxt"
    config.write_text(config.read_text("utf-8") + _WARM_UP, encoding="utf-8")
