"""A wrong YAML file is answered with file, line, field and the nearest valid key."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from services.cli.yamlfile import load_yaml
from services.core.errors import ConfigurationError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: float = Field(gt=0)
    burst: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}


def write(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text)
    return path


def test_a_right_file_is_read(tmp_path: Path) -> None:
    read = load_yaml(write(tmp_path, "name: a\nmany:\n- rate: 2\n"), Outer)
    assert read.many[0].rate == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\ninnr:\n  rate: 1\n", ["file.yaml:2", "innr", "did you mean 'inner'"]),
        ("name: a\ninner:\n  rate: 1\n  brust: 2\n", ["file.yaml:4", "inner.brust", "did you mean 'burst'"]),
        ("name: a\nmany:\n- rate: 1\n- rate: 1\n  ratte: 2\n", ["file.yaml:5", "many.1.ratte", "'rate'"]),
        ("name: a\nnamed:\n  x:\n    zzz: 2\n    rate: 1\n", ["file.yaml:4", "valid keys here: burst, rate"]),
        ("name: a\ninner:\n  rate: -1\n", ["file.yaml:3", "inner.rate", "-1", "greater than 0"]),
        ("name: a\ninner:\n  burst: 1\n", ["file.yaml:2", "inner.rate", "missing"]),
        ("inner: {rate: 1}\n", ["name", "missing"]),
        ("name: a\nname: b\n", ["file.yaml:2", "twice", "line 1"]),
        ("- a\n", ["file.yaml:1", "expected keys and values"]),
        ("", ["file.yaml:1", "nothing"]),
        ("name: [\n", ["not valid YAML", "line 2"]),
        ("name: !!python/object/apply:os.system [ls]\n", ["not valid YAML"]),
        ("name: a\nnamed: {{model}}\n", ["file.yaml:2", "a key is a list or a mapping", "quotes"]),
        ("{{model}}: a\n", ["file.yaml:1", "a key is a list or a mapping"]),
        ("name: a\nmany:\n- rate: 2026-02-30\n", ["file.yaml:3", "'2026-02-30' is no timestamp", "quote it"]),
        ("inner: &it {rate: 1}\nmany:\n- <<: *it\n  rate: 2026-02-30\n", ["file.yaml:4", "is no timestamp"]),
        ("name: !!int many\n", ["file.yaml:1", "'many' is no int"]),
        ("name: !!bool perhaps\n", ["file.yaml:1", "'perhaps' is no bool"]),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place_and_the_remedy(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_yaml(write(tmp_path, text), Outer)
    for word in words:
        assert word in str(caught.value)


def test_every_fault_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_yaml(write(tmp_path, "nme: a\nmany: [{rate: 0}]\n"), Outer)
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: cannot be read"):
        load_yaml(tmp_path / "none.yaml", Outer)
