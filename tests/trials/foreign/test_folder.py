"""A table of other people's runs in a result folder."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from mutransfer.trials.foreign.folder import Origin, read_folder, read_trials, write
from mutransfer.trials.foreign.place import ORIGIN, ROWS
from mutransfer.trials.foreign.reading import read
from mutransfer.trials.foreign.sources import read_rows
from mutransfer.trials.foreign.taking import ReadOptions

SWEEPS = Path(__file__).parents[2] / "data" / "sweeps"


def written(tmp_path: Path, file: Path, options: ReadOptions) -> Path:
    rows = read_rows([file])
    reading = read(rows, options)
    folder = tmp_path / "result"
    write(
        folder,
        rows,
        Origin("x", "mutransfer analyze x", rows.sources, rows.decimal, reading.resolved, reading.lines, 0.25),
    )
    return folder


def test_a_folder_gives_back_the_same_trials_whatever_the_cells_hold(tmp_path: Path) -> None:
    odd = tmp_path / "odd.csv"
    odd.write_text(
        '\ufefflr;loss;optimizer;note\n0,1;2,5;"a;b";"two\nlines"\n'
        '0,2;3,25;"a;b";"say ""hi"""\n0,1;;c,d;x\n0,3;1,234;c,d;\n'
    )
    files = {
        odd: ReadOptions(ignore=("note",), depth="2"),
        SWEEPS / "marin_optimizers.csv": ReadOptions(
            arm="optimizer",
            params="size",
            where=("changed=,learning_rate",),
            ignore=("changed",),
            tokens="tokens_label*1e9",
        ),
    }
    for file, options in files.items():
        folder = written(tmp_path, file, options)
        first = read_trials(file, options=options)
        again = read_trials(folder)
        pd.testing.assert_frame_equal(first.frame, again.frame)
        assert first.notes == again.notes
        assert len(pd.read_csv(folder / ROWS)) == len(read_rows([file]).frame)


def test_a_damaged_folder_is_refused_in_a_line(tmp_path: Path) -> None:
    folder = written(tmp_path, SWEEPS / "marin_7381.csv", ReadOptions(width="1024"))
    whole = json.loads((folder / ORIGIN).read_text())
    broken: list[object] = [
        "{",
        [],
        {},
        whole | {"schema": 2},
        whole | {"options": {}} | {"tolerance": "x"},
        whole | {"options": {"speed": 1}},
        whole | {"sources": [{"path": 1}]},
    ]
    for data in broken:
        (folder / ORIGIN).write_text(data if isinstance(data, str) else json.dumps(data))
        with pytest.raises(ValueError, match=r"^expected in .*source\.json"):
            read_folder(folder)
    (folder / ORIGIN).write_text(json.dumps(whole))
    (folder / ROWS).unlink()
    with pytest.raises(ValueError, match=r"expected .*trials\.csv beside source\.json"):
        read_folder(folder)


def test_options_for_a_folder_that_has_its_own_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, SWEEPS / "marin_7381.csv", ReadOptions(width="1024"))
    with pytest.raises(ValueError, match="expected no options"):
        read_trials(folder, options=ReadOptions(unit="bits"))
