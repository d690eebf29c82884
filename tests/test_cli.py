"""The command line as a user meets it: what it prints, and what it says to bad input."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro

from mutransfer.arguments import read_sweep
from mutransfer.cli import main
from mutransfer.manual import COMMANDS
from mutransfer.trials import records

QUICK = ["--steps", "6", "--seeds", "1", "--executor", "inprocess", "--device", "cpu", "--eval-batches", "1"]
SMALL = [*QUICK, "--widths", "16,32", "--lrs", "2^-9..2^-5", "--base-width", "16"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "result"
    assert main(["sweep", *SMALL, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(result: Path, tmp_path: Path) -> Path:
    return shutil.copytree(result, tmp_path / "copy")


def test_a_sweep_writes_all_that_it_promises(result: Path) -> None:
    summary = json.loads((result / "summary.json").read_text())
    assert list(summary["arms"]) == ["sp", "mup"]
    assert {optimum["width"] for optimum in summary["arms"]["mup"]["optima"]} == {16, 32}
    assert "sp-mup" in summary["slope_difference"] or not summary["arms"]["sp"]["slopes"]
    assert len(records.read(result / "records.jsonl")) == 2 * 2 * 5
    assert len(list((result / "curves").glob("*.npy"))) == 20
    for name in ("loss_curves", "optimal_lr", "wider_is_better", "regret"):
        for kind in ("svg", "png"):
            assert (result / "figures" / f"{name}.{kind}").stat().st_size > 5000
    assert "mutransfer sweep" in (result / "report.html").read_text()


def test_the_same_command_runs_nothing_again_and_a_wider_one_only_what_is_new(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (copied / "records.jsonl").read_bytes()
    assert main(["sweep", *SMALL, "--out", str(copied)]) == 0
    assert (copied / "records.jsonl").read_bytes() == before
    wider = [word if word != "16,32" else "16,32,48" for word in SMALL]
    assert main(["sweep", *wider, "--out", str(copied)]) == 0
    after = (copied / "records.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 30
    assert "width 48" in capsys.readouterr().out


def test_the_order_of_the_records_does_not_change_the_summary(copied: Path) -> None:
    before = (copied / "summary.json").read_bytes()
    lines = (copied / "records.jsonl").read_bytes().splitlines(keepends=True)
    (copied / "records.jsonl").write_bytes(b"".join(reversed(lines)))
    assert main(["report", str(copied)]) == 0
    assert (copied / "summary.json").read_bytes() == before


def test_report_needs_the_records_and_the_config_alone(copied: Path) -> None:
    html = (copied / "report.html").read_bytes()
    for name in ("summary.json", "report.html", "study.journal", "driver.lock"):
        (copied / name).unlink()
    shutil.rmtree(copied / "figures")
    shutil.rmtree(copied / "curves")
    assert main(["report", str(copied)]) == 0
    assert (copied / "report.html").read_bytes() == html
    assert (copied / "figures" / "regret.png").exists()


def test_one_width_has_an_optimum_and_no_slope(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--widths", "16", "--lrs", "2^-9..2^-5", "--base-width", "16", "--parametrizations", "mup"]
    assert main(["sweep", *QUICK, *words, "--out", str(tmp_path / "one")]) == 0
    arm = json.loads((tmp_path / "one" / "summary.json").read_text())["arms"]["mup"]
    assert arm["slopes"] == {}
    assert arm["verdict"] == "inconclusive"
    assert "mup: inconclusive" in capsys.readouterr().out


def test_status_counts(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(result)]) == 0
    assert "20 of 20 trials done, 0 diverged, 0 failed" in capsys.readouterr().out


def test_plan_counts_and_times_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SMALL, "--out", str(tmp_path / "planned")]) == 0
    assert "20 trials" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_plan_leaves_out_what_is_recorded(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SMALL, "--out", str(result)]) == 0
    out = capsys.readouterr().out
    assert "0 trials" in out
    assert "20 trials are recorded" in out


def test_plan_refuses_the_folder_of_another_sweep(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *SMALL, "--steps", "500", "--out", str(result)]) == 2
    assert "made with steps 6" in one_line(capsys)


def test_options_may_stand_before_the_result(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "--width", "64", "--arm", "sp", str(result)]) in (0, 2)
    assert "Missing" not in capsys.readouterr().err


def test_an_unreadable_result_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").mkdir()
    for command in ("status", "report"):
        assert main([command, str(tmp_path)]) == 2
        assert "config.json" in one_line(capsys)


def test_tokens_are_found_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setenv("HOME", str(tmp_path))
    np.arange(4000, dtype="<u2").tofile(tmp_path / "tokens.bin")
    words = ["--data", "tokens:~/tokens.bin", "--model.vocab", "4000", "--lrs", "0.01", "--widths", "16"]
    assert main(["plan", *QUICK, *words, "--base-width", "16", "--out", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("kind", ["table", "json", "csv"])
def test_explain_names_every_kind_of_parameter(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--width", "512", "--preset", "llama", "--lr", "2^-8", "--format", kind]) == 0
    out = capsys.readouterr().out
    assert "blocks.*.attention.key.weight" in out
    if kind == "json":
        rows = {row["parameter"]: row for row in json.loads(out)}
        assert rows["blocks.*.mlp.up.weight"]["lr"] == 2**-10
        assert rows["readout.weight"]["forward_mult"] == 4 * 0.25


REFERENCE = Path(__file__).parent.parent / "results" / "reference_cpu"


def test_recommend_gives_a_rate_and_its_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", str(REFERENCE), "--width", "512", "--json"]) == 0
    advice = json.loads(capsys.readouterr().out)
    found = advice["recommendation"]
    assert found["ci_low"] < found["lr"] < found["ci_high"]
    assert found["arm"] == "mup"
    assert {group["lr"] for group in advice["groups"]} == {found["lr"], found["lr"] / 4}
    assert main(["recommend", str(REFERENCE), "--width", "512", "--steps", "200"]) == 0
    text = capsys.readouterr().out
    assert "tuned at 150 steps" in text
    assert "1.33 times the tokens" in text
    assert "known from the literature alone" in text


def test_recommend_says_in_json_what_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate that is not supported is no error there: a program reads that it is not."""
    for words, form, supported, beyond in (
        (["--width", "512"], "line", True, {"width": 1.0}),
        (["--width", "512", "--arm", "sp"], "line", True, {"width": 1.0}),
        (["--width", "256", "--steps", "300"], "two_regimes", True, {"tokens": 1.0}),
        (["--width", "256", "--tokens", "307200"], "two_regimes", True, {"tokens": 1.0}),
        (["--width", "512", "--steps", "100000"], "two_regimes", False, {"width": 1.0, "tokens": 9.381}),
    ):
        assert main(["recommend", str(REFERENCE), *words, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["ci_low"] < found["lr"] < found["ci_high"]
        assert (found["form"], found["supported"]) == (form, supported)
        assert found["extrapolation"] == pytest.approx(beyond, abs=1e-3)
        assert found["recommendation"]["lr"] == found["lr"]
        assert (found["plan"] is None) == supported


def test_recommend_refuses_what_the_interval_says_nothing_of(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in (
        ([str(REFERENCE), "--width", "512", "--steps", "100000"], "expected an interval of at most an octave"),
        ([str(REFERENCE), "--depth", "4"], "expected --width"),
        ([str(REFERENCE), "--width", "512", "--params", "1e6"], "which the trials know, got --params"),
        ([str(REFERENCE), "--width", "512", "--steps", "300", "--tokens", "1e6"], "expected --steps or --tokens"),
        ([str(REFERENCE), "--width", "500"], "multiple of head_dim"),
        ([str(REFERENCE), "--width", "512", "--arm", "mpu"], "wanted one of sp, mup"),
    ):
        assert main(["recommend", *words]) == 2
        assert why in one_line(capsys)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mutransfer: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


BAD = [
    (["--widths", "33"], "multiple of head_dim 16"),
    (["--widths", "16", "16"], "expected each of widths once, got 16 twice; remove one"),
    (["--widths", "0"], "expected width above 0, got 0"),
    (["--widths", "sixteen"], "--widths: expected a whole number, got 'sixteen'"),
    (["--widths"], "--widths: expected a value, got none"),
    (["--lrs", "0"], "expected a learning rate above 0, such as 0.003 or 2^-7, got '0'"),
    (["--lrs=-0.1"], "got '-0.1'"),
    (["--lrs", "nan"], "got 'nan'"),
    (["--lrs", "fast"], "got 'fast'"),
    (["--lrs", "2^-3..2^-5"], "the lower first"),
    (["--parametrizations", "mpu"], "did you mean 'mup'"),
    (["--optimizer.name", "adamww"], "did you mean 'adamw'"),
    (["--schedule.name", "cosin"], "did you mean 'cosine'"),
    (["--search", "grit"], "did you mean 'grid'"),
    (["--executor", "rai"], "did you mean 'ray'"),
    (["--preset", "lama"], "did you mean 'llama'"),
    (["--seeds", "0"], "expected seeds above 0, got 0"),
    (["--seeds", "two"], "--seeds: expected a whole number, got 'two'"),
    (["--stpes", "3"], "expected known options, got --stpes, 3; perhaps you meant --steps"),
    (["--model.widht", "3"], "perhaps you meant --model.width"),
    (["--lrs", "-2^-8"], "got '-2^-8'"),
    (["--widths", "16,,"], "expected values with one comma or a space between them, got '16,,'"),
    (["--widths", ",16"], "one comma"),
    (["--data", "text:missing.txt"], "found no file missing.txt"),
    (["--data", "text:empty.txt"], "empty file"),
    (["--data", "text:short.txt"], "wanted at least context + 1"),
    (["--data", "stdlb"], "did you mean 'stdlib'"),
    (["--device", "cuda"], "found no GPU"),
    (["--device", "cuda", "--executor", "ray"], "found no GPU"),
    (["--optimizer.momentum", "0.5"], "adamw does not use"),
    (["--schedule.warmup", "6"], "shorter than the run"),
    (["--model.n-heads", "2"], "exactly one"),
    (["--out", "/proc/mine"], "cannot be written"),
    (["--out", "a_file"], "cannot be written"),
    (["no_such_experiment"], "expected an experiment, got 'no_such_experiment'"),
    (["width_transfr"], "did you mean 'width_transfer'"),
    (["without_sweep.py"], "expected a function sweep() in without_sweep.py"),
    (["broken.py"], "expected broken.py to run, got SyntaxError"),
    (
        ["raises.py"],
        "got TypeError: SweepConfig.__init__() got an unexpected keyword argument 'bogus' in line 2",
    ),
    (["half_seed.py"], "expected seeds to be int, got 1.5"),
    (["--preset"], "--preset: expected a value, got none"),
    (["--preset=lama"], "did you mean 'llama'"),
    (["--model.width", "48"], "give --widths 48"),
    (["--init.std", "0.1"], "fan_in does not use"),
    (["--init.readout-scale", "0.5"], "a zero readout does not use"),
    (["--init.position-std", "0.5", "--model.positions", "rope"], "rope does not use"),
    (["--schedule.floor", "0.5", "--schedule.name", "constant"], "constant does not use"),
    (["--schedule.decay-fraction", "0.5"], "linear does not use"),
    (["--optimizer.name", "sgd", "--optimizer.scale-eps", "False"], "sgd does not use"),
    (["--n-trials", "5"], "--search random"),
    (["--search", "tpe", "--lrs", "0.1"], "wanted a range"),
    (["--model.output-mult", "nan"], "expected model.output_mult above 0, got nan"),
    (["--model.attention-mult", "-1"], "expected model.attention_mult above 0, got -1"),
    (["--widths", "16000000000000"], "at most 1048576, got"),
    (["--base-width", "-5"], "expected base_width above 0, got -5"),
    (["--out", ""], "found an empty out"),
    (["--experiment", "a/b"], "wanted a plain name"),
    (["--data", "text:~nobody_of_that_name/x"], "without a home"),
    (["--gpus-per-trial", "2", "--device", "cuda"], "found no GPU"),
]


@pytest.mark.parametrize(("words", "found"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_bad_input_is_one_line_and_writes_nothing(
    words: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "a_file").write_text("a file")
    (tmp_path / "without_sweep.py").touch()
    (tmp_path / "broken.py").write_text("def sweep(:")
    (tmp_path / "raises.py").write_text("from mutransfer import SweepConfig\nsweep = lambda: SweepConfig(bogus=1)\n")
    (tmp_path / "half_seed.py").write_text(
        "from mutransfer import SweepConfig\nsweep = lambda: SweepConfig(seeds=1.5)\n"
    )
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "width_transfer.py").touch()
    before = sorted(tmp_path.rglob("*"))
    experiment = [word for word in words[:1] if not word.startswith("-")]
    quick = [] if experiment == ["half_seed.py"] else QUICK  # whose --seeds would mend it
    assert main(["sweep", *experiment, *quick, *words[len(experiment) :]]) == 2
    assert found in one_line(capsys)
    after = [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in path.parts]
    assert after == before


def test_names_that_people_try_first_are_understood() -> None:
    words = ["--width", "64", "--lr", "2^-7", "--optimizer", "adam", "--schedule=cosine", "--model", "mine:build"]
    config = read_sweep("sweep", words)
    assert (config.widths, config.lrs, config.build) == ((64,), (2**-7,), "mine:build")
    assert (config.optimizer.name, config.schedule.name) == ("adam", "cosine")
    assert read_sweep("sweep", ["--seed", "3"]).search == "grid"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_a_sentence_two_examples_and_what_people_use(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def options(*words: str) -> tuple[str, set[str]]:
        with pytest.raises(SystemExit) as ended:
            main([name, *words])
        assert ended.value.code == 0
        told = capsys.readouterr().out
        return told, set(re.findall(r"^[│| ]*(?:-h, )?--([a-z][\w.-]+)", told, flags=re.MULTILINE)) - {"help"}

    told, shown = options("--help")
    assert told.startswith(f"usage: mutransfer {name} {COMMANDS[name].arguments}")
    assert all(f"  mutransfer {example}\n" in told for example in COMMANDS[name].examples)
    named = [option for option in COMMANDS[name].common if option.upper() not in COMMANDS[name].arguments.split()]
    common = {option.replace("_", "-").replace("own", "model") for option in named}
    assert shown == common or not common
    assert len(shown) <= 16
    assert options("--help-all")[1] >= shown


@pytest.mark.parametrize("example", [each for command in COMMANDS.values() for each in command.examples])
def test_examples_of_help_are_understood(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_tyro, parsed = tyro.cli, []

    def read(*given: Any, **settings: Any) -> Any:
        parsed.append(by_tyro(*given, **settings))
        if given[0].__name__ == "_Preset":
            return parsed[-1]
        raise KeyboardInterrupt  # before anything runs

    monkeypatch.setattr(tyro, "cli", read)
    name, *words = example.split()
    assert main([name, *words]) == 130
    assert parsed


def test_a_folder_of_another_sweep_or_other_data_is_refused(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    (tmp_path / "other.txt").write_text("other words " * 1000)
    for words, found in (
        (["--model.depth", "3"], "made with model.depth 2"),
        (["--schedule.name", "cosine"], "schedule.name 'linear'"),
        (["--data", f"text:{tmp_path / 'other.txt'}"], "data"),
    ):
        assert main(["sweep", *SMALL, *words, "--out", str(copied)]) == 2
        assert found in one_line(capsys)
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", ["report", "status", "recommend"])
def test_what_is_no_result_is_refused(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = ["--width", "64"] if command == "recommend" else []
    assert main([command, str(tmp_path), *extra]) == 2
    assert "wanted a" in one_line(capsys)
    assert not list(tmp_path.iterdir())


def test_a_corrupt_record_stops_the_report_with_its_line(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (copied / "records.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = lines[3][:50] + b"\n"
    (copied / "records.jsonl").write_bytes(b"".join(lines))
    assert main(["report", str(copied)]) == 2
    assert "line 4" in one_line(capsys)


def test_an_unknown_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["swep"]) == 2
    assert "did you mean 'sweep'" in one_line(capsys)


@pytest.mark.parametrize("words", [["--help"], ["status", str(REFERENCE)]], ids=["help", "status"])
def test_help_and_status_load_nothing_heavy(words: list[str]) -> None:
    script = "import sys; from mutransfer.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "optuna", "pandas", "matplotlib"} & set(run.stderr.split())


def test_the_inprocess_executor_imports_no_ray(tmp_path: Path) -> None:
    script = "import sys; from mutransfer.cli import main; main(sys.argv[1:]); assert 'ray' not in sys.modules"
    words = [*QUICK, "--widths", "16", "--lrs", "0.01", "--base-width", "16", "--out", str(tmp_path / "r")]
    subprocess.run([sys.executable, "-c", script, "sweep", *words], check=True, env={**os.environ, "COLUMNS": "120"})


def test_both_executors_give_the_same_bits(tmp_path: Path) -> None:
    found = {}
    for executor in ("ray", "inprocess"):
        folder = tmp_path / executor
        assert main(["sweep", *SMALL, "--executor", executor, "--out", str(folder)]) == 0
        losses = {r.trial_id: (r.init_loss, r.final_loss, r.val_loss) for r in records.read(folder / "records.jsonl")}
        curves = {path.name: path.read_bytes() for path in (folder / "curves").iterdir()}
        found[executor] = (losses, curves)
    assert found["ray"] == found["inprocess"]
    assert len(found["ray"][0]) == 20
