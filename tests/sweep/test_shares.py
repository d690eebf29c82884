"""Slots are shared by what does not fill them: nothing waits for what is free, and no GPU holds more than it can."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from mutransfer.config import Execution
from mutransfer.search.cost import training_flops
from mutransfer.search.planned import PlannedTrial
from mutransfer.sweep.plan import plan_trials
from mutransfer.sweep.ready import Handout, Ready
from mutransfer.sweep.shares import WHOLE, Slots, share_of

from .fakes import small

WIDTHS = (32, 48, 64, 80, 96)
PLANNED = plan_trials(small(Path("unused"), widths=WIDTHS, lrs=(0.01,), seeds=12), "any")


class Case(NamedTuple):
    """GPUs that submissions share, and of each shape how many trials there are, and how many fill a GPU."""

    gpus: int
    sharers: int
    counts: list[int]
    full: list[int]

    def planned(self) -> list[PlannedTrial]:
        of_width = {width: [each for each in PLANNED if each.config.model.width == width] for width in WIDTHS}
        return [each for width, count in zip(WIDTHS, self.counts, strict=True) for each in of_width[width][:count]]

    def full_of(self, trial: PlannedTrial) -> int:
        return self.full[WIDTHS.index(trial.config.model.width)]

    def part(self, handout: Handout) -> Fraction:
        """Of a GPU that is filled."""
        return Fraction(len(handout.trials), self.full_of(handout.trials[0])) if handout.mode else WHOLE

    def execution(self, trial: PlannedTrial) -> Execution:
        return Execution(self.full_of(trial), "graph")


def each(low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=len(WIDTHS), max_size=len(WIDTHS))


CASES = st.builds(Case, st.integers(1, 4), st.integers(1, 8), each(0, 12), each(1, 16))


def taken(ready: Ready, slots: Slots) -> list[Handout]:
    handouts = []
    while (handout := ready.take(slots)) is not None:
        handouts.append(handout)
    return handouts


def check_slots(case: Case, slots: Slots, running: list[Handout]) -> None:
    on_slot: dict[int, list[Handout]] = {}
    for handout in running:
        on_slot.setdefault(id(handout.slot), []).append(handout)
    for together in on_slot.values():
        assert sum(handout.share for handout in together) + together[0].slot.free == WHOLE
        assert sum(case.part(handout) for handout in together) <= 1
        assert len(together) <= case.sharers
        assert len(together) == 1 or all(handout.mode for handout in together)
    assert len(on_slot) + slots.idle == case.gpus
    assert sum(handout.share for handout in running) + slots.free == case.gpus


def check_nothing_waits_in_vain(
    case: Case, waiting: list[PlannedTrial], alone: set[str], slots: Slots, running: list[Handout]
) -> None:
    """Whatever waits does so because its shape is being measured, or because no GPU has room for one such trial; those
    that failed want a GPU of their own."""
    measured = {handout.trials[0].config.cohort_key for handout in running if not handout.mode}
    known = [trial for trial in waiting if trial.config.cohort_key not in measured]
    if known:
        assert slots.idle == 0
    if known and not any(trial.trial_id in alone for trial in known):
        first = max(known, key=lambda trial: training_flops(trial.config))
        least = max(Fraction(1, case.full_of(first)), Fraction(1, case.sharers))
        assert all(handout.slot.free < least for handout in running)


@given(CASES, st.randoms(use_true_random=False))
def test_no_gpu_idles_while_something_waits_and_none_holds_more_than_it_can(case: Case, draw: object) -> None:
    slots, ready, running = Slots(case.gpus, case.sharers), Ready(None, lambda trial: None), list[Handout]()
    ready.add(case.planned())
    waiting = {trial.trial_id: trial for trial in case.planned()}
    measured: Counter[int] = Counter()
    alone: set[str] = set()
    while waiting or running:
        assert len(ready) == len(waiting)
        while (handout := ready.take(slots)) is not None:
            running.append(handout)
            check_slots(case, slots, running)
            first = handout.trials[0]
            width = first.config.model.width
            if handout.mode is None:
                measured[width] += 1
                assert measured[width] == 1
                continue
            assert measured[width] == 1
            assert first.trial_id in alone or not alone & set(waiting)
            assert {trial.config.model.width for trial in handout.trials} == {width}
            assert 1 <= len(handout.trials) <= case.full_of(first)
            assert handout.share >= case.part(handout)
            if first.trial_id in alone:
                assert (len(handout.trials), handout.share) == (1, WHOLE)
            for trial in handout.trials:
                del waiting[trial.trial_id]
        check_nothing_waits_in_vain(case, list(waiting.values()), alone, slots, running)
        if running:
            ended = running.pop(draw.randrange(len(running)))  # type: ignore[attr-defined]
            slots.give(ended.slot, ended.share)
            if ended.mode is None:
                ready.learn(ended.trials[0].config, case.execution(ended.trials[0]))
            elif draw.random() < 0.2 and ended.trials[0].trial_id not in alone:  # type: ignore[attr-defined]
                ready.part(ended.trials)
                waiting |= {trial.trial_id: trial for trial in ended.trials}
                alone |= {trial.trial_id for trial in ended.trials}
    assert slots.idle == case.gpus
    assert measured == {width: 1 for width, count in zip(WIDTHS, case.counts, strict=True) if count}


def known(case: Case) -> Ready:
    """Every shape is measured, and nothing runs."""
    ready, slots = Ready(None, lambda trial: None), Slots(len(WIDTHS), 1)
    ready.add(case.planned())
    for handout in taken(ready, slots):
        ready.learn(handout.trials[0].config, case.execution(handout.trials[0]))
    return ready


@given(CASES)
def test_the_dearest_go_first(case: Case) -> None:
    ready, slots = known(case), Slots(case.gpus, case.sharers)
    costs = [training_flops(handout.trials[0].config) for handout in taken(ready, slots)]
    assert costs == sorted(costs, reverse=True)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 16), st.integers(1, 8))
def test_spread_first_then_packed(gpus: int, shapes: int, full: int, sharers: int) -> None:
    """One trial of each shape: a GPU each where there are enough, else as many at once as fit on all of them."""
    counts = [int(place < shapes) for place in range(len(WIDTHS))]
    case = Case(gpus, sharers, counts, [full] * len(WIDTHS))
    handouts = taken(known(case), Slots(gpus, sharers))
    assert len(handouts) == min(shapes, gpus * min(full, sharers))
    on_slot = Counter(id(handout.slot) for handout in handouts)
    assert len(on_slot) == min(shapes, gpus)
    if shapes <= gpus:
        assert {handout.share for handout in handouts} == {WHOLE}
    elif len(handouts) == shapes:  # nothing is kept back that somebody could have
        assert sum(handout.share for handout in handouts) == gpus


@given(st.integers(1, 4), st.integers(0, 12), st.integers(1, 16), st.integers(1, 8))
def test_one_shape_alone_is_split_evenly_over_gpus_of_its_own(gpus: int, count: int, full: int, sharers: int) -> None:
    sizes, free, left = [], gpus, count
    while left and free:
        sizes.append(min(-(-left // free), full))
        left, free = left - sizes[-1], free - 1
    case = Case(gpus, sharers, [count, 0, 0, 0, 0], [full] * len(WIDTHS))
    handouts = taken(known(case), Slots(gpus, sharers))
    assert [len(handout.trials) for handout in handouts] == sizes
    assert {handout.share for handout in handouts} <= {WHOLE}


@given(CASES, st.integers(1, 16))
def test_where_one_alone_fits_on_a_slot_nothing_is_shared(case: Case, most: int) -> None:
    """CPUs, and GPUs of which a number was given for each trial."""
    ready, slots = Ready(most, lambda trial: Execution()), Slots(case.gpus, 1)
    ready.add(case.planned())
    handouts = taken(ready, slots)
    assert len(handouts) == min(case.gpus, sum(case.counts)) or all(
        len(handout.trials) < -(-sum(case.counts) // case.gpus) for handout in handouts
    )
    assert {handout.share for handout in handouts} <= {WHOLE}
    assert len({id(handout.slot) for handout in handouts}) == len(handouts)


def test_the_fullest_slot_with_room_is_taken_as_ray_takes_it() -> None:
    slots = Slots(3, 4)
    fuller, other = slots.take(Fraction(3, 4)), slots.take(Fraction(1, 2))
    assert slots.take(Fraction(1, 4)) is fuller
    assert slots.take(Fraction(1, 4)) is other
    assert (slots.free, slots.room, slots.idle) == (Fraction(5, 4), 1, 1)
    slots.give(fuller, Fraction(3, 4))
    assert slots.take(Fraction(1, 4)) is other
    assert slots.take(Fraction(3, 4)) is fuller
    assert (slots.free, slots.room, slots.idle) == (1, 1, 1)


def test_what_is_less_than_one_of_as_many_as_can_share_a_slot_is_no_room() -> None:
    slots = Slots(1, 2)
    slots.take(Fraction(3, 5))
    assert (slots.free, slots.room) == (Fraction(2, 5), 0)


@given(st.fractions(0, 1), st.integers(1, 40), st.fractions(0, 8), st.fractions(0, 1), st.integers(1, 32))
def test_a_share_is_never_less_than_is_filled_nor_more_than_there_is(
    part: Fraction, waiting: int, others: Fraction, room: Fraction, sharers: int
) -> None:
    room = max(room, Fraction(1, sharers))
    part, free = min(part, room), room + others
    share = share_of(part, waiting, free, room, sharers)
    assert max(part, Fraction(1, sharers)) <= share <= room
    if part < share < room and share * sharers > 1:
        assert share.numerator == 1  # an even part, rounded up so that those who have it fill a slot
        assert share >= free / waiting
        assert Fraction(1, share.denominator + 1) < free / waiting
