"""The table of published claims: its gates refuse what is wrong, and the committed table is what the claims say."""

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments" / "conformance"))

import run
from claim import Claim
from claims import CLAIMS
from findings import FINDINGS
from gates import FAILS, HOLDS, Bound, Measurement, Quantity, judge
from measures.coordinates import CoordinateCheck
from measures.equivalence import Equivalence
from measures.horizon import GrowingHorizon
from measures.intervals import log_slope, over_seeds
from measures.published import LossTable, read_tables
from measures.spectra import SpectralNorms, spectral_norm
from measures.spectra import label as spectral
from measures.transfer import SlopeAndLoss, SlopeDifference, TransferRegret, TransferSlope, Wider, rise
from place import Place, reference
from sweeps import HORIZON_STEPS, HORIZONS, SWEEPS
from table import make_row, read_rows, to_entry, verdict, write_table

from mutransfer import ModelConfig, SweepConfig
from mutransfer.analysis import Curve, Optimum
from mutransfer.config import Scale, validate

COMMITTED = Path(__file__).parent.parent / "results" / "conformance"
BY_ID = {claim.id: claim for claim in CLAIMS}
RUN = [claim for claim in CLAIMS if not claim.needs]


def kept(claim: Claim) -> dict[str, Quantity]:
    """Quantities in the middle of every bound on them."""
    found: dict[str, Quantity] = {}
    for bound in claim.gate:
        low = bound.low if np.isfinite(bound.low) else bound.high - 1.0
        high = bound.high if np.isfinite(bound.high) else bound.low + 1.0
        start = found.setdefault(bound.quantity, Quantity(None))
        found[bound.quantity] = dataclasses.replace(start, **{bound.part: (low + high) / 2})
    return found


def test_every_claim_is_there_once() -> None:
    assert [claim.id for claim in CLAIMS] == [f"C{number}" for number in range(1, 25)]


@pytest.mark.parametrize("claim", RUN, ids=lambda claim: claim.id)
def test_what_keeps_every_bound_holds_and_what_breaks_one_fails(claim: Claim) -> None:
    right = kept(claim)
    assert judge(claim.gate, right) == HOLDS
    for bound in claim.gate:
        for wrong in (bound.low - 1e-3, bound.high + 1e-3, float("nan"), None):
            if wrong is None or not np.isinf(wrong):
                planted = right | {bound.quantity: dataclasses.replace(right[bound.quantity], **{bound.part: wrong})}
                assert judge(claim.gate, planted) == FAILS, (str(bound), wrong)
        assert judge(claim.gate, {name: q for name, q in right.items() if name != bound.quantity}) == FAILS


def test_an_empty_gate_holds_nothing() -> None:
    assert judge((), {"anything": Quantity(0.0)}) == FAILS


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_nothing_holds_without_a_measurement(claim: Claim) -> None:
    assert verdict(claim, None).startswith("not run")
    measured = make_row(claim, Measurement(kept(claim), ""), 1.0, {})
    if claim.needs:
        assert verdict(claim, measured) == f"not run (needs {claim.needs})"
    else:
        assert claim.measure is not None
        assert claim.gate
        assert verdict(claim, measured) == HOLDS
        of_another = dataclasses.replace(measured, inputs="0" * 16)
        assert verdict(claim, of_another) == "not run (yet)"


def test_a_measurement_belongs_to_its_settings_and_bounds() -> None:
    claim = BY_ID["C24"]
    assert claim.measure is not None
    longer = dataclasses.replace(claim.measure, steps=6000)  # type: ignore[type-var]
    looser = tuple(dataclasses.replace(bound, high=2.0) for bound in claim.gate)
    digests = {
        claim.inputs,
        dataclasses.replace(claim, measure=longer).inputs,
        dataclasses.replace(claim, gate=looser).inputs,
    }
    assert len(digests) == 3


def test_the_sweeps_can_be_run_and_have_folders_of_their_own() -> None:
    for sweep in SWEEPS:
        validate(sweep)
    assert len({sweep.experiment for sweep in SWEEPS}) == len(SWEEPS)


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    claim = BY_ID["C1"]
    rows = {"C1": make_row(claim, Measurement({"mup slope": Quantity(0.1, -0.1, 0.3)}, "here"), 2.0, {"torch": "2"})}
    write_table(rows, tmp_path)
    assert read_rows(tmp_path) == rows
    assert "+0.100 [-0.100, +0.300]" in (tmp_path / "README.md").read_text()


def test_the_committed_table_is_what_the_claims_say() -> None:
    stored = json.loads((COMMITTED / "conformance.json").read_text())
    rows = read_rows(COMMITTED)
    assert stored["claims"] == [json.loads(json.dumps(to_entry(claim, rows.get(claim.id)))) for claim in CLAIMS]


def test_every_row_of_the_committed_table_was_run_or_says_why_not() -> None:
    rows = read_rows(COMMITTED)
    for claim in CLAIMS:
        found = verdict(claim, rows.get(claim.id))
        assert found in (HOLDS, FAILS, f"not run (needs {claim.needs})"), claim.id
        assert (found == FAILS) == (claim.id in FINDINGS), f"{claim.id} {found}: findings.py explains what fails"


def test_the_readme_is_written_from_the_table(tmp_path: Path) -> None:
    write_table(read_rows(COMMITTED), tmp_path)
    assert (tmp_path / "README.md").read_text() == (COMMITTED / "README.md").read_text()


@pytest.mark.parametrize("id", ["C17", "C18", "C19"])
def test_published_tables_give_the_published_slopes(id: str, tmp_path: Path) -> None:
    claim = BY_ID[id]
    assert claim.measure is not None
    assert judge(claim.gate, claim.measure.measure(Place(tmp_path, "inprocess")).quantities) == HOLDS


def test_a_table_that_transfers_fails_the_claim_that_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = [-10, -9, -8, -7, -6]
    loss = {str(width): [3 + 0.03 * (rate + 8.1) ** 2 for rate in rates] for width in (96, 192, 384, 768)}
    monkeypatch.setattr("measures.published.read_tables", lambda: {"mup_issue_66": {"log2_lr": rates, "loss": loss}})
    found = LossTable("mup_issue_66").measure(Place(tmp_path, "inprocess"))
    assert judge(BY_ID["C17"].gate, found.quantities) == FAILS
    assert found.quantities["says that it does not transfer (1: yes)"].estimate == 0


def test_rates_on_a_grid_are_uniform_within_its_steps(tmp_path: Path) -> None:
    """Variance 1/12 octaves^2 each, at five widths one octave apart: squares of 10 about their mean."""
    claim = BY_ID["C18"]
    assert claim.measure is not None
    found = claim.measure.measure(Place(tmp_path, "inprocess")).quantities["SP slope"]
    assert found.ci_high == pytest.approx((found.estimate or 0.0) + 1.96 * math.sqrt(1 / 12 / 10), abs=1e-4)


def test_published_tables_carry_their_source() -> None:
    assert all(table["source"] for name, table in read_tables().items() if name != "about")


def test_a_power_law_is_its_slope_whatever_the_seed() -> None:
    widths = (32, 64, 256)
    found = log_slope(widths, [[seed * width**-0.5 for width in widths] for seed in (1.0, 2.0, 5.0)])
    assert found.estimate == pytest.approx(-0.5)
    assert found.ci_low == pytest.approx(found.ci_high)


def test_seeds_give_students_interval() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    assert (found.estimate, found.ci_high) == (2.0, pytest.approx(2.0 + 4.3027 / math.sqrt(3), abs=1e-4))


def tiny(**changes: object) -> SweepConfig:
    return dataclasses.replace(
        SweepConfig(
            experiment="tiny",
            search="grid",
            widths=(16, 32),
            base_width=16,
            lrs=(2.0**-9, 2.0**-7, 2.0**-5),
            steps=4,
            batch_size=2,
            eval_batches=1,
            model=ModelConfig(depth=1, context=8),
        ),
        **changes,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("place.write_result", lambda result: None)  # figures take seconds a sweep
        yield Place(tmp_path_factory.mktemp("sweeps"), "inprocess")


def test_every_kind_of_sweep_claim_measures_what_its_bounds_name(place: Place) -> None:
    both = tiny()
    for measure, id in (
        (TransferSlope(both, "mup"), "C1"),
        (SlopeDifference(both, "sp", "mup"), "C5"),
        (Wider(both, "mup"), "C6"),
        (TransferRegret(both, ("sp", "mup")), "C8"),
    ):
        assert {bound.quantity for bound in BY_ID[id].gate} <= set(measure.measure(place).quantities)
    found = SlopeAndLoss(both, "mup", both, "sp").measure(place).quantities
    assert set(found) == {"mup slope", "loss at width 32, mup - sp"}


def test_a_horizon_that_grows_is_measured_from_sweeps_over_steps(place: Place) -> None:
    sweeps = tuple(
        tiny(
            steps=SweepConfig.steps,
            experiment=f"steps_{width}",
            parametrizations=("sp",),
            widths=(width,),
            step_counts=steps,
        )
        for width, steps in ((16, (2, 8)), (32, (8,)), (64, (8, 32)))
    )
    found = GrowingHorizon(sweeps, "sp", 8).measure(place)
    assert {bound.quantity for bound in BY_ID["C22"].gate} <= set(found.quantities)
    assert "at width 64 after 32 steps" in found.conditions


def test_the_growing_horizon_finds_a_planted_law() -> None:
    """log2 lr* = -log2 width - log2(steps) / 2: slope -1 at fixed steps, -2 where steps grow as width^2."""

    def result(sweep: SweepConfig) -> Any:
        (width,) = sweep.widths
        optima = [
            Optimum(Scale(steps=n), -math.log2(width) - math.log2(n) / 2, None, None, 2.0, "interior", noise=0.01)
            for n in sweep.step_counts
        ]
        return SimpleNamespace(analysis=SimpleNamespace(arm=lambda name: SimpleNamespace(optima=optima)))

    found = GrowingHorizon(HORIZONS, "sp", HORIZON_STEPS).measure(SimpleNamespace(result=result))  # type: ignore[arg-type]
    fixed, growing, difference = (quantity.estimate for quantity in found.quantities.values())
    assert (fixed, growing, difference) == (pytest.approx(-1), pytest.approx(-2), pytest.approx(-1))


def test_a_rise_is_paired_by_seed_at_each_widths_best_rate() -> None:
    rates = np.array([-8.0, -7.0, -6.0])
    narrow = Curve(Scale(32), rates, np.array([[2.5, 2.0, 2.2], [3.5, 3.0, 3.2]]))
    wide = Curve(Scale(64), rates, np.array([[2.1, 2.3, 2.4], [3.3, 3.4, 3.5]]))
    mean, sem = rise(narrow, wide)
    assert mean == pytest.approx(0.2)
    assert sem == pytest.approx(0.1)


def test_tables_that_differ_fail_the_claim_that_they_are_one(place: Place) -> None:
    measure = Equivalence(base_width=16, steps=3, batch_size=1)
    assert measure.apart(("mup", "mup_table3", "mup_table9"), 4, False, place) == 0
    assert measure.apart(("sp", "mup"), 1, False, place) == 0
    assert measure.apart(("sp", "mup"), 4, False, place) > 1e-3


def test_the_coordinate_check_tells_sp_from_mup(place: Place) -> None:
    found = CoordinateCheck(widths=(32, 64, 128), updates=2, seeds=2, batch_size=2).measure(place).quantities
    assert abs(found["mup: largest slope in absolute value"].estimate or 1.0) < 0.3
    assert (found["sp: least slope"].estimate or 0.0) > 0.7
    assert found["sp_fixed_std: slope of the logits at initialization"].estimate == pytest.approx(0.5, abs=0.15)


def test_spectral_norms_tell_sp_from_mup(place: Place) -> None:
    found = SpectralNorms(widths=(32, 64, 128), looks=(2,), seeds=2, batch_size=2).measure(place).quantities
    slopes = {name: found[spectral(name, 2)].estimate or 0.0 for name in ("mup", "sp")}
    assert slopes["sp"] - slopes["mup"] == pytest.approx(1, abs=0.4)
    assert spectral_norm(torch.outer(torch.arange(4.0), torch.ones(9))) == pytest.approx(math.sqrt(14 * 9))


def test_the_reference_stands_for_the_study_only_where_it_is_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny()
    monkeypatch.setattr("place.REFERENCE", place.result(whole).folder)
    assert reference(whole) is not None
    assert reference(tiny(lrs=(*whole.lrs, 2.0**-3))) is None
    assert reference(tiny(steps=5)) is None
    monkeypatch.setattr("place.REFERENCE", Path("nowhere"))
    assert reference(whole) is None


def test_the_command_refuses_a_claim_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--only", "C99"]) == 2
    assert "expected a known claim, got 'C99'" in capsys.readouterr().err


def test_the_command_measures_what_it_is_asked_and_keeps_the_rest(tmp_path: Path) -> None:
    assert run.main(["--only", "C17", "--out", str(tmp_path)]) == 0
    assert run.main(["--only", "C18,C23", "--out", str(tmp_path)]) == 0
    assert set(read_rows(tmp_path)) == {"C17", "C18"}


def test_a_bound_says_what_it_wants() -> None:
    assert str(Bound("slope", -0.25, 0.25)) == "-0.25 ≤ slope ≤ 0.25"
    assert str(Bound("slope", high=0.0, part="ci_low")) == "lower end of slope ≤ 0"
