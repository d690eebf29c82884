"""How a sweep is watched: a live table on a terminal, plain lines elsewhere. Both listen to the driver's events."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table

from mutransfer.config import DIMENSIONS
from mutransfer.search.cost import seconds_left
from mutransfer.search.planned import Cell, Key
from mutransfer.search.protocol import Expected
from mutransfer.sweep.events import Appended, Closed, Dispatched, Event, Failed, Listener, Opened, Revised
from mutransfer.trials.records import Record, trained_part


class Best(NamedTuple):
    """The lowest mean of final_loss over seeds so far, in nats per token, and its rate. The verdict comes at the end,
    from the analysis."""

    lr: float
    loss: float


class Tally:
    """What is known of a sweep at this moment. An event costs the same however many came before it."""

    def __init__(self) -> None:
        self.done = self.diverged = self.pruned = self.failed = self.slots = 0
        self._part = 1.0
        self.remaining: dict[Cell, int] = {}
        self._most: dict[Cell, int] = {}
        self.done_in: Counter[Key] = Counter()
        self._flops: dict[Key, float] = {}
        self.along: tuple[str, ...] = ()
        self._shares: defaultdict[str, float] = defaultdict(lambda: 1.0)
        self._wall: defaultdict[Key, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._losses: defaultdict[Key, dict[float, list[float | None]]] = defaultdict(dict)

    def update(self, event: Event) -> None:
        """Take in what happened."""
        if isinstance(event, Opened):
            self.slots, self._flops = event.slots, {cell.key: flops for cell, flops in event.flops.items()}
            self._part = event.part
            self.along = next(iter(event.to_run)).along
            self._expect(event.to_run)
            for record in event.records:
                self._count(record)
        elif isinstance(event, Revised):
            self._expect(event.to_run)
        elif isinstance(event, Dispatched):
            self._shares[event.trial.trial_id] = event.share
        elif isinstance(event, Appended):
            self._ended(event.trial.cell)
            self._count(event.record, self._shares[event.record.trial_id])
        elif isinstance(event, Failed):
            self._ended(event.trial.cell)
            self.failed += 1

    @property
    def total(self) -> int:
        """Trials that there will be, as far as is known."""
        return self.done + self.failed + sum(self.remaining.values())

    @property
    def most(self) -> int:
        """Trials that there will be at most."""
        return self.done + self.failed + sum(self._most.values())

    def seconds_left(self) -> float | None:
        """Seconds until all is done; None before the first trial is."""
        remaining = {cell.key: count * self._part for cell, count in self.remaining.items()}
        wall = {key: total / count for key, (total, count) in self._wall.items()}
        return seconds_left(remaining, wall, self._flops, self.slots)

    def best(self, cell: Cell) -> Best | None:
        """The best rate of a cell so far; a rate at which any seed diverged or was pruned is none."""
        means = [
            Best(lr, sum(finite) / len(finite))
            for lr, losses in self._losses[cell.key].items()
            if len(finite := [loss for loss in losses if loss is not None]) == len(losses)
        ]
        return min(means, key=lambda best: best.loss, default=None)

    def _expect(self, to_run: Mapping[Cell, Expected]) -> None:
        self.remaining |= {cell: count.about for cell, count in to_run.items()}
        self._most |= {cell: count.most for cell, count in to_run.items()}

    def _ended(self, cell: Cell) -> None:
        self.remaining[cell] = max(0, self.remaining[cell] - 1)
        self._most[cell] = max(0, self._most[cell] - 1)

    def _count(self, record: Record, share: float = 1.0) -> None:
        """`share`: of the slot that it had; others took their time from the rest."""
        cell = record.arm, record.scale
        self.done += 1
        self.done_in[cell] += 1
        self.diverged += record.diverged
        self.pruned += record.pruned_step is not None
        wall = self._wall[cell]
        wall[0] += share * record.wall_s
        wall[1] += trained_part(record)
        loss = None if record.diverged or record.pruned_step is not None else record.final_loss
        self._losses[cell].setdefault(record.lr, []).append(loss)


def watch(console: Console) -> Listener:
    """The live table on a terminal, plain lines elsewhere."""
    if console.is_terminal:
        return LiveTable(console)
    return PlainLines(lambda line: console.print(line, soft_wrap=True, markup=False, highlight=False))


class LiveTable:
    """A table that a terminal shows until the sweep ends, and then keeps."""

    def __init__(self, console: Console) -> None:
        self._tally = Tally()
        self._live = Live(console=console, get_renderable=self.table, refresh_per_second=2)

    def __call__(self, event: Event) -> None:
        self._tally.update(event)
        if isinstance(event, Opened):
            self._live.start()
        elif isinstance(event, Failed):
            self._live.console.print(describe_failure(event), style="red", markup=False)
        elif isinstance(event, Closed):
            self._live.stop()

    def table(self) -> Table:
        """A row for each cell."""
        tally = self._tally
        table = Table(title=describe(tally), title_justify="left")
        sizes = [DIMENSIONS[name].word for name in tally.along]
        for name in ("arm", *sizes, "done", "to run", "best so far", "loss"):
            table.add_column(name, justify="left" if name == "arm" else "right")
        for cell, to_run in tally.remaining.items():
            best = tally.best(cell)
            rate, loss = (format_rate(best.lr), f"{best.loss:.4f}") if best else ("", "")
            done = tally.done_in[cell.key]
            sizes = [f"{cell.scale[name]:.15g}" for name in cell.along]
            table.add_row(cell.arm.name, *sizes, str(done), str(to_run), rate, loss)
        return table


class PlainLines:
    """Lines for a log: at the start, now and then, at each failure, and at the end with the best rates so far."""

    def __init__(
        self,
        write: Callable[[str], object],
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`every`: least seconds between two lines of progress."""
        self._tally = Tally()
        self._write, self._every, self._clock = write, every, clock
        self._last = clock()

    def __call__(self, event: Event) -> None:
        tally = self._tally
        tally.update(event)
        if isinstance(event, Opened):
            self._write(f"{event.folder}: {describe(tally)}, {event.slots} at once on {event.device}")
        elif isinstance(event, Failed):
            self._write(describe_failure(event))
        elif isinstance(event, Appended) and self._clock() - self._last >= self._every:
            self._last = self._clock()
            cell = event.trial.cell
            self._write(f"{describe(tally)}; {self._describe_cell(cell)}")
        elif isinstance(event, Closed):
            for cell in tally.remaining:
                self._write(self._describe_cell(cell))
            self._write(describe(tally))

    def _describe_cell(self, cell: Cell) -> str:
        best = self._tally.best(cell)
        found = f"best so far lr {format_rate(best.lr)}, loss {best.loss:.4f}" if best else "nothing yet"
        return f"{cell}: {found}"


def describe(tally: Tally) -> str:
    """Done and total, what went wrong, and the time left, in a line."""
    parts = [f"{tally.done}/{tally.total} trials"]
    if tally.most > tally.total:
        parts = [f"{tally.done} of about {tally.total} trials, at most {tally.most}"]
    parts += [f"{tally.diverged} diverged"] if tally.diverged else []
    parts += [f"{tally.pruned} pruned"] if tally.pruned else []
    parts += [f"{tally.failed} failed"] if tally.failed else []
    left = tally.seconds_left()
    parts += [f"{format_seconds(left)} left"] if left else []
    return ", ".join(parts)


def describe_failure(event: Failed) -> str:
    """A failed trial in a line."""
    trial = event.trial
    where = f"{trial.cell} lr {format_rate(trial.config.lr)} seed {trial.config.seed}"
    return f"failed: {where}: {event.error.splitlines()[0]}"


def format_rate(lr: float) -> str:
    """Powers of two as such, others to three digits."""
    mantissa, exponent = lr.hex().split("p")
    return f"2^{int(exponent)}" if float.fromhex(mantissa) == 1.0 else f"{lr:.3g}"


def format_seconds(seconds: float) -> str:
    """Seconds, minutes or hours, to what one needs to know."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
