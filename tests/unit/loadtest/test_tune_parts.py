"""What a tuning reads and writes: configurations in Triton's words, SLOs, requests, a record that survives a kill."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2

from loadtest.tune.configuration import Configuration, parse_numbers, parse_preferences, present, space_around
from loadtest.tune.evidence import draw, serving_yaml
from loadtest.tune.goodput import Goodput, Window
from loadtest.tune.journal import Journal, Trial
from loadtest.tune.live_triton import as_pbtxt, read_config
from loadtest.tune.question import question
from loadtest.tune.target import Slo, parse_slo
from loadtest.tune.tuning import Curve
from services.core.errors import ConfigurationError, NotFound
from tests.fakes import tiny_recipe

BEST = Configuration(2, 8, 500, "halves")
WINDOW = Window(100.0, 300, 2, 3, 0.012)
TRIAL = Trial(BEST, 50.0, Goodput(100.0, False, (WINDOW, replace(WINDOW, quantile_s=math.inf))), "", "now", 3.5)
FAILED = Trial(replace(BEST, instances=4), 100.0, None, "no memory", "now", 1.0)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "sums"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(tiny_recipe.config_pbtxt())
    return tmp_path


def test_a_configuration_is_put_over_the_models_own_and_nothing_else_changes(repository: Path) -> None:
    before = read_config(repository, "sums", 3)
    after = BEST.over(before)
    assert after["version_policy"] == {"specific": {"versions": ["3"]}}
    assert present(after) == BEST
    assert after["dynamic_batching"]["preferred_batch_size"] == [4, 8]
    assert after["dynamic_batching"]["default_queue_policy"] == before["dynamic_batching"]["default_queue_policy"]
    assert [group["count"] for group in after["instance_group"]] == [2]
    assert (after["input"], after["parameters"]) == (before["input"], before["parameters"])
    assert [one["batch_size"] for one in after["model_warmup"]] == [1]  # that of 16 would keep it from loading
    assert before == read_config(repository, "sums", 3)


def test_the_text_of_a_configuration_parses_and_holds_for_all_versions(repository: Path) -> None:
    from enginebuild.config_pbtxt import interface_of, parse

    text = as_pbtxt(BEST.over(read_config(repository, "sums", 3)))
    found = parse(text)
    assert not found.HasField("version_policy")
    assert interface_of(found) == interface_of(parse(tiny_recipe.config_pbtxt()))
    assert found.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU


@pytest.mark.parametrize(
    ("preferred", "max_batch", "sizes"), [("none", 8, []), ("full", 8, [8]), ("halves", 8, [4, 8]), ("halves", 1, [])]
)
def test_preferred_batches_follow_the_largest(preferred: str, max_batch: int, sizes: list[int]) -> None:
    assert Configuration(1, max_batch, 0, preferred).preferred_sizes == sizes


def test_the_space_suits_the_model_the_bound_and_the_machine(repository: Path) -> None:
    config = read_config(repository, "sums", 1)
    space = space_around(config, 0.005, cores=2)
    assert space.instances == (1, 2)
    assert space.max_batch == (1, 2, 4, 8, 16)
    assert space.delay_us == (0, 100, 500, 2_000)
    assert space_around({"max_batch_size": 6}, 1.0, 1).max_batch == (1, 2, 4, 6)
    with pytest.raises(ConfigurationError, match="takes no batches"):
        space_around({}, 1.0, 1)


@pytest.mark.parametrize(
    ("text", "slo"), [("p99=20ms", Slo(0.99, 0.02)), ("p95=1.5s", Slo(0.95, 1.5)), ("p50=800us", Slo(0.5, 0.0008))]
)
def test_an_slo_is_a_quantile_and_a_bound(text: str, slo: Slo) -> None:
    assert parse_slo(text).quantile == slo.quantile
    assert parse_slo(text).bound_s == pytest.approx(slo.bound_s)


@pytest.mark.parametrize("text", ["", "p99", "p99=20", "99=20ms", "p99=-1ms", "p99=0ms", "p97=1ms", "p99=20ms,p50=1ms"])
def test_another_slo_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="such as p99=20ms"):
        parse_slo(text)


def test_what_is_not_answered_is_slower_than_any_bound() -> None:
    slo = Slo(0.99, 0.02)
    assert slo.tolerated(300) == 3
    latencies = [0.01] * 296 + [math.inf] * 4
    assert slo.quantile_s(latencies) == math.inf
    assert slo.quantile_s([*latencies[1:], 0.01]) == math.inf
    assert slo.quantile_s([0.01] * 297 + [math.inf] * 3) == 0.01
    assert slo.quantile_s([]) == math.inf


@pytest.mark.parametrize("text", ["", "1,,2", "a", "1,-2", "1.5"])
def test_what_are_no_numbers_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--instances"):
        parse_numbers(text, "--instances")


def test_numbers_and_preferences_are_read() -> None:
    assert parse_numbers("4,1,2,2", "--instances") == (1, 2, 4)
    assert parse_preferences("full,none") == ("full", "none")
    with pytest.raises(ConfigurationError, match="--preferred most"):
        parse_preferences("none,most")


def test_the_record_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out" / "trials.jsonl"
    journal = Journal(path, {"model": "sums"})
    journal.write(TRIAL)
    journal.write(FAILED)
    again = Journal(path, {"model": "sums"})
    assert again.trials == [TRIAL, FAILED]
    assert again.find(BEST) == TRIAL
    assert again.find(replace(BEST, delay_us=0)) is None


@pytest.mark.parametrize("left", [b'{"configuration": {"inst', b"\x00\x00", b"{"])
def test_a_line_that_a_killed_writer_left_is_cut_off(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "trials.jsonl"
    Journal(path, {"model": "sums"}).write(TRIAL)
    with path.open("ab") as file:
        file.write(left)
    again = Journal(path, {"model": "sums"})
    assert again.trials == [TRIAL]
    again.write(FAILED)
    assert Journal(path, {"model": "sums"}).trials == [TRIAL, FAILED]


def test_the_record_of_another_question_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    Journal(path, {"model": "sums", "slo": "p99=20ms"}).write(TRIAL)
    with pytest.raises(ConfigurationError, match='slo "p99=20ms" there, "p99=30ms" asked for'):
        Journal(path, {"model": "sums", "slo": "p99=30ms"})
    path.write_text("no record\n")
    with pytest.raises(ConfigurationError, match="no record of a tuning"):
        Journal(path, {"model": "sums"})
    path.write_text('{"model": "sums"}\n{"some": "thing"}\n')
    with pytest.raises(ConfigurationError, match="move it away"):
        Journal(path, {"model": "sums"})


def _asked(message: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, body = message.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ") for line in head.splitlines()[1:])
    size = int(lines[b"inference-header-content-length"])
    assert len(body) == int(lines[b"content-length"])
    return json.loads(body[:size]), body[size:]


def test_a_request_holds_the_models_held_out_rows_or_zeros(repository: Path) -> None:
    config = read_config(repository, "sums", 1)
    held = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.savez(repository / "sums" / "1" / "evaluation.npz", left=held, labels=np.zeros(2, np.int64))
    document, data = _asked(question(config, repository / "sums" / "1", 3, "127.0.0.1:1"))
    assert [(one["name"], one["datatype"], one["shape"]) for one in document["inputs"]] == [
        ("left", "FP32", [3, 4]),
        ("right", "FP32", [3, 4]),
    ]
    assert np.frombuffer(data, np.float32).reshape(6, 4).tolist() == [*held[[0, 1, 0]].tolist(), *[[0.0] * 4] * 3]


def test_texts_and_sizes_of_any_number_are_asked_for_too() -> None:
    optional = {"name": "o", "data_type": "TYPE_FP32", "dims": ["1"], "optional": True}
    config = {"name": "m", "input": [{"name": "t", "data_type": "TYPE_STRING", "dims": ["-1"]}, optional]}
    document, data = _asked(question(config, Path("/nowhere"), 2, "127.0.0.1:1"))
    assert [(one["datatype"], one["shape"]) for one in document["inputs"]] == [("BYTES", [2, 1])]
    assert data == bytes(8)


def test_held_out_data_that_do_not_fit_are_refused(repository: Path) -> None:
    config = read_config(repository, "sums", 1)
    folder = repository / "sums" / "1"
    np.savez(folder / "evaluation.npz", left=np.zeros((2, 5), np.float32))
    with pytest.raises(ConfigurationError, match=r"held-out 'left' is \[1, 5\], the model takes \[-1, 4\]"):
        question(config, folder, 1, "127.0.0.1:1")
    (folder / "evaluation.npz").write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        question(config, folder, 1, "127.0.0.1:1")


def test_a_model_that_is_not_there_or_does_not_parse_is_told(repository: Path) -> None:
    with pytest.raises(NotFound, match="publish the model"):
        read_config(repository, "absent", 1)
    (repository / "sums" / "config.pbtxt").write_text("no config {")
    with pytest.raises(ConfigurationError, match=r"config\.pbtxt"):
        read_config(repository, "sums", 1)


def test_the_recipes_lines_say_what_was_found() -> None:
    from enginebuild.recipe.serving import Serving
    from yaml import safe_load

    serving = Serving.model_validate(safe_load(serving_yaml(BEST))["serving"])
    assert (serving.instances, serving.max_batch_size, serving.preferred_batch_sizes) == (2, 8, [4, 8])
    assert serving.max_queue_delay_microseconds == 500


def test_the_plot_has_both_curves_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    curves = (Curve(BEST.text, (WINDOW,)), Curve("as it was", (replace(WINDOW, quantile_s=math.inf),)))
    draw(curves, Slo(0.99, 0.02), tmp_path / "one.svg")
    draw(curves, Slo(0.99, 0.02), tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert BEST.text in (tmp_path / "one.svg").read_text()
    assert "p99=20ms" in (tmp_path / "one.svg").read_text()
