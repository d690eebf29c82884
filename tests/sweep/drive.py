"""A driver to be killed: `python -m sweep.drive JSON`, with the fields of `Order`."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mutransfer.sweep.driver import run_sweep
from mutransfer.sweep.events import Event
from mutransfer.sweep.executors import InProcess
from mutransfer.sweep.loop import TrialsFailedError
from mutransfer.trials import records

from .fake_legs import SPACE, FakeLegs
from .fake_training import FakeTrain
from .fakes import load_fake, small


@dataclass(frozen=True)
class Order:
    """What to run, and where to die: after the `count`-th event of the name `die`, or in the middle of an append."""

    out: str
    calls: str
    changes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    executor: str = "inprocess"
    die: str = ""
    count: int = 1

    def words(self) -> list[str]:
        return [sys.executable, "-m", "sweep.drive", json.dumps(asdict(self))]


def main(order: Order) -> int:
    left = order.count

    def die() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def listener(event: Event) -> None:
        if type(event).__name__ == "Dispatched":
            print("dispatched", flush=True)
        if type(event).__name__ == order.die:
            die()

    whole_append = records.append

    def torn_append(path: Path, record: records.Record) -> None:
        if left == 1:
            with path.open("ab") as file:
                file.write(json.dumps(asdict(record)).encode()[:200])
        die()
        whole_append(path, record)

    if order.die == "torn":
        records.append = torn_append
    changes = {name: tuple(v) if isinstance(v, list) else v for name, v in order.changes.items()}
    train: FakeTrain | FakeLegs = FakeTrain(order.calls, order.seconds)
    if "prune" in changes:
        changes["space"], train = SPACE, FakeLegs(order.calls)

    def open_executor(config: Any, corpus: Any) -> Any:
        if order.executor == "inprocess":
            return InProcess(train, corpus, "cpu")
        from mutransfer.sweep.ray_cluster import RayCluster

        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # Two trials at once, whatever the machine.
        return RayCluster(train, corpus, "cpu", 1.0)

    config = small(Path(order.out), **changes)
    try:
        run_sweep(config, command="again", listener=listener, open_executor=open_executor, load=load_fake)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except TrialsFailedError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    code = main(Order(**json.loads(sys.argv[1])))
    if order_imports := [name for name in ("ray", "torch") if name in sys.modules]:
        print("imported", *order_imports, flush=True)
    sys.exit(code)
