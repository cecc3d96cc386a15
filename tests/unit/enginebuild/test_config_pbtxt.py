"""config.pbtxt says what the recipe says, in the same bytes every time, and Triton can read it."""

from pathlib import Path

import pytest
from enginebuild.config_pbtxt import interface_of, label_files, parse, render
from enginebuild.recipe.recipe import Recipe
from enginebuild.targets.onnxruntime import cpu_backend
from enginebuild.targets.target import Backend
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

from services.cli.yamlfile import load_yaml
from services.core.errors import ConfigurationError
from tests.fakes import tiny_recipe

ROOT = Path(__file__).parents[3]
DIMS = {"left": (4,), "right": (4,)}


def test_every_setting_of_the_recipe_is_in_tritons_words() -> None:
    serving = {
        "max_batch_size": 16,
        "max_queue_delay_microseconds": 300,
        "preferred_batch_sizes": [8, 4],
        "instances": 2,
        "threads": 3,
        "queue": {"max_queue_size": 99, "default_timeout_microseconds": 1234},
        "warmup_batch_sizes": [16, 1, 1],
    }
    config = parse(tiny_recipe.config_pbtxt(serving=serving))
    assert (config.name, config.backend, config.max_batch_size) == ("sums", "onnxruntime", 16)
    assert interface_of(config) == {
        "input 'left'": "FP32 [4]",
        "input 'right'": "FP32 [4]",
        "output 'scores'": "FP32 [2] with labels",
        "output 'difference'": "FP32 [1]",
    }
    batching = config.dynamic_batching
    assert (list(batching.preferred_batch_size), batching.max_queue_delay_microseconds) == ([4, 8], 300)
    policy = batching.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (99, 1234)
    assert policy.allow_timeout_override
    assert policy.timeout_action == policy.TimeoutAction.REJECT
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, group.Kind.KIND_CPU)
    assert config.parameters["intra_op_thread_count"].string_value == "3"
    assert [warmup.batch_size for warmup in config.model_warmup] == [1, 16]
    for warmup in config.model_warmup:
        assert {name: list(value.dims) for name, value in warmup.inputs.items()} == {"left": [4], "right": [4]}
        assert all(value.zero_data for value in warmup.inputs.values())


def test_a_request_may_always_shorten_its_time_in_the_queue() -> None:
    policy = parse(tiny_recipe.config_pbtxt()).dynamic_batching.default_queue_policy
    assert policy.allow_timeout_override
    assert policy.default_timeout_microseconds > 0


def test_the_warm_up_takes_the_datas_size_where_any_size_is_allowed() -> None:
    inputs = [{"name": name, "datatype": "INT64", "dims": [-1, 4]} for name in ("left", "right")]
    recipe = tiny_recipe.recipe(inputs=inputs)
    config = parse(render(recipe, cpu_backend(recipe), {"left": (9, 4), "right": (7, 4)}))
    assert list(config.input[0].dims) == [-1, 4]
    assert list(config.model_warmup[0].inputs["right"].dims) == [7, 4]


def test_no_warm_up_is_written_where_the_recipe_wants_none() -> None:
    config = parse(tiny_recipe.config_pbtxt(serving={"max_batch_size": 4, "warmup_batch_sizes": []}))
    assert not config.model_warmup


def test_several_outputs_with_labels_get_a_file_each() -> None:
    outputs = [{"name": name, "datatype": "FP32", "dims": [2], "labels": "l.txt"} for name in ("a/b", "a:b")]
    recipe = tiny_recipe.recipe(outputs=outputs, metrics=[{"metric": "accuracy", "output": "a/b"}])
    files = label_files(recipe)
    assert len(set(files.values())) == 2
    assert all(Path(name).name == name for name in files.values())
    config = parse(render(recipe, cpu_backend(recipe), DIMS))
    assert {output.name: output.label_filename for output in config.output} == files


@given(
    max_batch=st.integers(1, 1024),
    preferred=st.lists(st.integers(1, 1024), max_size=4),
    delay=st.integers(0, 10_000),
    name=st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.:/-]{0,20}\Z").filter(lambda name: name not in {"labels", "left"}),
)
def test_any_valid_recipe_gives_a_config_that_triton_reads(
    max_batch: int, preferred: list[int], delay: int, name: str
) -> None:
    serving = {
        "max_batch_size": max_batch,
        "preferred_batch_sizes": [min(size, max_batch) for size in preferred],
        "max_queue_delay_microseconds": delay,
    }
    outputs = [{"name": name, "datatype": "FP32", "dims": [2], "labels": "l.txt"}]
    inputs = [{"name": "left", "datatype": "FP32", "dims": [4]}]
    recipe = tiny_recipe.recipe(serving=serving, outputs=outputs, inputs=inputs, metrics=[{"metric": "accuracy"}])
    text = render(recipe, cpu_backend(recipe), DIMS)
    assert text == render(recipe, cpu_backend(recipe), DIMS)
    assert parse(text).output[0].name == name


def test_an_engine_runs_on_a_gpu_and_takes_no_threads() -> None:
    recipe = tiny_recipe.recipe(serving={"max_batch_size": 16, "instances": 2})
    config = parse(render(recipe, Backend("tensorrt", "model.plan", "KIND_GPU"), DIMS))
    assert (config.backend, config.parameters) == ("tensorrt", {})
    assert [(group.count, group.kind) for group in config.instance_group] == [(2, ModelInstanceGroup.KIND_GPU)]


def test_a_config_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"config\.pbtxt"):
        parse('name: "x" backennd: "onnxruntime"')


def test_the_committed_config_of_the_digits_is_what_a_build_writes() -> None:
    recipe = load_yaml(ROOT / "build/recipes/digits_cnn/recipe.yaml", Recipe)
    committed = ROOT / "model_repository/digits_cnn"
    assert (committed / "config.pbtxt").read_text() == render(recipe, cpu_backend(recipe), {"image": (1, 8, 8)})
    assert (committed / "labels.txt").read_bytes() == (ROOT / "build/recipes/digits_cnn/labels.txt").read_bytes()
