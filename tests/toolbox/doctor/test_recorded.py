"""What of our own the doctor reads: observations, and the trials of a result folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from mutransfer.config import Scale
from mutransfer.toolbox.doctor.recorded import read_trials
from mutransfer.toolbox.doctor.run import run_of
from mutransfer.toolbox.doctor.watched import is_watched, read_watched
from mutransfer.toolbox.watch.observed import Observation
from mutransfer.trials import records
from mutransfer.trials.logs import LAYERED

REFERENCE = Path(__file__).parents[3] / "results" / "reference_cpu"


def test_a_watched_run_is_read_with_its_norms_by_layer_and_in_all(tmp_path: Path) -> None:
    names = ("weight_norm", "update_norm", "grad_norm", "clipped_grad_norm", "eps_share", "activation")
    values: dict[str, dict[str, float | None]] = {name: {"up": 3.0, "down": 4.0} for name in names}
    seen = [
        Observation(step, [[step, 2.0], [step + 1, None]], 0.0, None, attention_logit={}, **values)
        for step in range(0, 6, 2)
    ]
    path = tmp_path / "watch.jsonl"
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in seen))
    assert is_watched(path)
    run = run_of(read_watched(path))
    assert run.loss.step.tolist() == [0, 1, 2, 3, 4, 5]
    assert np.isnan(run.loss.value[1])
    assert run.grad_norm.value.tolist() == [5.0, 5.0, 5.0]
    assert {name: set(getattr(run, name)) for name in LAYERED} == {name: {"up", "down"} for name in LAYERED}
    assert run.update_ratio["up"].value.tolist() == [1.0, 1.0, 1.0]


def test_the_trials_of_a_result_have_their_curves_and_the_rate_that_they_were_trained_with() -> None:
    trials = read_trials(REFERENCE)
    assert [trial.record for trial in trials] == records.read(REFERENCE / "records.jsonl")
    for trial in trials:
        run, record = trial.run, trial.record
        assert run is not None
        assert trial.scale == Scale(record.width)
        assert len(run.loss) == len(run.lr) == (record.diverged_step + 1 if record.diverged else record.steps)
        assert run.loss.value[0] == pytest.approx(record.init_loss)
        if not record.diverged:
            assert run.lr.value.max() == pytest.approx(record.lr)
            assert run.loss.value[-15:].mean() == pytest.approx(record.final_loss)
            assert run.val_loss.value[-1] == record.val_loss


def test_a_missing_curve_is_missing_and_a_broken_one_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(REFERENCE, tmp_path / "result")
    first, second = records.read(folder / "records.jsonl")[:2]
    (folder / "curves" / f"{first.trial_id}.npy").unlink()
    trials = read_trials(folder)
    assert [trial.run is None for trial in trials[:2]] == [True, False]
    (folder / "curves" / f"{second.trial_id}.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"found a .* that cannot be read"):
        read_trials(folder)
