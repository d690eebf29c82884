"""Where the claims are measured: the folder of the sweeps, who runs their trials, and the corpus."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from rich.console import Console

from mutransfer import Corpus, Result, SweepConfig, load_corpus, read_result, run_sweep, write_result
from mutransfer.config import differing_fields
from mutransfer.sweep.progress import watch

ROOT = Path(__file__).parent.parent.parent
REFERENCE = ROOT / "results" / "reference_cpu"
"""The committed result of the default study."""
COMMAND = "make conformance"


@dataclass(frozen=True)
class Place:
    """`sweeps` holds one result folder for each sweep, named as its experiment; `executor` is ray or inprocess."""

    sweeps: Path
    executor: str

    @cached_property
    def corpus(self) -> Corpus:
        return load_corpus(SweepConfig.data)

    def result(self, config: SweepConfig) -> Result:
        """The sweep's result, run now as far as it is not recorded. The default study's is the committed reference,
        where that is complete."""
        return _result(replace(config, out=str(self.sweeps / config.experiment), executor=self.executor))


@lru_cache
def _result(config: SweepConfig) -> Result:
    if not differing_fields(config, SweepConfig()) and (recorded := reference(config)) is not None:
        return recorded
    print(f"sweep {config.experiment} in {config.folder}", flush=True)
    run_sweep(config, command=COMMAND, listener=watch(Console()))
    result = read_result(Path(config.folder))
    write_result(result)
    return result


def reference(config: SweepConfig) -> Result | None:
    """The committed reference if it holds every trial of this sweep, measured on this machine's corpus."""
    try:
        result = read_result(REFERENCE)
    except ValueError as error:
        print(f"the reference result is not used: {error}", flush=True)
        return None
    wanted = set(
        itertools.product(
            (arm.name for arm in config.arms), (scale.width for scale in config.scales), config.lrs, range(config.seeds)
        )
    )
    found = {(record.arm, record.width, record.lr, record.seed) for record in result.records}
    here = load_corpus(config.data).fingerprint
    same = not differing_fields(result.config, config) and result.records[0].data_fingerprint == here
    return result if same and wanted <= found else None
