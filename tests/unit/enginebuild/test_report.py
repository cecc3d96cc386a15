"""The report says what a build found out, for every kind of task, and runs nothing that a recipe's names hold."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from enginebuild.candidates import Candidate
from enginebuild.data import Dataset
from enginebuild.findings import Findings
from enginebuild.pipeline import Order, build
from enginebuild.report.page import render
from enginebuild.report.table import HEADS, rows

from tests.fakes import tiny_recipe

CREATED = "2026-11-20T10:00:00+00:00"


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    root = tmp_path_factory.mktemp("report")
    tiny_recipe.write(root / "recipe")
    gate: dict[str, Any] = {"metrics": {"accuracy": {"max_loss": {"int8": 0.0, "fp32": 0.1}}}}
    recipe = tiny_recipe.recipe(gate=gate, variants=["int8", "fp32"])
    return build(recipe, root / "recipe", Order(root / "repository", CREATED), lambda _: None).findings


def checked(page: str) -> ET.Element:
    """Return the page, which is well-formed and has neither a script nor anything from elsewhere."""
    tree = ET.fromstring(page.replace('<meta charset="utf-8">', "").replace("<!doctype html>", ""))
    assert not [element for element in tree.iter() if element.tag.endswith(("script", "link", "iframe", "img"))]
    return tree


def text_of(page: str) -> str:
    return " ".join("".join(checked(page).itertext()).split())


def test_every_variant_is_told_with_its_verdict_and_why_not(findings: Findings) -> None:
    text = text_of(render(findings))
    assert "sums: fp32 passes the gate" in text
    for candidate in findings.candidates:
        assert all(reason in text for reason in candidate.objections)
    assert all(head in text for head in HEADS)
    assert "Quality against latency" in text
    assert "Operators that INT8 hurts" in text
    assert "fp32: confusion of scores" in text
    assert "Furthest from FP32 PyTorch" in text
    assert findings.data.sha256 in text


def test_the_same_findings_give_the_same_bytes(findings: Findings) -> None:
    assert render(findings) == render(findings)


def test_a_build_that_refuses_everything_has_a_report_too(findings: Findings) -> None:
    refused = [replace(candidate, objections=("too slow",)) for candidate in findings.candidates]
    never_made = Candidate(findings.candidates[0].variant, objections=("no such operator",))
    text = text_of(render(replace(findings, candidates=[*refused, never_made])))
    assert "the gate refuses every variant" in text
    assert "no such operator" in text


def test_numbers_have_residuals_where_classes_have_a_confusion(findings: Findings) -> None:
    wanted = np.zeros((64, 1), dtype=np.float32)
    data = Dataset("data.py:evaluation", findings.data.inputs, wanted)
    assert "residuals of difference" in text_of(render(replace(findings, data=data)))
    assert "residuals" not in text_of(render(replace(findings, data=replace(data, labels=None))))


def test_names_are_text_and_never_markup(findings: Findings) -> None:
    data = replace(findings.data, source="<script>alert(1)</script>.py:f")
    page = render(replace(findings, data=data))
    assert "<script>" not in page
    assert "<script>alert(1)</script>.py:f" in text_of(page)


def test_a_variant_that_could_not_be_made_has_a_line_in_the_table(findings: Findings) -> None:
    never_made = Candidate(findings.candidates[0].variant, objections=("no such operator",))
    (line,) = rows(replace(findings, candidates=[never_made]))
    assert len(line) == len(HEADS)
    assert (line[0], line[1], line[-1]) == ("int8", "no", "refused")
