"""What a table of other people's runs is taken for: columns, arms, dimensions, and what became of each run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mutransfer.trials.foreign.names import ROLES, parse_name
from mutransfer.trials.foreign.reading import Reading, read
from mutransfer.trials.foreign.sources import read_rows
from mutransfer.trials.foreign.taking import ReadOptions

SWEEPS = Path(__file__).parents[2] / "data" / "sweeps"


def reading(tmp_path: Path, text: str, **options: object) -> Reading:
    """The reading of a CSV file of this text."""
    path = tmp_path / "runs.csv"
    path.write_text(text)
    return read(read_rows([path]), ReadOptions(**options))  # type: ignore[arg-type]


def alone(tmp_path: Path, text: str, **options: object) -> Reading:
    """The same, of runs of one size that the file does not tell."""
    return reading(tmp_path, text, **({"width": "64"} | options))


def grid(header: str, *, widths: tuple[int, ...] = (64, 128), lrs: tuple[float, ...] = (0.1, 0.01, 0.001)) -> str:
    """A CSV of width, lr and a loss with its minimum at 0.01, and a header for the three."""
    rows = [f"{w},{lr},{2 + 0.1 * math.log10(lr / 0.01) ** 2 + 1 / w}" for w in widths for lr in lrs]
    return "\n".join([header, *rows])


@pytest.mark.parametrize(
    "header",
    [
        "width,lr,loss",
        "config/d_model,config/learning_rate,summary/val/loss",
        "config.model.n_embd,config.optimizer.max_lr,eval_loss",
        "params.hidden_size,params.lr,metrics.validation_loss",
        "user_attrs_width,params_lr,value",
        "hparams/hidden_dim,hparams/peak_lr,Smooth Loss",
        "config.d_model.value,config.lr.value,final_loss",
    ],
)
def test_columns_are_found_by_the_names_of_trackers(tmp_path: Path, header: str) -> None:
    found = reading(tmp_path, grid(header))
    assert found.trials.dimensions == ("width",)
    assert [scale.width for scale in found.trials.scales] == [64, 128]
    assert sorted(found.trials.frame["lr"].unique()) == [0.001, 0.01, 0.1]
    assert "width from" in found.lines[1]
    assert "loss from" in found.lines[1]


@pytest.mark.parametrize("role", ROLES)
def test_every_name_means_one_thing(role: str) -> None:
    for name in ROLES[role].names.split():
        assert [each for each in ROLES if parse_name(name).among(each)] == [role]


def test_two_columns_for_one_thing_are_refused_with_the_options_that_decide(tmp_path: Path) -> None:
    text = "lr,train_loss,val/loss\n0.1,1,2\n0.2,2,3\n"
    with pytest.raises(ValueError, match=r"'train_loss' and 'val/loss'; choose one with --loss train_loss or --loss"):
        alone(tmp_path, text)
    assert list(alone(tmp_path, text, loss="val/loss").trials.frame["loss"]) == [2, 3]


def test_two_columns_that_hold_the_same_are_one(tmp_path: Path) -> None:
    found = alone(tmp_path, "config/lr,config/learning_rate,loss\n0.1,1e-1,2\n0.20,0.2,3\n")
    assert list(found.trials.frame["lr"]) == [0.1, 0.2]


def test_the_last_value_of_a_schedule_is_not_the_learning_rate(tmp_path: Path) -> None:
    found = alone(tmp_path, "optimizer.lr,train/learning_rate,summary/lr,loss\n0.1,0,0,2\n0.2,1e-8,1e-9,3\n")
    assert list(found.trials.frame["lr"]) == [0.1, 0.2]


def test_a_name_twice_in_the_header_is_two_columns(tmp_path: Path) -> None:
    text = "lr,loss,loss\n0.1,1,2\n0.2,2,3\n"
    with pytest.raises(ValueError, match=r"--loss loss or --loss loss\.1"):
        alone(tmp_path, text)
    assert list(alone(tmp_path, text, loss="loss.1").trials.frame["loss"]) == [2, 3]


def test_what_is_missing_is_named_with_its_option(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a column for the loss, got 'lr' and 'width'; name it with --loss"):
        reading(tmp_path, "lr,width\n0.1,64\n")
    with pytest.raises(ValueError, match=r"expected a column for the learning rate, .*--lr COLUMN"):
        reading(tmp_path, "loss,width\n0.1,64\n")
    with pytest.raises(ValueError, match=r"after --loss, got 'los'; did you mean 'loss'"):
        reading(tmp_path, "lr,loss\n0.1,1\n", loss="los")


def test_what_became_of_a_run_is_told_apart(tmp_path: Path) -> None:
    """Diverged is a result; crashed, running, pruned, interrupted and without a loss are not."""
    found = alone(
        tmp_path,
        "Name,State,lr,loss,_step\n"
        "a,finished,0.001,2.5,100\n"
        "b,finished,0.002,2.0,100\n"
        "c,finished,0.004,nan,100\n"  # diverged
        "d,crashed,0.004,inf,20\n"  # diverged, and ended by it
        "e,crashed,0.001,2.4,20\n"
        "f,killed,0.001,,\n"
        "g,running,0.002,2.1,50\n"
        "h,finished,0.002,,100\n"
        "i,finished,0.001,2.6,50\n"  # interrupted
        "j,finished,0.016,9,100\n"  # diverged, far above the best
        "k,PRUNED,0.016,2.2,10\n",
    )
    frame = found.trials.frame
    assert list(frame["row"]) == [1, 2, 3, 4, 10]
    assert list(frame["diverged"]) == [False, False, True, True, True]
    assert np.isinf(frame.loc[frame["diverged"], "loss"]).all()
    assert found.left_out == {
        "failed or crashed: an error is no result": 2,
        "not finished": 1,
        "pruned: their loss is that of a shorter training": 1,
        "without a loss": 1,
        "interrupted: they stopped before others of their cell": 1,
    }


def test_a_high_loss_at_a_small_rate_is_no_divergence(tmp_path: Path) -> None:
    text = "lr,loss\n0.0001,5\n0.001,3\n0.01,2\n0.1,4.5\n"
    assert list(alone(tmp_path, text).trials.frame["diverged"]) == [False, False, False, True]
    assert list(alone(tmp_path, text, diverged_above=4.6).trials.frame["diverged"]) == [True, False, False, False]
    assert not alone(tmp_path, text, diverged_above=math.inf).trials.frame["diverged"].any()


def test_above_the_initial_loss_is_diverged(tmp_path: Path) -> None:
    found = alone(tmp_path, "lr,init_loss,loss\n0.01,2.3,2\n0.1,2.3,2.4\n")
    assert list(found.trials.frame["diverged"]) == [False, True]


def test_the_rule_for_divergence_is_stated_with_what_it_took(tmp_path: Path) -> None:
    found = alone(tmp_path, "lr,loss\n0.01,2\n0.1,9\n")
    assert "1 taken as diverged by a loss (9 to 9) more than 1 nats above the best" in found.lines[-1]
    assert "--diverged-above" in found.lines[-1]


def test_a_single_setting_in_words_becomes_the_arms(tmp_path: Path) -> None:
    found = alone(tmp_path, "optimizer,lr,loss\nlion,0.1,2\nadamw,0.1,3\nadamw,0.2,2\n")
    assert found.trials.arms == ("lion", "adamw")


def test_a_setting_that_varies_in_a_cell_is_refused_with_the_options_that_decide(tmp_path: Path) -> None:
    text = "weight_decay,beta2,lr,loss\n0.1,0.9,0.1,2\n0.1,0.9,0.2,3\n0.2,0.95,0.1,2.5\n0.2,0.95,0.2,2\n"
    with pytest.raises(ValueError, match=r"several values of weight_decay .*beta2 .*--arm weight_decay.*--ignore"):
        alone(tmp_path, text)
    arms = alone(tmp_path, text, arm="weight_decay").trials
    assert arms.arms == ("weight_decay 0.1", "weight_decay 0.2")
    assert len(alone(tmp_path, text, where=("weight_decay=0.10",)).trials.frame) == 2
    both = alone(tmp_path, text, ignore=("weight_decay", "beta2")).trials.frame
    assert list(both["seed"]) == [0, 0, 1, 1]
    two = alone(tmp_path, text, arm="weight_decay,beta2").trials
    assert two.arms == ("weight_decay 0.1, beta2 0.9", "weight_decay 0.2, beta2 0.95")


@pytest.mark.parametrize(
    ("tied", "values"),
    [
        ("min_lr", (0.01, 0.02, 0.04)),
        ("run_name", ("a", "b", "c")),
        ("summary/accuracy", (0.5, 0.7, 0.6)),
        ("val_accuracy", (0.5, 0.7, 0.6)),
        ("grad_norm", (3.1, 0.7, 2.0)),
    ],
)
def test_what_goes_with_the_rate_or_was_measured_is_no_mixture(tmp_path: Path, tied: str, values: tuple[str]) -> None:
    text = f"lr,loss,{tied}\n" + "\n".join(f"{lr},2,{value}" for lr, value in zip((0.1, 0.2, 0.4), values, strict=True))
    assert len(alone(tmp_path, text).trials.frame) == 3


def test_a_coefficient_named_as_a_loss_is_a_setting(tmp_path: Path) -> None:
    text = "lr,loss,z_loss\n" + "\n".join(f"{lr},2,{z}" for lr in (0.1, 0.2, 0.4) for z in (0, 0.0001))
    with pytest.raises(ValueError, match=r"several values of z_loss"):
        alone(tmp_path, text)


def test_settings_that_differ_between_cells_alone_are_told(tmp_path: Path) -> None:
    found = reading(tmp_path, "width,warmup,lr,loss\n64,10,0.1,2\n64,10,0.2,3\n128,20,0.1,2\n128,20,0.2,2\n")
    assert any("'warmup' differ between cells" in line for line in found.lines)


def test_rows_alike_are_further_seeds_and_copies_are_dropped(tmp_path: Path) -> None:
    found = alone(tmp_path, "lr,loss,seed\n0.1,2,5\n0.1,2.1,5\n0.1,2.2,6\n0.2,3,5\n0.2,3,5\n")
    frame = found.trials.frame
    assert not frame.duplicated(["lr", "seed"]).any()
    assert len(frame) == 4
    assert found.left_out == {"copies of another row, loss for loss": 1}
    assert any("1 repeat the learning rate and seed of another row" in line for line in found.lines)


def test_dimensions_that_cannot_be_told_apart_are_one(tmp_path: Path) -> None:
    rows = [
        (w, w // 16, 12 * w**3, bs, t, round(t / bs / 100))
        for w in (32, 64, 128)
        for bs, t in ((8, 1e6), (8, 4e6), (32, 1e6), (32, 4e6))
    ]
    text = "width,depth,n_params,batch_size,tokens,steps,lr,loss\n" + "\n".join(
        f"{','.join(map(str, row))},{lr},2" for row in rows for lr in (0.1, 0.2)
    )
    found = reading(tmp_path, text)
    assert found.trials.dimensions == ("batch_size", "params", "tokens")
    assert any("width goes with number of parameters" in line for line in found.lines)
    assert any("number of steps goes with batch size and number of tokens" in line for line in found.lines)
    assert reading(tmp_path, text, along=("width", "batch_size", "tokens")).trials.dimensions == (
        "width",
        "batch_size",
        "tokens",
    )
    with pytest.raises(ValueError, match=r"several values of .*batch_size"):
        reading(tmp_path, text, along=("width",))


def test_a_width_alone_is_the_dimension_and_parameters_are_kept_beside_it(tmp_path: Path) -> None:
    found = reading(tmp_path, "width,n_params,lr,loss\n64,1M,0.1,2\n64,1M,0.2,3\n128,4M,0.1,2\n128,4M,0.2,2\n")
    assert found.trials.dimensions == ("width",)
    assert list(found.trials.frame["n_params"]) == [1e6, 1e6, 4e6, 4e6]


def test_a_size_may_be_a_number_or_have_a_factor(tmp_path: Path) -> None:
    text = "bs,tokens_B,lr,loss\n8,1,0.1,2\n8,1,0.2,2\n16,2,0.1,2\n16,2,0.2,3\n"
    trials = reading(tmp_path, text, width="1024", tokens="tokens_B*1e9", batch_size="bs * 2048").trials
    assert {scale.width for scale in trials.scales} == {1024}
    assert trials.dimensions == ("batch_size",)
    assert sorted(trials.frame["batch_size"].unique()) == [16384, 32768]
    alone = reading(tmp_path, text, tokens="tokens_B*1e9", batch_size="none", ignore=("bs",)).trials
    assert alone.dimensions == ("tokens",)
    with pytest.raises(ValueError, match=r"expected COLUMN\*NUMBER"):
        reading(tmp_path, text, tokens="tokens_B*x")


def test_rates_that_are_none_are_left_out_and_told(tmp_path: Path) -> None:
    found = alone(tmp_path, "lr,loss\n0,2\n-0.1,2\nnan,2\n,2\n0.1,2\n")
    assert len(found.trials.frame) == 1
    assert found.left_out == {"without a learning rate above 0": 4}
    with pytest.raises(ValueError, match="got none of 1 rows \\(1 without a learning rate above 0\\)"):
        alone(tmp_path, "lr,loss\n0,2\n")


def test_losses_may_be_negative(tmp_path: Path) -> None:
    assert list(alone(tmp_path, "lr,loss\n0.1,-2\n0.2,-3\n").trials.frame["loss"]) == [-2, -3]


def test_odd_cells_are_named_with_row_and_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in column 'loss', got 'x' in row 2"):
        alone(tmp_path, "lr,loss\n0.1,1\n0.2,x\n")
    with pytest.raises(ValueError, match=r"expected a state in column 'state' .*got 'zombie' in row 1"):
        alone(tmp_path, "lr,loss,state\n0.1,1,zombie\n")
    with pytest.raises(ValueError, match=r"expected true or false in column 'diverged', got 'maybe' in row 1"):
        alone(tmp_path, "lr,loss,diverged\n0.1,1,maybe\n")
    with pytest.raises(ValueError, match=r"expected whole numbers for the width, got 1\.5"):
        reading(tmp_path, "lr,loss,width\n0.1,1,1.5\n")
    with pytest.raises(ValueError, match=r"expected one unit in column 'tokens', got '2B' in row 1 and '4' in row 2"):
        reading(tmp_path, "lr,loss,tokens\n0.1,1,2B\n0.2,1,4\n")
    with pytest.raises(ValueError, match=r"meet --where a=2, got none; 'a' holds '1'"):
        alone(tmp_path, "lr,loss,a\n0.1,1,1\n", where=("a=2",))


def test_the_options_that_a_reading_resolved_read_the_same(tmp_path: Path) -> None:
    rows = read_rows([SWEEPS / "steplaw_dense.csv"])
    first = read(rows, ReadOptions(loss="loss", params="N", tokens="D", batch_size="bs"))
    again = read(rows, first.resolved)
    pd.testing.assert_frame_equal(first.trials.frame, again.trials.frame)
    assert again.resolved == first.resolved


def test_step_law_has_three_dimensions_and_its_diverged_runs() -> None:
    found = read(
        read_rows([SWEEPS / "steplaw_dense.csv"]), ReadOptions(loss="loss", params="N", tokens="D", batch_size="bs")
    )
    frame = found.trials.frame
    assert found.trials.dimensions == ("batch_size", "params", "tokens")
    assert len(frame) == 142
    assert len(found.trials.scales) == 12
    published = pd.read_csv(SWEEPS / "steplaw_dense.csv")["loss"]
    assert list(frame.loc[frame["diverged"], "row"]) == [row + 1 for row, loss in published.items() if loss > 4]


def test_marin_optimizers_compares_optimizers_over_one_changed_setting() -> None:
    rows = read_rows([SWEEPS / "marin_optimizers.csv"])
    options = {"arm": "optimizer", "params": "size", "tokens": "tokens_label*1e9"}
    found = read(rows, ReadOptions(**options, where=("changed=,learning_rate",), ignore=("changed",)))
    assert found.trials.arms == ("adamw", "lion")
    assert found.trials.dimensions == ("batch_size", "params", "tokens")
    assert sorted(found.trials.frame["n_params"].unique()) == [130e6, 300e6]
    with pytest.raises(ValueError, match=r"several values of .*beta1"):
        read(rows, ReadOptions(**options))


def test_mixtures_of_experts_of_nearly_one_size_are_arms_and_no_scale() -> None:
    found = read(
        read_rows([SWEEPS / "steplaw_moe.csv"]), ReadOptions(loss="loss", params="N", tokens="D", batch_size="bs")
    )
    assert sorted(found.trials.arms) == ["1in8", "2in88"]
    assert found.trials.dimensions == ("batch_size", "tokens")


def test_a_size_that_makes_the_arms_is_still_known(tmp_path: Path) -> None:
    found = reading(tmp_path, grid("width,lr,loss"), arm="width")
    assert found.trials.arms == ("width 64", "width 128")
    assert [found.trials.of_arm(arm).scales[0].width for arm in found.trials.arms] == [64, 128]


@pytest.mark.parametrize(
    "options",
    [
        {"width": "width*1e300"},
        {"loss": "loss*1e308"},
        {"parametrization": "3"},
        {"diverged_above": math.nan},
        {"lr": "5"},
        {"along": ("seed",)},
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        reading(tmp_path, grid("width,lr,loss").replace("2.1", "9"), **options)
