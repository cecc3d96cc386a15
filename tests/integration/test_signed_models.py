"""Signed versions, from the build to a controller and a Triton that load nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import tiny_recipe
from tests.fakes.running_controller import running_controller
from tests.fakes.running_triton import running_triton
from tests.fakes.signing_keys import write_keys

pytestmark = pytest.mark.integration


def penstock(*arguments: str, code: int = 0) -> Any:
    command = [sys.executable, "-m", "services.cli.main", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout or done.stderr)


def test_only_what_was_signed_and_is_whole_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = write_keys(tmp_path / "keys")
    recipe, repository = tiny_recipe.write(tmp_path / "recipe"), tmp_path / "repository"
    build = ("build", str(recipe), "--repository", str(repository), "--variant", "fp32")
    penstock(*build, "--sign-key", str(private))
    penstock(*build)
    penstock(*build, "--sign-key", str(private))
    damaged = repository / "sums" / "3" / "model.onnx"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)

    verify = ("models", "verify", "sums")
    options = ("--repository", str(repository), "--public-key", str(public))
    assert penstock(*verify, "1", *options)["verified"]
    assert "is not signed" in penstock(*verify, "2", *options, code=1)["faults"][0]
    assert len(penstock(*verify, "3", *options, code=1)["faults"]) == 2

    monkeypatch.setenv("PENSTOCK_PUBLIC_KEY", str(public))
    with running_triton(repository, tmp_path / "triton") as triton:  # noqa: SIM117 - one begins when the other is there
        with running_controller(repository, triton.address, tmp_path / "state") as controller:
            # The newest that may be loaded: 3 is damaged, 2 is not signed.
            controller.until("/v1/models/sums", lambda model: model.get("stable") == 1 and model["loaded"] == [1])
            for version, words in ((2, "is not signed"), (3, "is not what was published: model.onnx has sha256")):
                started = controller.post("/v1/rollouts", {"model": "sums", "version": version}).json()
                over = controller.until(f"/v1/rollouts/{started['id']}", lambda rollout: not rollout["active"])
                assert over["phase"] == "failed"
                assert words in over["reason"]
                controller.until("/v1/models/sums", lambda model: model["loaded"] == [1])

            prune = ("models", "prune", "sums", "--keep", "1", "--repository", str(repository))
            assert "no controller answers" in penstock(*prune, "--controller", "http://127.0.0.1:1", code=1)["error"]
            # Version 1 is in service, 3 is the newest.
            assert penstock(*prune, "--controller", controller.url) == {
                "model": "sums",
                "removed": [2],
                "left": [1, 3],
            }
    assert penstock(*prune, "--unserved")["left"] == [3]


def test_a_key_that_is_none_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    recipe, repository = tiny_recipe.write(tmp_path / "recipe"), tmp_path / "repository"
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no key")
    build = ("build", str(recipe), "--repository", str(repository), "--sign-key", str(wrong))
    assert "expected an elliptic-curve key in PEM" in penstock(*build, code=2)["error"]
    assert not repository.exists()
    assert not (tmp_path / "recipe" / "checkpoint.safetensors").exists()
