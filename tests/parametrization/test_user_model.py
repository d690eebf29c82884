"""A function of the width, by name."""

from pathlib import Path

import pytest

from mutransfer.parametrization.user_model import load_build


@pytest.mark.parametrize("spec", ["os:getcwd", "builtins:dict"])
def test_a_function_that_takes_no_width_or_does_not_say_is_refused_in_one_line(spec: str) -> None:
    """Some of Python's own functions have no signature that can be read."""
    with pytest.raises(ValueError, match=rf"found {spec}, which takes no width \(.*\); wanted a function") as error:
        load_build(spec)
    assert "\n" not in str(error.value)


def test_what_takes_one_number_is_handed_on() -> None:
    assert load_build("math:sqrt")(4) == 2  # type: ignore[comparison-overlap]


def test_a_seed_is_taken_where_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_seeded_model.py").write_text("def build(width, seed):\n    return width + seed\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_build("my_seeded_model:build", seeded=True)(1, seed=2) == 3  # type: ignore[comparison-overlap]
    with pytest.raises(ValueError, match=r"takes no width \(missing a required argument: 'seed'\)"):
        load_build("my_seeded_model:build")
