"""Rules are floats by name, a multiplier is a hook: what copies, replaces or traces a model's tensors loses nothing."""

import copy
import io
import pickle
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mutransfer.parametrization import Parametrized, parametrize

from .zoo import GPT2, MLP, ZOO, batch, loss

# a state is compared here, not stored for the plain model
pytestmark = pytest.mark.filterwarnings("ignore:the multiplier of")

WIDTH, BASE = 64, 32


def tied(seed: int = 0) -> Parametrized:
    """Of all there is the most to lose here: a shared weight, and a multiplier that is no rate."""
    return parametrize(GPT2, width=WIDTH, base_width=BASE, seed=seed)


TOKENS = batch("gpt2")[0]


def held(built: Parametrized) -> list[int]:
    return sorted(id(parameter) for group in built.param_groups(0.1) for parameter in group["params"])


def test_deepcopy_and_pickle() -> None:
    built = tied()
    expected = built.model(TOKENS)
    stored = io.BytesIO()
    torch.save(built.model.state_dict(), stored)
    for other in (copy.deepcopy(built), pickle.loads(pickle.dumps(built))):  # noqa: S301, our own bytes
        assert torch.equal(other.model(TOKENS), expected)
        assert other.rules == built.rules
        assert held(other) == sorted(id(parameter) for parameter in other.model.parameters())
        assert other.model.lm_head.weight is other.model.wte.weight
        assert [group["lr"] for group in other.param_groups(0.1)] == [g["lr"] for g in built.param_groups(0.1)]
    assert torch.equal(copy.deepcopy(built.model)(TOKENS), expected)


def test_an_average_of_the_weights_is_a_model_like_it() -> None:
    built = tied()
    average = AveragedModel(built.model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(built.model)
    assert torch.equal(average(TOKENS), built.model(TOKENS))
    other = tied(seed=1)
    average.update_parameters(other.model)
    halfway = copy.deepcopy(built.model)
    with torch.no_grad():
        for mine, theirs in zip(halfway.parameters(), other.model.parameters(), strict=True):
            mine.lerp_(theirs, 0.5)
    torch.testing.assert_close(average(TOKENS), halfway(TOKENS))


@pytest.mark.parametrize("assign", [True, False])
def test_a_checkpoint_is_loaded_as_it_is(assign: bool, tmp_path: Path) -> None:
    """`mup` rescales the readout of a model whose checkpoint was loaded before its base shapes were set."""
    built, other = tied(), tied(seed=1)
    save_file({name: tensor.contiguous() for name, tensor in plain_state(built.model).items()}, tmp_path / "model")
    loaded = load_file(tmp_path / "model")
    other.model.load_state_dict(loaded | {"lm_head.weight": loaded["wte.weight"]}, assign=assign)
    if assign:
        other.model.lm_head.weight = other.model.wte.weight  # assigning unties, with any model
    assert torch.equal(other.model(TOKENS), built.model(TOKENS))
    assert all(torch.equal(other.model.state_dict()[name], loaded[name]) for name in loaded)
    assert other.rules == built.rules
    assert held(other) == sorted(id(parameter) for parameter in other.model.parameters())


def plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Each shared tensor once, as safetensors wants it."""
    return {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}


def test_functional_call_and_vmap() -> None:
    models = [tied(seed).model for seed in range(3)]
    called = torch.func.functional_call(models[1], dict(models[0].named_parameters()), (TOKENS,))
    assert torch.equal(called, models[0](TOKENS))
    plain = [
        parametrize(MLP, width=WIDTH, base_width=BASE, sample=torch.ones(2, 20), parametrization="mup", seed=seed)
        for seed in range(3)
    ]
    inputs = batch("mlp")[0]
    parameters, buffers = torch.func.stack_module_state([each.model for each in plain])
    answers = torch.vmap(lambda p, b: torch.func.functional_call(plain[0].model, (p, b), (inputs,)))(
        parameters, buffers
    )
    for answer, each in zip(answers, plain, strict=True):
        torch.testing.assert_close(answer, each.model(inputs))


def test_compile_and_export_see_the_multiplier() -> None:
    built = tied()
    expected = built.model(TOKENS)
    compiled = torch.compile(built.model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(TOKENS), expected)
    exported = torch.export.export(built.model, (TOKENS,)).module()
    torch.testing.assert_close(exported(TOKENS), expected)
    bare = tied()
    bare.model.lm_head._forward_pre_hooks.clear()
    assert not torch.allclose(bare.model(TOKENS), expected, rtol=1e-3)


def test_a_learning_rate_in_a_tensor_is_each_groups_own() -> None:
    rate = torch.tensor(0.01)
    built = tied()
    groups = built.param_groups(rate, weight_decay=0.1)
    assert len({group["lr"].data_ptr() for group in groups} | {rate.data_ptr()}) == len(groups) + 1
    optimizer = torch.optim.AdamW(groups)
    before = [group["lr"].item() for group in optimizer.param_groups]
    loss(built.model, *batch("gpt2")).backward()
    optimizer.step()
    groups[0]["lr"].mul_(2)
    assert rate.item() == pytest.approx(0.01)
    assert [group["lr"].item() for group in groups[1:]] == before[1:]


@pytest.mark.parametrize("kind", ZOO)
def test_watching_changes_nothing_of_the_models_that_it_ran(kind: str) -> None:
    """Batch norm's running means, gradients, hooks, and the random numbers of whoever called."""
    build, sample, _ = ZOO[kind]
    torch.manual_seed(5)
    models = [build(width) for width in (BASE, 2 * BASE, WIDTH)]
    kept = [copy.deepcopy(model.state_dict()) for model in models[:2]]
    torch.manual_seed(6)
    expected = torch.rand(3)
    torch.manual_seed(6)
    powers = {"*weight": -0.5, "*bias": -0.5, "w?e.weight": 0.0, "embed*": 0.0, "up": -0.5, "down": -0.5}
    powers |= {"positions": 0.0, "cls": 0.0}
    known = {pattern: power for pattern, power in powers.items() if any_matches(pattern, models[0])}
    parametrize(base=models[0], delta=models[1], target=models[2], sample=sample(), init_powers=known)
    assert torch.equal(torch.rand(3), expected)
    for model, state in zip(models[:2], kept, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def any_matches(pattern: str, model: nn.Module) -> bool:
    return any(fnmatchcase(name, pattern) for name, _ in model.named_parameters())
