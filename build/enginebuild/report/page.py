"""The report of one build: a single HTML file, without a script and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from enginebuild.candidates import Candidate
from enginebuild.findings import Findings
from enginebuild.report import plots
from enginebuild.report.table import HEADS, rows

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2530 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { text-align: left; padding: .3rem .8rem .3rem 0;
border-bottom: 1px solid #d5dbe1; vertical-align: top } .passed { color: #1a7f5a } .refused { color: #b3261e }
svg { max-width: 100%; height: auto } code { font-size: 13px } h2 { margin-top: 2.5rem }
"""
_SHOWN_WORST = 5
_SHOWN_LAYERS = 30


def render(findings: Findings) -> str:
    """Return the page."""
    recipe, chosen = findings.recipe, findings.chosen
    verdict = f"{chosen.name} passes the gate" if chosen else "the gate refuses every variant"
    data = findings.data
    source = f"{data.samples} held-out samples from {data.source}, digest {data.sha256}"
    parts = [
        f"<h1>{escape(recipe.name)}: {escape(verdict)}</h1>",
        f"<p>{escape(findings.created)}; {escape(source)}.</p>",
        _table(HEADS, rows(findings)),
        _objections(findings.candidates),
        "<h2>Quality against latency</h2>",
        plots.quality_against_latency(findings.candidates),
        *(_metrics(candidate) for candidate in findings.candidates if candidate.quality is not None),
        *(_engine(candidate) for candidate in findings.candidates),
        *_sensitivity(findings.candidates),
        *(_answers(findings, chosen) if chosen is not None else ()),
    ]
    body = "\n".join(parts)
    title = escape(f"Build of {recipe.name}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _objections(candidates: Iterable[Candidate]) -> str:
    items = [f"<li><b>{escape(c.name)}</b>: {escape(reason)}</li>" for c in candidates for reason in c.objections]
    return f"<h2>Why not</h2><ul>{''.join(items)}</ul>" if items else ""


def _metrics(candidate: Candidate) -> str:
    if candidate.quality is None:
        return ""
    lines = [
        [
            entry.name,
            entry.text,
            f"{entry.show(entry.low)} to {entry.show(entry.high)}",
            entry.show(entry.baseline),
            entry.show_loss(entry.loss),
            entry.show_loss(entry.loss_high),
            entry.method,
        ]
        for entry in candidate.quality.metrics
    ]
    confidence = candidate.quality.metrics[0].confidence
    heads = ("metric", "value", f"{confidence:.0%} interval", "FP32 PyTorch", "loss", "loss at most", "method")
    worst = ", ".join(
        f"row {case.row} ({'no number' if case.distance is None else f'{case.distance:.2g}'})"
        for case in candidate.quality.fidelity.worst[:_SHOWN_WORST]
    )
    return (
        f"<h2>{escape(candidate.name)}</h2>{_table(heads, lines)}"
        f"<p>Furthest from FP32 PyTorch, in shares of an output's largest value: {escape(worst)}.</p>"
        f"{_batching(candidate)}"
    )


def _batching(candidate: Candidate) -> str:
    """Return how far an answer depends on who shares its batch."""
    if (entry := candidate.batching) is None:
        return ""
    apart = ", ".join(f"{name} {most:.3g}" for name, most in entry.max_abs_diff.items())
    words = (
        f"{entry.rows} rows alone and in {entry.batches} batches of {entry.batch_size} each, furthest apart: {apart}."
    )
    if entry.changed is not None:
        words += f" The best class of {entry.changed:.2%} of them is another one in some batch."
    return f"<p>{escape(words)}</p>"


def _engine(candidate: Candidate) -> str:
    """Return how an engine was built, how far it may be trusted, and where its time goes."""
    engine = candidate.made.engine if candidate.made is not None else None
    if engine is None:
        return ""
    off = ", ".join(f"{name} {distance:.2g}" for name, distance in engine.agreement.items())
    words = f"Furthest from {engine.compared_with}, in shares of an output's largest value: {off}."
    if (rebuild := engine.rebuild) is not None:
        words += (
            f" {rebuild.builds} builds: {rebuild.identical} of the others identical, outputs at most "
            f"{rebuild.max_difference:.2g} apart, {min(rebuild.latency_ms):g} to {max(rebuild.latency_ms):g} ms."
        )
    calibration = candidate.made.calibration if candidate.made is not None else None
    if calibration is not None:
        words += f" What is not INT8 is {calibration.rest.upper()}."
        if calibration.beyond_fp16:
            words += f" Beyond FP16, and therefore in FP32: {', '.join(calibration.beyond_fp16)}."
    lines = [
        [layer.name, layer.kind, ", ".join(layer.inputs), ", ".join(layer.outputs), f"{layer.milliseconds:.4f}"]
        for layer in engine.layers[:_SHOWN_LAYERS]
    ]
    more = f" The slowest {len(lines)} of {len(engine.layers)} layers:" if lines else ""
    heads = ("layer", "kind", "inputs", "outputs", "ms")
    return f"<h2>{escape(candidate.name)}: the engine</h2><p>{escape(words)}{more}</p>{_table(heads, lines)}"


def _sensitivity(candidates: Iterable[Candidate]) -> list[str]:
    for candidate in candidates:
        if not candidate.sensitivity:
            continue
        calibration = candidate.made.calibration if candidate.made is not None else None
        if calibration is not None and calibration.kept:
            return [
                f"<h2>Operators that INT8 hurts</h2><p>In red: kept out of INT8 by {escape(candidate.name)}.</p>",
                plots.sensitivity(candidate.sensitivity, calibration.kept),
            ]
    layers = next((candidate.sensitivity for candidate in candidates if candidate.sensitivity), ())
    return ["<h2>Operators that INT8 hurts</h2>", plots.sensitivity(layers, ())] if layers else []


def _answers(findings: Findings, chosen: Candidate) -> list[str]:
    """Return the confusion of each output with classes, or the residuals where the labels have an output's shape."""
    labels, quality, found = findings.data.labels, chosen.quality, []
    if labels is None or quality is None:
        return []
    for spec in findings.recipe.outputs:
        outputs = quality.outputs[spec.name]
        names = findings.labels.get(spec.name)
        if names and labels.ndim == 1 and labels.dtype.kind in "iu" and labels.max() < len(names):
            found.append(f"<h2>{escape(chosen.name)}: confusion of {escape(spec.name)}</h2>")
            found.append(plots.confusion(outputs.argmax(axis=1), labels.astype(np.int64), names))
        elif labels.shape == outputs.shape and labels.dtype.kind == "f":
            found.append(f"<h2>{escape(chosen.name)}: residuals of {escape(spec.name)}</h2>")
            found.append(plots.residuals(outputs, labels))
    return found


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td{_class(cell)}>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _class(cell: str) -> str:
    return f' class="{cell}"' if cell in ("passed", "refused") else ""
