"""What ``penstock models`` and ``penstock build`` say, and how they end."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.cli.main import main
from tests.fakes import tiny_recipe
from tests.fakes.releases import publish_many


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions; the configuration changed between them."""
    repository = tmp_path_factory.mktemp("repository")
    publish_many(repository, 3, lambda text: None)
    return repository


@pytest.fixture
def repository(published: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    subprocess.run(["cp", "-r", str(published), str(tmp_path / "repository")], check=True)
    return tmp_path / "repository"


@pytest.fixture
def penstock(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process; return exit code, output, error output."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return run


Penstock = Callable[..., tuple[int, str, str]]


def as_json(penstock: Penstock, *arguments: str) -> Any:
    code, out, err = penstock(*arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_list_names_every_version_with_its_accuracy_and_gate(penstock: Penstock, repository: Path) -> None:
    found = as_json(penstock, "models", "list", "--repository", str(repository))
    assert [(entry["model"], entry["version"]) for entry in found] == [("sums", 1), ("sums", 2), ("sums", 3)]
    assert found[0]["metrics"][0]["value"] == 1.0
    assert found[0]["quality"] == "accuracy 100.00%"
    assert found[0]["gate"] == {"passed": True, "reasons": [], "waiver": None}
    assert "sums" in penstock("models", "list", "--repository", str(repository))[1]


def test_one_damaged_manifest_does_not_hide_the_other_versions(penstock: Penstock, repository: Path) -> None:
    (repository / "sums/1/manifest.json").write_text("{")
    (repository / "sums/2/manifest.json").unlink()
    found = as_json(penstock, "models", "list", "--repository", str(repository))
    assert "manifest.json" in found[0]["fault"]
    assert found[1]["fault"] == "no manifest.json"
    assert found[2]["precision"] == "fp32"


def test_show_gives_the_manifest_of_a_version_or_of_the_newest(penstock: Penstock, repository: Path) -> None:
    options = ["--repository", str(repository)]
    assert as_json(penstock, "models", "show", "sums", "2", *options)["version"] == 2
    assert as_json(penstock, "models", "show", "sums", *options)["version"] == 3
    assert "passed" in penstock("models", "show", "sums", *options)[1]


def test_verify_is_content_with_what_was_published(penstock: Penstock, repository: Path) -> None:
    for version in ("1", "2", "3"):
        found = as_json(penstock, "models", "verify", "sums", version, "--repository", str(repository))
        assert found == {"model": "sums", "version": int(version), "verified": True, "faults": []}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def other_manifest(folder: Path) -> None:
    (folder / "2/manifest.json").write_bytes((folder / "1/manifest.json").read_bytes())


def linked(folder: Path) -> None:
    (folder / "2/model.onnx").rename(folder / "elsewhere.onnx")
    (folder / "2/model.onnx").symlink_to(folder / "elsewhere.onnx")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: flip(folder / "2/model.onnx"), "model.onnx has sha256"),
        (lambda folder: (folder / "2/model.onnx").write_bytes(b"short"), "model.onnx has 5 bytes, published with 2000"),
        (lambda folder: (folder / "2/model.onnx").unlink(), "model.onnx is missing"),
        (lambda folder: (folder / "2/extra").write_text("x"), "extra is not in the manifest"),
        (lambda folder: (folder / "config.pbtxt").write_text('name: "sums"\n'), "config.pbtxt is not what"),
        (lambda folder: (folder / "labels.txt").write_text("b\na\n"), "labels.txt has other classes"),
        (lambda folder: (folder / "labels.txt").unlink(), "the labels of output 'scores' are missing"),
        (linked, "model.onnx is not a plain file"),
        (other_manifest, "is that of sums version 1"),
        (lambda folder: (folder / "2/manifest.json").unlink(), "has no manifest.json"),
        (lambda folder: (folder / "2/manifest.json").write_text("[]"), "expected an object"),
    ],
    ids=range(11),
)
def test_verify_finds_every_change(
    penstock: Penstock, repository: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(repository / "sums")
    code, _, err = penstock("models", "verify", "sums", "2", "--repository", str(repository))
    assert code == 1
    assert words in err.replace("\n", " ")


def test_a_config_of_a_later_build_is_right_for_an_earlier_version(penstock: Penstock, repository: Path) -> None:
    newest = tiny_recipe.config_pbtxt(serving={"max_batch_size": 8})
    assert (repository / "sums/config.pbtxt").read_text() == newest
    assert penstock("models", "verify", "sums", "2", "--repository", str(repository))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "nothing"], 1, "no model 'nothing'"),
        (["show", "sums", "9"], 1, "no version 9"),
        (["verify", "sums", "0"], 2, "0 is not in the range"),
        (["verify", "sums", "one"], 2, "'one' is not a valid integer"),
        (["verify", "../sums", "1"], 1, "no model '../sums'"),
    ],
)
def test_what_does_not_exist_is_told(
    penstock: Penstock, repository: Path, arguments: list[str], code: int, words: str
) -> None:
    found, _, err = penstock("models", *arguments, "--repository", str(repository))
    assert found == code
    assert words in err


def test_a_wrong_key_in_a_recipe_ends_with_2_and_names_file_and_line(penstock: Penstock, tmp_path: Path) -> None:
    recipe = tiny_recipe.write(tmp_path / "recipe", varients=["fp32"])
    code, _, err = penstock("build", str(recipe), "--repository", str(tmp_path / "repository"))
    assert code == 2
    assert "unknown key 'varients'; did you mean 'variants'?" in err
    assert not (tmp_path / "repository").exists()


def test_without_a_gpu_tensorrt_is_refused_in_one_line_with_3_and_nothing_is_done(
    penstock: Penstock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hides a GPU that this machine may have
    recipe, repository = tiny_recipe.write(tmp_path / "recipe"), tmp_path / "repository"
    code, out, err = penstock("build", str(recipe), "--target", "tensorrt", "--repository", str(repository), "--json")
    assert (code, out) == (3, "")
    assert "NVIDIA driver" in json.loads(err)["error"]
    assert not repository.exists()
    assert not (tmp_path / "recipe" / "checkpoint.safetensors").exists()


def test_a_refusal_ends_with_1_and_the_reason_also_as_json(penstock: Penstock, tmp_path: Path) -> None:
    gate = {"metrics": {"accuracy": {"min": 1.0}}, "min_speedup": {"fp32": 99}}
    recipe = tiny_recipe.write(tmp_path / "recipe", gate=gate, variants=["fp32"])
    arguments = ["build", str(recipe), "--repository", str(tmp_path / "repository")]
    code, out, err = penstock(*arguments, "--json")
    assert code == 1
    assert json.loads(out)["published"] is None
    assert "times as fast as FP32, 99 demanded" in json.loads(err)["error"]
    code, out, err = penstock(*arguments)
    assert code == 1
    assert "refused" in out
    assert "99 demanded" in err


def test_a_report_is_written_whatever_the_verdict(penstock: Penstock, tmp_path: Path) -> None:
    gate = {"metrics": {"accuracy": {"min": 0.5}}, "min_speedup": {"fp32": 99}}
    recipe = tiny_recipe.write(tmp_path / "recipe", gate=gate, variants=["fp32"])
    report = tmp_path / "reports" / "sums.html"
    code, _, _ = penstock("build", str(recipe), "--repository", str(tmp_path / "repository"), "--report", str(report))
    assert code == 1
    assert "the gate refuses every variant" in report.read_text(encoding="utf-8")
