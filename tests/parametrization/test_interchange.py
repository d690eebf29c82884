"""Base shapes to and from the `mup` package, the oracle where it is right; where it is not, what we do is held."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mup import MuAdam, MuReadout, MuSGD, set_base_shapes
from mup.shape import load_base_shapes, save_base_shapes
from torch import nn

from mutransfer.config import OptimizerConfig
from mutransfer.parametrization import Parametrized, parametrize

from .zoo import GPT2, MLP, ZOO, Conv1D, Llama, MoE, draw

# a state is compared here, not stored for the plain model
pytestmark = pytest.mark.filterwarnings("ignore:the multiplier of")

SAMPLE = draw(4, 20)
POWERS = {"*": -0.5, "up.*": 0.0}


def ours(build: Callable[[int], nn.Module] = MLP, **arguments: Any) -> Parametrized:
    return parametrize(build, width=256, base_width=64, **arguments)


def theirs(build: Callable[[int], nn.Module] = MLP, width: int = 256, **arguments: Any) -> nn.Module:
    """By the package; what it asserts on is let through."""
    return set_base_shapes(build(width), build(64), delta=build(128), do_assert=False, **arguments)  # type: ignore[no-any-return]


class WithMuReadout(MLP):
    """The same initial values as without."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.head.__class__ = MuReadout
        self.head.output_mult = 1.0


def rates(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Of each parameter, its learning rate and its decay per step."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["lr"] * group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }


def test_the_package_reads_what_we_write(tmp_path: Path) -> None:
    ours(sample=SAMPLE).write_base_shapes(tmp_path / "ours.bsh")
    model, direct = MLP(512), theirs(width=512)
    set_base_shapes(model, str(tmp_path / "ours.bsh"), do_assert=False)
    assert {name: p.infshape for name, p in model.named_parameters()} == {
        name: p.infshape for name, p in direct.named_parameters()
    }


def test_we_read_what_the_package_writes(tmp_path: Path) -> None:
    save_base_shapes(theirs(), str(tmp_path / "theirs.bsh"))
    expected = ours(sample=SAMPLE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        target = MLP(256)
    read = parametrize(base=tmp_path / "theirs.bsh", target=target, sample=SAMPLE, init_powers=POWERS)
    for name, rule in expected.rules.items():
        assert read.rules[name]._replace(init_std=0.0) == rule._replace(init_std=0.0)
        torch.testing.assert_close(target.get_parameter(name), expected.model.get_parameter(name), rtol=1e-6, atol=0)
        assert read.rules[name].init_std == pytest.approx(target.get_parameter(name).std().item())
    read.write_base_shapes(tmp_path / "again.bsh")
    assert load_base_shapes(str(tmp_path / "again.bsh")) == load_base_shapes(str(tmp_path / "theirs.bsh"))


def test_a_shared_weight_stands_in_the_file_once(tmp_path: Path) -> None:
    parametrize(GPT2, width=128, base_width=64).write_base_shapes(tmp_path / "tied.bsh")
    shapes = load_base_shapes(str(tmp_path / "tied.bsh"))
    assert "wte.weight" in shapes
    assert "lm_head.weight" not in shapes
    powers = {"h.*": 0.0, "w?e.*": 0.0, "lm_head.*": 0.0}
    read = parametrize(base=str(tmp_path / "tied.bsh"), target=GPT2(256), init_powers=powers)
    assert read.rules["lm_head.weight"].forward_mult == 1 / 4


def test_names_saved_from_a_parallel_model_are_read(tmp_path: Path) -> None:
    ours(sample=SAMPLE).write_base_shapes(tmp_path / "plain.bsh")
    text = (tmp_path / "plain.bsh").read_text()
    names = [name for name, _ in MLP(8).named_parameters()]
    for name in names:
        text = text.replace(f"\n{name}:", f"\nmodule.{name}:")
    (tmp_path / "parallel.bsh").write_text(text)
    read = parametrize(base=tmp_path / "parallel.bsh", target=MLP(256), sample=SAMPLE, init_powers=POWERS)
    assert list(read.rules) == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: [1", "is no YAML"),
        ("[1, 2]", "no base shapes"),
        ("up.weight: [big, null]", "no base shapes"),
        ("up.weight: [64]", "wanted as many dimensions"),
        ("up.weight: [64, null]", "up.bias in the model alone"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
        ("module.x: [1]\n", "up.weight in the model alone"),
    ],
)
def test_a_file_of_another_model_or_kind_is_refused(text: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "odd.bsh").write_text(text)
    with pytest.raises(ValueError, match=found) as error:
        parametrize(base=tmp_path / "odd.bsh", target=MLP(256), sample=SAMPLE)
    assert "\n" not in str(error.value)


def test_without_a_base_model_the_powers_must_be_said(tmp_path: Path) -> None:
    ours(sample=SAMPLE).write_base_shapes(tmp_path / "a.bsh")
    with pytest.raises(ValueError, match=r"found up\.weight without a base model .* init_powers="):
        parametrize(base=tmp_path / "a.bsh", target=MLP(256), sample=SAMPLE)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize(("optimizer", "oracle"), [("adamw", MuAdam), ("sgd", MuSGD)])
def test_rates_and_decay_equal_the_packages_where_nothing_is_odd(kind: str, optimizer: str, oracle: Any) -> None:
    """But for a readout in Table 3's gauge: the package's is in Table 8's."""
    build, sample, _ = ZOO[kind]
    model = theirs(build)
    expected = rates(model, oracle(model.parameters(), lr=0.1, weight_decay=0.01).param_groups)
    for table in ("mup", "mup_table3"):
        built = ours(build, sample=sample(), parametrization=table)
        groups = built.param_groups(0.1, weight_decay=0.01, optimizer=optimizer, decay_vectors=True)
        got = rates(built.model, groups)
        for name in expected.keys() - ({"head.weight"} if table == "mup_table3" else set()):
            assert got[name] == pytest.approx(expected[name], rel=1e-12), name


def test_the_readout_is_murreadouts_in_mup_and_the_same_function_in_table_3() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        oracle = theirs(WithMuReadout, rescale_params=False)
    built = ours(sample=SAMPLE, parametrization="mup")
    assert built.rules["head.weight"].forward_mult == 1 / oracle.head.width_mult() == 1 / 4
    oracle.load_state_dict(built.model.state_dict())
    torch.testing.assert_close(built.model(SAMPLE), oracle(SAMPLE))
    torch.testing.assert_close(ours(sample=SAMPLE, parametrization="mup_table3").model(SAMPLE), built.model(SAMPLE))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rescaled = theirs(WithMuReadout)
    for name, parameter in built.model.named_parameters():
        torch.testing.assert_close(parameter, rescaled.get_parameter(name), msg=name)


def test_a_model_that_the_package_has_made_is_taken_as_it_is() -> None:
    model = theirs(WithMuReadout)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    answer = model(SAMPLE)
    built = parametrize(target=model, sample=SAMPLE)
    assert built.table.name == "mup"
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(built.model(SAMPLE), answer)
    expected = rates(model, MuAdam(model.parameters(), lr=0.1).param_groups)
    got = rates(built.model, built.param_groups(0.1))
    assert {name: rate for name, (rate, _) in got.items()} == pytest.approx({n: r for n, (r, _) in expected.items()})
    for name, rule in built.rules.items():
        assert rule.init_std == pytest.approx(model.get_parameter(name).std().item())
    with pytest.raises(ValueError, match="wanted mup"):
        parametrize(target=model, sample=SAMPLE, parametrization="mup_table3")


@pytest.mark.parametrize(
    ("build", "name", "mults"),
    [
        # fixed key/value heads: no 1/m_in, though they read a wide space
        (Llama, "layers.0.k_proj.weight", (1.0, 1 / 4)),
        (MoE, "router.weight", (1.0, 1 / 4)),
    ],
)
def test_where_the_package_is_wrong_about_adam(
    build: Callable[[int], nn.Module], name: str, mults: tuple[float, float]
) -> None:
    with pytest.raises(AssertionError, match="infinite fan-in"):
        set_base_shapes(build(256), build(64), delta=build(128))
    model = theirs(build)
    wrong = rates(model, MuAdam(model.parameters(), lr=1.0).param_groups)[name][0]
    assert (wrong, ours(build).rules[name].lr_mult) == mults


def test_where_the_package_reads_a_weight_the_wrong_way_round() -> None:
    """(in, out), with an inside that grows as the root of the width: it divides by what is written."""

    class Narrow(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            inner = {64: 64, 128: 96, 256: 128}[width]
            self.embedding = nn.Embedding(32, width)
            self.into, self.out = Conv1D(inner, width), Conv1D(width, inner)
            self.head = nn.Linear(width, 32)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.head(self.out(self.into(self.embedding(tokens))))  # type: ignore[no-any-return]

    model, built = theirs(Narrow), ours(Narrow)
    wrong = rates(model, MuAdam(model.parameters(), lr=1.0).param_groups)
    assert (wrong["into.weight"][0], built.rules["into.weight"].lr_mult) == (1 / 2, 1 / 4)
    assert (wrong["out.weight"][0], built.rules["out.weight"].lr_mult) == (1 / 4, 1 / 2)
    stacked = theirs(MoE)
    assert stacked.up.infshape.fanin_fanout()[0] == stacked.up.infshape[1]
    assert stacked.down.infshape.fanin_fanout()[0] == stacked.down.infshape[1]  # summed over its third dimension


def test_rules_as_json() -> None:
    built = ours(sample=SAMPLE)
    content = json.loads(built.rules_json(OptimizerConfig(name="sgd")))
    assert (content["schema"], content["parametrization"], content["optimizer"]) == (1, "mup_table3", "sgd")
    rules = built.rules_for(OptimizerConfig(name="sgd"))
    assert content["rules"].keys() == rules.keys()
    head = content["rules"]["head.weight"]
    assert (head["shape"], head["base_shape"]) == ([10, 512], [None, 128])
    for name, rule in rules.items():
        expected = {field: value for field, value in rule._asdict().items() if field != "name"}
        assert {field: content["rules"][name][field] for field in expected} == expected
