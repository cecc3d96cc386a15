"""An old version that is pulled alone: it verifies, and a Triton serves it as it was built."""

import json
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
import yaml

from services.triton.layout import RepositoryLayout
from tests.fakes import tiny_recipe
from tests.fakes.running_controller import running_controller
from tests.fakes.running_triton import running_triton
from tests.integration.test_signed_models import penstock

pytestmark = pytest.mark.integration


def ask(port: int, rows: int) -> list[float]:
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [rows, 4], "data": np.full(4 * rows, value).tolist()}
        for name, value in (("left", 1.0), ("right", 0.5))
    ]
    body = json.dumps({"inputs": inputs, "outputs": [{"name": "scores"}]}).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}/v2/models/sums/versions/1/infer", body), timeout=10) as answer:
        return json.loads(answer.read())["outputs"][0]["data"]  # type: ignore[no-any-return]


def test_an_old_version_that_was_pulled_alone_verifies_and_serves(tmp_path: Path) -> None:
    recipe, repository, elsewhere = tiny_recipe.write(tmp_path / "recipe"), tmp_path / "here", tmp_path / "elsewhere"
    build = ("build", str(recipe), "--repository", str(repository), "--variant", "fp32")
    penstock(*build)
    changed = yaml.safe_load(recipe.read_text())
    changed["serving"] = {"max_batch_size": 4, "threads": 1}
    recipe.write_text(yaml.safe_dump(changed))
    penstock(*build)
    store = f"file://{tmp_path / 'store'}"
    for version in ("1", "2"):
        penstock("models", "push", "sums", version, "--to", store, "--repository", str(repository))
    penstock("models", "pull", "sums", "1", "--from", store, "--repository", str(elsewhere))
    assert penstock("models", "verify", "sums", "1", "--repository", str(elsewhere))["verified"]
    assert RepositoryLayout(elsewhere).config("sums").max_batch_size == 16
    with running_triton(elsewhere, tmp_path / "triton") as triton:  # noqa: SIM117 - one begins when the other is there
        with running_controller(elsewhere, triton.address, tmp_path / "state") as controller:
            controller.until("/v1/models/sums", lambda model: model.get("loaded") == [1])
            assert ask(triton.http_port, 16) == [4.0, 2.0] * 16  # more than version 2 takes at once
