"""The law's interval on planted surfaces; experiments/calibration/law.py asks the same with 2,000 studies."""

from analysis.planted_law import studies


def test_planted_targets_are_held() -> None:
    """One study of each surface, number of seeds and scatter: of 66 intervals 95% hold, give or take four."""
    found = studies(1, seed=7)
    assert len(found) == 66
    assert 0.88 <= found["held"].mean() <= 1.0
    assert found["half"].median() < 1.1
    assert found["error"].abs().mean() < 0.45
