"""Compressed networks: what each technique leaves, what it must not touch, and how a build offers them to the gate."""

from pathlib import Path
from typing import Any

import pytest
import torch
from enginebuild.compress.prune import prune
from enginebuild.compress.quantization_aware import rounding
from enginebuild.compress.sparsity import mask_of, two_of_four
from enginebuild.pipeline import BuildResult, Order, build
from enginebuild.recipe.recipe import Recipe
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from services.core.errors import BuildFailed
from tests.fakes import tiny_recipe

FINE_TUNE = '''
import torch


def fine_tune(network, teacher, seed):
    """A step towards the teacher, with settings of its own."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(300):
        left, right = torch.rand((2, 64, 4), generator=generator)
        found, wanted = network(left, right), teacher(left, right)
        loss = sum(torch.nn.functional.mse_loss(found[name], wanted[name]) for name in found)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def breaks(network, teacher, seed):
    raise RuntimeError("out of patience")


def no_numbers(network, teacher, seed):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
'''
DEEP = '''
import torch
from torch import nn


class Deep(nn.Module):
    """As the sums, with a layer between that may shrink."""

    def __init__(self, width, hidden):
        super().__init__()
        self.first = nn.Linear(2 * width, hidden)
        self.mix = nn.Linear(hidden, 2)

    def forward(self, left, right):
        scores = self.mix(self.first(torch.cat([left, right], dim=1)))
        return {"scores": scores, "difference": scores[:, :1] - scores[:, 1:]}


def deep(width=4, hidden=16):
    return Deep(width, hidden)
'''


class Residual(nn.Module):
    """A block with a shortcut: its channels hang together."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 16, 3, padding=1))
        self.head = nn.Linear(16, 5)

    def forward(self, image: Tensor) -> Tensor:
        """Return five scores."""
        features = self.stem(image)
        return self.head((features + self.body(features)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def parameters(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def test_pruning_takes_channels_and_leaves_the_outputs_and_the_original() -> None:
    network = Residual().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pruned = prune(network, [torch.rand(2, 1, 8, 8)], 0.5)
    assert pruned(torch.rand(3, 1, 8, 8)).shape == (3, 5)
    assert 0.2 < parameters(pruned) / parameters(network) < 0.4
    assert pruned.stem.out_channels == 8  # type: ignore[union-attr]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_network_whose_channels_are_all_outputs_cannot_be_pruned() -> None:
    with pytest.raises(BuildFailed, match="no layer has channels that are the network's own affair"):
        prune(nn.Linear(4, 2).eval(), [torch.rand(2, 4)], 0.5)


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3, 3)])
def test_two_of_every_four_inputs_stay_and_they_are_the_largest(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    mask = mask_of(weight)
    groups = mask.movedim(1, -1).reshape(-1, 4)
    assert groups.sum(dim=1).eq(2).all()
    values = weight.abs().movedim(1, -1).reshape(-1, 4)
    least_kept = values.masked_fill(groups == 0, torch.inf).amin(dim=1)
    most_gone = values.masked_fill(groups == 1, -1).amax(dim=1)
    assert (least_kept >= most_gone).all()


def trained_a_little(network: nn.Module) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        loss = network(torch.rand(8, 8)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("rounded_too", [False, True])
def test_zeros_stay_zeros_while_the_others_are_trained(rounded_too: bool) -> None:
    first = nn.Linear(8, 8)
    network = nn.Sequential(first, nn.ReLU(), nn.Linear(8, 3))
    before = first.weight.detach().clone()
    with two_of_four(network) as layers:
        assert layers == 2
        if rounded_too:
            with rounding(network):
                trained_a_little(network)
        else:
            trained_a_little(network)
    after = first.weight.detach()
    assert after.reshape(-1, 4).ne(0).sum(dim=1).le(2).all()
    assert not torch.equal(after, before * mask_of(before))
    assert set(network.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_network_of_odd_inputs_cannot_be_sparse() -> None:
    with pytest.raises(BuildFailed, match="multiple of four"), two_of_four(nn.Linear(3, 2)):
        pass


def test_training_feels_the_rounding_and_keeps_exact_weights() -> None:
    network = nn.Linear(8, 3)
    inputs = torch.rand(64, 8)
    exact = network(inputs)
    with rounding(network) as layers:
        assert layers == 1
        rounded = network(inputs)
        assert 0 < (rounded - exact).abs().max() < 0.05
        network(inputs).sum().backward()
        (gradient,) = [one.grad for name, one in network.named_parameters() if "weight" in name]
        assert gradient is not None
        assert gradient.abs().sum() > 0
    assert torch.equal(network(inputs), exact)
    with pytest.raises(BuildFailed, match="no convolution"), rounding(nn.ReLU()):
        pass


def run(tmp_path: Path, variants: list[Any], fine_tune: str = "fine_tune", **changes: Any) -> BuildResult:
    folder = tmp_path / "recipe"
    tiny_recipe.write(folder)
    (folder / "tune.py").write_text(FINE_TUNE)
    (folder / "deep.py").write_text(DEEP)
    gate = {
        "confidence": None,
        "metrics": {"accuracy": {"min": 0.9}},
        "min_speedup": dict.fromkeys(names(variants), 0.0),
    }
    document = {"variants": variants, "gate": gate, "compression": {"fine_tune": f"tune.py:{fine_tune}"}, **changes}
    order = Order(tmp_path / "repository", "2026-11-28T10:00:00+00:00")
    return build(tiny_recipe.recipe(**document), folder, order, lambda _: None)


def names(variants: list[Any]) -> list[str]:
    return [one if isinstance(one, str) else one["name"] for one in variants]


STUDENT = {"name": "student", "precision": "fp32", "student": {"factory": "deep.py:deep", "kwargs": {"hidden": 2}}}


def test_each_technique_is_a_variant_with_its_own_network(tmp_path: Path) -> None:
    variants = [
        {"name": "aware", "precision": "int8", "quantization_aware": True},
        {"name": "sparse", "precision": "fp32", "sparsity": "2:4"},
        "fp32",
    ]
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    result = run(tmp_path, variants)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, deterministic)
    sparse = next(one for one in result.candidates if one.name == "sparse")
    assert sparse.quality is not None
    assert sparse.quality.metrics[0].value < 1.0  # half of the weights of the sums are gone
    assert result.published is not None
    manifest = result.published.manifest
    assert manifest.variant == "aware"
    assert manifest.compression is not None
    assert manifest.compression.techniques == ("quantisation-aware training",)
    assert manifest.compression.fine_tuned_by == "tune.py:fine_tune"
    assert manifest.compression.parameters == manifest.checkpoint.parameters == 16


def test_a_student_learns_from_the_trained_network_and_is_smaller_where_it_is(tmp_path: Path) -> None:
    result = run(tmp_path, [STUDENT])
    assert result.published is not None, result.candidates[0].objections
    compression = result.published.manifest.compression
    assert compression is not None
    assert compression.techniques == ("distilled into deep.py:deep",)
    assert compression.parameters == 8 * 2 + 2 + 2 * 2 + 2


def test_variants_that_differ_by_a_hair_have_networks_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    tiny_recipe.write(folder)
    (folder / "tune.py").write_text(FINE_TUNE)
    (folder / "deep.py").write_text(DEEP)
    shares = {"some": 0.496, "more": 0.504}  # both are 50 % in words
    variants = [{"name": name, "precision": "fp32", "prune": share} for name, share in shares.items()]
    gate = {"confidence": None, "metrics": {"accuracy": {"min": 0.0}}, "min_speedup": dict.fromkeys(shares, 0.0)}
    document = tiny_recipe.document(
        network={"factory": "deep.py:deep", "kwargs": {"hidden": 250}},
        checkpoint={"file": "deep.safetensors"},
        variants=variants,
        gate=gate,
        compression={"fine_tune": "tune.py:nothing"},
    )
    with (folder / "tune.py").open("a") as file:
        file.write("\n\ndef nothing(network, teacher, seed):\n    pass\n")
    scope: dict[str, Any] = {"__name__": "deep"}
    exec(DEEP, scope)
    save_file(scope["deep"](hidden=250).state_dict(), folder / "deep.safetensors")
    order = Order(tmp_path / "repository", "2026-11-28T10:00:00+00:00")
    result = build(Recipe.model_validate(document), folder, order, lambda _: None)
    sizes = {one.name: one.size_bytes for one in result.candidates}
    assert sizes["some"] != sizes["more"], [one.objections for one in result.candidates]


@pytest.mark.parametrize(
    ("variant", "fine_tune", "words"),
    [
        ({"prune": 0.5}, "fine_tune", "no layer has channels"),
        ({"sparsity": "2:4"}, "breaks", "out of patience"),
        ({"sparsity": "2:4"}, "no_numbers", "left no numbers in 'mix.weight'"),
    ],
)
def test_a_technique_that_fails_is_a_refusal_and_the_others_go_on(
    tmp_path: Path, variant: dict[str, Any], fine_tune: str, words: str
) -> None:
    result = run(tmp_path, [{"name": "changed", "precision": "fp32", **variant}, "fp32"], fine_tune)
    assert words in result.candidates[0].objections[0]
    assert result.published is not None
    assert result.published.manifest.variant == "fp32"
    assert result.published.manifest.compression is None


def test_a_recipe_that_changes_the_network_must_say_how_to_train_it_again() -> None:
    with pytest.raises(ValidationError, match=r"which needs compression\.fine_tune"):
        tiny_recipe.recipe(variants=[STUDENT], gate={"metrics": {"accuracy": {"min": 0.9}}})
    with pytest.raises(ValidationError, match="quantization_aware is for int8"):
        Recipe.model_validate(
            tiny_recipe.document(variants=[{"name": "a", "precision": "fp32", "quantization_aware": True}])
        )
