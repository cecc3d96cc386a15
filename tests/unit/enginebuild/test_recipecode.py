"""The recipe's own code runs in its folder, alone, and its mistakes are told as such."""

import json
import sys
from pathlib import Path

import pytest
from enginebuild.recipecode import RecipeCode

from services.core.errors import ConfigurationError


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_files_of_a_recipe_import_one_another_by_name(tmp_path: Path) -> None:
    write(tmp_path, tools="VALUE = 7", data="import tools\ndef value(): return tools.VALUE")
    with RecipeCode(tmp_path) as code:
        assert code.function("data.py:value")() == 7


def test_two_recipes_with_files_of_the_same_name_do_not_see_each_other(tmp_path: Path) -> None:
    path_before, modules_before = list(sys.path), set(sys.modules)
    for name in ("first", "second"):
        folder = write(tmp_path / name, tools=f"VALUE = {name!r}", data="import tools\ndef value(): return tools.VALUE")
        with RecipeCode(folder) as code:
            assert code.function("data.py:value")() == name
    assert sys.path == path_before
    assert set(sys.modules) == modules_before


def test_what_is_installed_below_the_folder_is_not_the_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "env" / "site-packages"
    installed.mkdir(parents=True)
    write(installed, installed_for_test="VALUE = 7")
    monkeypatch.syspath_prepend(str(installed))
    write(tmp_path, data="import installed_for_test\ndef value(): return installed_for_test.VALUE")
    with RecipeCode(tmp_path) as code:
        assert code.function("data.py:value")() == 7
    assert "installed_for_test" in sys.modules
    assert "data" not in sys.modules
    del sys.modules["installed_for_test"]


def test_a_function_of_an_installed_package_needs_no_file(tmp_path: Path) -> None:
    with RecipeCode(tmp_path) as code:
        assert code.function("json:dumps")(1) == "1"
        with pytest.raises(ConfigurationError, match="has no function 'absent'"):
            code.function("json:absent")
        with pytest.raises(ConfigurationError, match=r"'no\.such' cannot be imported.*install it beside penstock"):
            code.function("no.such:network")


def test_a_file_named_like_a_loaded_module_gives_it_back_afterwards(tmp_path: Path) -> None:
    write(tmp_path, json="def value(): return 7")
    with RecipeCode(tmp_path) as code:
        assert code.function("json.py:value")() == 7
    assert sys.modules["json"] is json


def test_a_file_in_a_subfolder_is_found(tmp_path: Path) -> None:
    write(tmp_path / "nets", model="def value(): return 7")
    with RecipeCode(tmp_path) as code:
        assert code.function("nets/model.py:value")() == 7


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("absent.py:value", "there is no such file"),
        ("data.py:absent", "has no function 'absent'"),
        ("data.py:NUMBER", "has no function 'NUMBER'"),
        ("broken.py:value", "'broken.py' cannot be imported: ModuleNotFoundError: No module named 'no_such_package'"),
        ("syntax.py:value", "'syntax.py' cannot be imported: SyntaxError"),
        ("leaves.py:value", "'leaves.py' cannot be imported: SystemExit: 0"),
    ],
)
def test_code_that_cannot_be_used_is_named(tmp_path: Path, reference: str, words: str) -> None:
    write(
        tmp_path,
        data="NUMBER = 1",
        broken="import no_such_package",
        syntax="def (",
        leaves="import sys; sys.exit(0)",
    )
    with RecipeCode(tmp_path) as code, pytest.raises(ConfigurationError, match=words):
        code.function(reference)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("open('/no/such/data.csv')", "'data.py:load' failed: FileNotFoundError: .*data.csv"),
        ("1 / 0", "'data.py:load' failed: ZeroDivisionError"),
        ("raise SystemExit('bye')", "'data.py:load' failed: SystemExit: bye"),
    ],
)
def test_whatever_a_function_raises_is_the_recipes_fault(tmp_path: Path, body: str, words: str) -> None:
    write(tmp_path, data=f"def load():\n    {body}")
    with RecipeCode(tmp_path) as code, pytest.raises(ConfigurationError, match=words):
        code.function("data.py:load")()


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "outside", model="def value(): return 7")
    inside = write(tmp_path / "inside")
    (inside / "model.py").symlink_to(tmp_path / "outside" / "model.py")
    with RecipeCode(inside) as code, pytest.raises(ConfigurationError, match="out of the recipe's folder"):
        code.function("model.py:value")
