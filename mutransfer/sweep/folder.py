"""A result folder: its files, what it was made with, and what is written into it beside the records."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutransfer.config import (
    SCHEMA,
    Arm,
    Scale,
    SweepConfig,
    differing_fields,
    flatten,
    sweep_from_json,
    to_json,
    validate,
)
from mutransfer.config.sweep import EXTENSIONS
from mutransfer.files import write_whole
from mutransfer.strict import parse_json, read_file
from mutransfer.trials import records

PLANNED = tuple(name for name in EXTENSIONS if name != "tolerance")
"""Fields of a SweepConfig by which the sweeps of one folder may plan different trials."""


@dataclass(frozen=True)
class ResultFolder:
    """Where everything about a sweep lies."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def records(self) -> Path:
        return self.path / "records.jsonl"

    @property
    def failures(self) -> Path:
        return self.path / "failures.jsonl"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def lock(self) -> Path:
        return self.path / "driver.lock"

    @property
    def rungs(self) -> Path:
        """What pruned searches saw: of every trial, at every rung it came to, its record if it were dropped there."""
        return self.path / "rungs.jsonl"

    @property
    def states(self) -> Path:
        """From where trials go on that wait at a rung, `TRIAL_ID.pt`."""
        return self.path / "rungs"

    def curve(self, trial_id: str) -> Path:
        """The training loss of every step, float32."""
        return self.path / "curves" / f"{trial_id}.npy"


class Asked(NamedTuple):
    """A sweep that was asked for, and the command that did."""

    command: str
    config: SweepConfig


@dataclass(frozen=True)
class Origin:
    """What a result folder was made with: the union of its sweeps, the data, and the command that ran last.

    `sweeps` are those that plan different trials, the last one last: their union may hold trials that none asked for.
    """

    config: SweepConfig
    data_fingerprint: str
    command: str
    sweeps: tuple[Asked, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A trial that ended in an error: no result, so it runs again. `when` is an ISO 8601 UTC time, `scale` holds the
    sizes that tell the cells of its sweep apart; an earlier version knew one `size` and not of what."""

    trial_id: str
    arm: str
    lr: float
    seed: int
    error: str
    when: str
    scale: dict[str, int] | None = None
    size: int | None = None

    @property
    def where(self) -> str:
        """Its scale in words, as "width 64"."""
        return f"size {self.size}" if self.scale is None else Scale(**self.scale).describe()


@contextlib.contextmanager
def explain_write_errors(folder: ResultFolder) -> Iterator[None]:
    """Turn an OSError (a full or unwritable disk) into the ValueError that says what to do."""
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"found that {folder.path} cannot be written ({error.strerror or error}); wanted a folder with room to "
            "write: make room or give another --out, then run the same command again (what is recorded is kept)"
        ) from error


def read_origin(folder: ResultFolder) -> Origin | None:
    """What the folder was made with; None where no sweep has been.

    Raises ValueError where config.json is missing beside records, corrupt, or of another schema.
    """
    if not folder.config.exists():
        if folder.records.exists():
            raise ValueError(
                f"found {folder.records} without config.json; wanted both: restore it, or give another --out"
            )
        return None
    try:
        data = parse_json(read_file(folder.config))
        schema = data["schema"]
        if schema == SCHEMA:
            return _parse_origin(data)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"found a {folder.config} that cannot be read ({error}); wanted what a sweep wrote: restore it, or give "
            "another --out"
        ) from None
    raise ValueError(f"found schema {schema} in {folder.config}; wanted {SCHEMA}: use the version that wrote it")


def extend(stored: Origin | None, wanted: Origin, folder: ResultFolder) -> Origin:
    """The folder's origin after this command: the union of its sweeps, and what was `wanted` the last of them.

    Raises ValueError, naming the first differing field, if the folder was made with another sweep or other data.
    """
    if stored is None:
        config = _along(wanted.config, wanted.config.listed)
        return dataclasses.replace(wanted, config=config, sweeps=(Asked(wanted.command, config),))
    differing = differing_fields(stored.config, wanted.config)
    if differing:
        name = differing[0]
        found, other = (flatten(to_json(origin.config))[name] for origin in (stored, wanted))
        raise ValueError(
            f"found {folder.path} made with {name} {found!r}; this command wanted {other!r}: give another --out for it"
        )
    if stored.data_fingerprint != wanted.data_fingerprint:
        raise ValueError(
            f"found {folder.path} made with data of fingerprint {stored.data_fingerprint}; {wanted.config.data} now "
            f"has {wanted.data_fingerprint}, wanted the same: give another --out for it"
        )
    union = _union(stored.config, wanted.config)
    validate(union)  # one name may have other changes, and scales that are one each may be several together
    last, *earlier = (
        Asked(sweep.command, _along(sweep.config, union.listed))
        for sweep in (Asked(wanted.command, wanted.config), *stored.sweeps)
    )
    others = (sweep for sweep in earlier if _planned(sweep.config) != _planned(last.config))
    return dataclasses.replace(wanted, config=union, sweeps=(*others, last))


def write_origin(folder: ResultFolder, origin: Origin) -> None:
    """Write config.json, whole or not at all."""
    data = {
        "schema": SCHEMA,
        "config": to_json(origin.config),
        "data_fingerprint": origin.data_fingerprint,
        "command": origin.command,
        "sweeps": [{"command": sweep.command, **_planned(sweep.config)} for sweep in origin.sweeps],
    }
    write_whole(folder.config, json.dumps(data, indent=1).encode() + b"\n", sync=True)


def write_curve(folder: ResultFolder, trial_id: str, losses: NDArray[Any]) -> None:
    """Write `curves/TRIAL_ID.npy`, whole or not at all."""
    path = folder.curve(trial_id)
    path.parent.mkdir(exist_ok=True)
    file = io.BytesIO()
    np.save(file, np.asarray(losses, np.float32), allow_pickle=False)
    write_whole(path, file.getvalue())


def append_failure(folder: ResultFolder, failure: Failure) -> None:
    """Add a line to failures.jsonl."""
    with folder.failures.open("ab") as file:
        file.write(json.dumps(dataclasses.asdict(failure)).encode() + b"\n")


def read_failures(folder: ResultFolder) -> list[Failure]:
    """The failures so far, oldest first; a torn last line is left out. Raises ValueError on a corrupt line."""
    return records.read_lines(folder.failures, Failure)[0] if folder.failures.exists() else []


def _parse_origin(data: dict[str, Any]) -> Origin:
    """Raises ValueError, TypeError or KeyError on anything that `write_origin` does not write."""
    config = _parse_config(data["config"])
    sweeps = tuple(
        # An entry of an earlier version lacks the fields that came later.
        Asked(entry["command"], _parse_config({**data["config"], **{k: entry[k] for k in PLANNED if k in entry}}))
        for entry in data["sweeps"]
    )
    texts = (data["data_fingerprint"], data["command"], *(sweep.command for sweep in sweeps))
    if not sweeps or not all(isinstance(text, str) for text in texts):
        raise ValueError("it lacks a sweep, or its data_fingerprint or a command is no text")
    return Origin(config, data["data_fingerprint"], data["command"], sweeps)


def _parse_config(data: dict[str, Any]) -> SweepConfig:
    config = sweep_from_json(data)
    validate(config)
    return config


def _planned(config: SweepConfig) -> dict[str, Any]:
    """The fields that tell the sweeps of a folder apart."""
    plain = to_json(config)
    return {name: plain[name] for name in PLANNED}


def _union(stored: SweepConfig, wanted: SweepConfig) -> SweepConfig:
    found = dataclasses.replace(
        wanted,
        lrs=tuple(sorted({*stored.lrs, *wanted.lrs})),
        seeds=max(stored.seeds, wanted.seeds),
        n_trials=max(stored.n_trials, wanted.n_trials),
        parametrizations=tuple(dict.fromkeys((*stored.parametrizations, *wanted.parametrizations))),
        variants=_variants(stored.variants, wanted.variants),
    )
    listed = {*stored.listed, *wanted.listed}
    scales = {scale for sweep in (stored, wanted) for scale in _along(sweep, listed).scales}
    return found.with_scales(sorted(scales))


def _along(config: SweepConfig, listed: Collection[str]) -> SweepConfig:
    """The same sweep with its scales given along the width and these dimensions."""
    return config.with_scales([config.whole(scale).only({"width", *listed}) for scale in config.scales])


def _variants(stored: Sequence[Arm], wanted: Sequence[Arm]) -> tuple[Arm, ...]:
    """The arms of both. Two that differ in rates of their own alone are one, which has the rates of both."""
    found: dict[Any, Arm] = {}
    for arm in (*stored, *wanted):
        alike = dataclasses.replace(arm, changes=tuple((name, None if name == "lrs" else v) for name, v in arm.changes))
        if alike in found:
            pairs = zip(found[alike].changes, arm.changes, strict=True)
            arm = dataclasses.replace(
                arm,
                changes=tuple((n, tuple(sorted({*old, *new})) if n == "lrs" else new) for (n, old), (_, new) in pairs),
            )
        found[alike] = arm
    return tuple(found.values())
