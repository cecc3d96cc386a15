"""How a verb is found, and how an error reaches a person or a program."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.console import Console
from services.cli.main import VERBS, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli.main", *arguments], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_and_takes_json(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "Commands:" in told or "--json" in told


def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom services.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnx', 'locust', 'grpc', 'sqlalchemy', 'fastapi', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_unknown_verb_is_a_usage_error() -> None:
    done = run("upp")
    assert done.returncode == 2
    assert "upp" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_is_one_clean_line_and_with_json_an_object(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.yaml")
    plain, program = run("config", "show", "--config", missing), run("config", "show", "--config", missing, "--json")
    assert plain.returncode == program.returncode == 2
    assert plain.stderr.startswith("penstock: ")
    assert "none.yaml" in json.loads(program.stderr)["error"]
    assert program.stdout == ""


def test_the_schema_of_every_yaml_file_is_a_json_schema() -> None:
    schemas = json.loads(run("config", "schema", "--json").stdout)
    assert set(schemas) == {"settings", "recipe", "slo", "rollout"}
    assert all(schema["type"] == "object" and schema["properties"] for schema in schemas.values())


def test_brackets_in_a_message_are_not_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say("shape [1, 64] of [bold]x[/bold]")
    console.table("", ("a",), [("[red]1[/red]",)])
    told = capsys.readouterr().out
    assert "shape [1, 64] of [bold]x[/bold]" in told
    assert "[red]1[/red]" in told


def test_with_json_nothing_but_the_result_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(json_only=True)
    console.say("words")
    console.table("", ("a",), [(1,)])
    with console.progress("working"):
        console.result({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1}
