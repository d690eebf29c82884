"""The ladder of small runs for a run to come: from nothing, and beside what is known."""

import json
from pathlib import Path

import pytest

from mutransfer.cli import main
from mutransfer.config.scale import Scale
from mutransfer.experiment import load_experiment
from mutransfer.study.ladder import extend_ladder, parse_share, parse_target

REFERENCE = Path(__file__).parents[2] / "results" / "reference_cpu"
TARGET = "width=1024 depth=8 batch_size=256 steps=20000"


def test_a_ladder_from_nothing_is_an_experiment_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ladder.py"
    assert main(["plan", "--target", TARGET, "--budget", "2%", "--json", "--out", str(file)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["share"] <= 0.02
    assert found["half_after"] < 1.5 < found["half_before"]
    config = load_experiment(str(file))
    assert [each["scale"] for each in found["runs"]] == [
        {name: scale[name] for name in scale.known} for scale in config.ladder
    ]
    assert config.parametrizations == ("mup",)


def test_a_ladder_beside_a_result_knows_its_rates() -> None:
    found = extend_ladder(REFERENCE, Scale(width=256, steps=2400), 0.3)
    assert found.measured == 4
    assert found.ladder.before > found.ladder.half > 0
    assert found.ladder.share <= 0.3
    for rung in found.ladder.rungs:
        assert -12 < sum(rung.log2_lrs) / len(rung.log2_lrs) < -5


def test_the_refusal_names_a_plan_that_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    assert main(["recommend", str(REFERENCE), "--width", "256", "--steps", "20000"]) == 2
    told = capsys.readouterr().err
    words = shlex.split(told[told.index("mutransfer plan") :])
    assert main(words[1:]) == 0
    assert "octaves now" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "2", "2%", "200%"])
def test_parts_of_the_target(text: str) -> None:
    if text:
        assert parse_share(text) == pytest.approx({"2": 2.0, "2%": 0.02, "200%": 2.0}[text])
    else:
        with pytest.raises(ValueError, match="expected a part of the target run"):
            parse_share(text)


def test_a_target_in_words() -> None:
    assert parse_target("width=4096, tokens=1e9 batch-size=64") == Scale(width=4096, tokens=10**9, batch_size=64)
    for wrong in ("width", "width=-1", "widths=3", "width=nan"):
        with pytest.raises(ValueError, match="expected width=SIZE"):
            parse_target(wrong)
    assert main(["plan", "--target", "steps=100"]) == 2
