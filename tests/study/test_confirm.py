"""A confirmation as a user meets it: what it trains, what it never trains twice, what it says and what it refuses."""

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sweep.fake_training import CORPUS, DIVERGES_FROM, FakeTrain
from sweep.fakes import calls, in_process, load_fake, small, sweep

from mutransfer.analysis.confirmation import Confirmation
from mutransfer.cli import main
from mutransfer.config import DIMENSIONS, Arm, Scale, SweepConfig
from mutransfer.data import Corpus
from mutransfer.study.advice import advise, describe
from mutransfer.study.confirm import confirm, plan_confirmation
from mutransfer.study.confirmations import read_confirmations
from mutransfer.study.result import Result, read_result
from mutransfer.sweep.events import Appended, Event, Listener, ignore
from mutransfer.trials import records

LRS = tuple(2.0**e for e in range(-11, -3))


def swept(tmp_path: Path, **changes: Any) -> Result:
    """A sweep whose optimum moves by 0.3 octaves a doubling of width, which its tolerance calls transfer."""
    fields = {"widths": (32, 64, 128), "lrs": LRS, "tolerance": 0.5} | changes
    sweep(small(tmp_path / "result", **fields), FakeTrain(str(tmp_path / "calls.sweep")))
    return read_result(tmp_path / "result")


def run(result: Result, listener: Listener = ignore, **asked: Any) -> Confirmation:
    config = plan_confirmation(result, **({"sizes": {"width": 256}} | asked))
    train = FakeTrain(str(result.folder.parent / "calls"))
    return confirm(result, config, command="again", listener=listener, open_executor=in_process(train), load=load_fake)


def trained(result: Result) -> int:
    return len(calls(result.folder.parent / "calls"))


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_trains_one_size_at_three_rates_in_a_folder_of_its_own(tmp_path: Path) -> None:
    result = swept(tmp_path)
    before = files(result.folder)
    found = run(result)
    after = files(result.folder)
    assert {path: after[path] for path in before} == before
    there = records.read(result.folder / "confirm" / "mup-width=256" / "records.jsonl")
    lr = 2.0 ** result.analysis.arm("mup").optima[0].log2_lr
    assert {(r.arm, r.width, r.lr, r.seed) for r in there} == {
        ("mup", 256, rate, seed) for rate in (lr / 2, lr, 2 * lr) for seed in (0, 1)
    }
    assert trained(result) == 6
    # The planted optimum at width 256 is 0.9 octaves above that at width 32.
    assert found.measured is not None
    assert found.measured.ci_low <= 0.1 * 0.9**2 <= found.measured.ci_high
    assert found.at_least
    assert found.agrees
    assert "2 seeds" in found.sentence


def test_the_same_command_trains_nothing_again_and_more_seeds_only_what_is_new(tmp_path: Path) -> None:
    result = swept(tmp_path)
    first = run(result)
    assert run(result) == first
    assert trained(result) == 6
    assert run(result, seeds=4).seeds == 4
    assert trained(result) == 12
    assert run(result, seeds=1).seeds == 4
    assert trained(result) == 12


KILLED = """
import os, signal, sys
from pathlib import Path
from test_confirm import read_result, run
left = 4
def die(event):
    global left
    left -= type(event).__name__ == "Appended"
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
run(read_result(Path(sys.argv[1])), listener=die)
"""


def test_killed_in_the_middle_it_goes_on_and_retrains_nothing(tmp_path: Path) -> None:
    result = swept(tmp_path)
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here.parent}{os.pathsep}{here}"}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(result.folder)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert trained(result) == 4
    # The records of three rates and a seed are there, those of another not: a report may be asked for meanwhile.
    assert len(read_confirmations(result.folder, result.analysis, result.trials)) <= 1
    appended: list[Event] = []
    found = run(result, listener=lambda event: appended.append(event) if isinstance(event, Appended) else None)
    assert (len(appended), trained(result), found.seeds) == (2, 6, 2)
    assert len({call["trial_id"] for call in calls(tmp_path / "calls")}) == 6


def test_it_keeps_its_rates_when_the_result_has_grown(tmp_path: Path) -> None:
    result = swept(tmp_path)
    first = run(result)
    grown = swept(tmp_path, seeds=5)
    moved = [each.analysis.arm("mup").optima[0].log2_lr for each in (result, grown)]
    assert moved[0] != moved[1]
    assert run(grown, seeds=3).rates == first.rates
    assert trained(result) == 9
    elsewhere = swept(tmp_path, widths=(16, 32), seeds=5)
    assert elsewhere.analysis.arm("mup").optima[0].scale.width == 16
    lower = run(elsewhere)
    assert lower.log2_lr == pytest.approx(-7.3, abs=0.05)
    assert lower.log2_lr < first.log2_lr
    assert lower.seeds == 5
    assert trained(result) == 9 + 15


def test_every_confirmation_of_a_result_is_read_by_size(tmp_path: Path) -> None:
    result = swept(tmp_path)
    assert read_confirmations(result.folder, result.analysis, result.trials) == ()
    wide, narrow = run(result, sizes={"width": 1024}), run(result, sizes={"width": 256})
    assert read_confirmations(result.folder, result.analysis, result.trials) == (narrow, wide)


def test_status_knows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = swept(tmp_path)
    run(result)
    assert main(["status", str(result.folder / "confirm" / "mup-width=256")]) == 0
    assert "6 of 6 trials done" in capsys.readouterr().out


def test_an_arm_keeps_its_changes(tmp_path: Path) -> None:
    normed = Arm("normed", "mup", (("model.qk_norm", True),))
    result = swept(tmp_path, variants=(normed,))
    found = run(result, arm="normed")
    assert found.arm == "normed"
    there = records.read(result.folder / "confirm" / "normed-width=256" / "records.jsonl")
    assert all(record.config["model"]["qk_norm"] for record in there)


@pytest.mark.parametrize(
    ("axis", "sizes", "size"), [("depth", (1, 2, 3), 4), ("batch_size", (8, 16), 32), ("steps", (20, 40), 80)]
)
def test_any_axis_can_be_confirmed(axis: str, sizes: tuple[int, ...], size: int, tmp_path: Path) -> None:
    result = swept(tmp_path, widths=(32,), steps=SweepConfig.steps, **{DIMENSIONS[axis].sizes: sizes})
    with pytest.raises(ValueError, match=f"expected --{axis.replace('_', '-')} for a sweep of .*, got --width"):
        run(result)
    found = run(result, sizes={axis: size})
    there = records.read(result.folder / "confirm" / f"mup-{axis}={size}" / "records.jsonl")
    assert {getattr(record, axis) for record in there} == {size}
    assert (found.scale[axis], found.at_least) == (size, False)
    assert f"{DIMENSIONS[axis].word} {size} at the rate tuned at {DIMENSIONS[axis].word} {sizes[0]}" in found.sentence


def test_divergence_there_is_a_result(tmp_path: Path) -> None:
    result = swept(tmp_path)
    config = plan_confirmation(result, {"width": 256})
    high = dataclasses.replace(config, lrs=tuple(DIVERGES_FROM * lr for lr in (1, 2, 4)))
    train = FakeTrain(str(tmp_path / "calls"))
    found = confirm(result, high, command="again", open_executor=in_process(train), load=load_fake)
    assert found.losses == (None, None, None)
    assert "diverged, and so did half and double" in found.sentence


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sizes": {}}, "expected --width for a sweep of widths, got no size; give --width"),
    ({"sizes": {"depth": 3}}, "expected --width for a sweep of widths, got --depth; give --width"),
    ({"sizes": {"width": 256, "batch_size": 8}}, "got --width and --batch-size"),
    ({"sizes": {"width": 32}}, "found width 32, at which the rate was tuned"),
    ({"sizes": {"width": 250}}, "multiple of head_dim"),
    ({"sizes": {"width": 0}}, "expected width above 0, got 0"),
    ({"arm": "ntk"}, "found no arm 'ntk'; wanted one of mup"),
    ({"seeds": 0}, "expected seeds above 0, got 0"),
    ({"executor": "rai"}, "did you mean 'ray'"),
    ({"device": "gpu"}, "expected a known device, got 'gpu'"),
    ({"gpus_per_trial": 1.5}, "found gpus_per_trial 1.5"),
]


@pytest.mark.parametrize(("asked", "words"), REFUSED, ids=lambda value: str(value))
def test_what_cannot_be_confirmed_is_refused(asked: dict[str, Any], words: str, tmp_path: Path) -> None:
    result = swept(tmp_path)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=words) as refused:
        plan_confirmation(result, **({"sizes": {"width": 256}} | asked))
    assert "\n" not in str(refused.value)
    assert files(tmp_path) == before
    assert not (result.folder / "confirm").exists()


def test_a_proxy_without_an_optimum_is_refused(tmp_path: Path) -> None:
    result = swept(tmp_path, lrs=LRS[:4])
    with pytest.raises(ValueError, match="found width 32 of mup censored_high; wanted an optimum inside") as refused:
        run(result)
    assert "widen --lrs" in str(refused.value)


def test_other_data_are_refused(tmp_path: Path) -> None:
    result = swept(tmp_path)
    other = dataclasses.replace(CORPUS, fingerprint="0" * 16)
    before = files(tmp_path)

    def load(spec: str) -> Corpus:
        return other

    with pytest.raises(ValueError, match=f"fingerprint {'0' * 16}; .* was made with {'f' * 16}"):
        confirm(result, plan_confirmation(result, {"width": 256}), command="again", load=load)
    assert files(tmp_path) == before


def test_recommend_points_to_it_and_then_to_what_it_found(tmp_path: Path) -> None:
    result = swept(tmp_path, variants=(Arm("normed", "mup", (("model.qk_norm", True),)),))
    advice = advise(result.folder, Scale(256))
    assert advice.check is not None
    words = shlex.split(advice.check.command)
    assert words == ["mutransfer", "confirm", str(result.folder), "--width", "256", "--arm", "mup"]
    assert describe(advice).endswith(
        f"check it there: {advice.check.command}  (6 trials, {advice.check.flops:.2e} FLOPs)"
    )
    other = advise(result.folder, Scale(256), arm="normed")
    assert other.check is not None
    assert other.check.command.endswith("--arm normed")
    assert advise(result.folder, Scale(32)).check is None
    found = run(result)
    there = records.read(result.folder / "confirm" / "mup-width=256" / "records.jsonl")
    assert (len(there), sum(record.flops for record in there)) == (advice.check.trials, advice.check.flops)
    assert advise(result.folder, Scale(256)).confirmed == found
    assert describe(advise(result.folder, Scale(256))).endswith(f"checked there: {found.sentence}")
    assert json.loads(json.dumps(advice.plain()))["check"]["trials"] == 6


def test_the_expected_loss_is_told_in_the_unit_of_the_loss(tmp_path: Path) -> None:
    told = describe(advise(swept(tmp_path, loss="squared_error").folder, Scale(256)))
    assert re.search(r"expected loss from the rate's uncertainty: [\d.]+ squared error$", told, re.MULTILINE)
    assert "nats" not in told


TINY = ["--steps", "6", "--seeds", "2", "--executor", "inprocess", "--device", "cpu", "--eval-batches", "1"]
SMALL = [*TINY, "--widths", "16,32", "--lrs", "2^-9..2^-3", "--base-width", "16", "--parametrizations", "mup"]


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "result")
    assert main(["sweep", *SMALL, "--out", out]) == 0
    capsys.readouterr()
    assert main(["confirm", out, "--width", "48"]) == 0
    text = capsys.readouterr().out
    assert "mup: width 48 at the rate tuned at width 16" in text
    assert main(["confirm", out, "--width", "48", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sentence"] in text
    assert len(records.read(tmp_path / "result" / "confirm" / "mup-width=48" / "records.jsonl")) == 6
    assert main(["confirm", out]) == 2
    assert capsys.readouterr().err == "mutransfer: expected --width for a sweep of widths, got no size; give --width\n"
    assert main(["confirm", str(tmp_path / "none"), "--width", "48"]) == 2
    assert "found no result" in capsys.readouterr().err
