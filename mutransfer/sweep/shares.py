"""Slots, and the shares of them that submissions take. First they are spread, then packed.

A slot is a CPU, a GPU, or as many GPUs as were asked for each trial. Only whole GPUs that nobody asked for otherwise
are shared, by processes that know nothing of each other: what fills a part of one (of its memory, and of the time in
which it computes) takes that share of it at least. Not measured on a GPU.
"""

from __future__ import annotations

from fractions import Fraction

WHOLE = Fraction(1)


def share_of(part: Fraction, waiting: int, free: Fraction, room: Fraction, sharers: int) -> Fraction:
    """The share that a submission gets, which fills `part` of a slot: that at least, and of what is free as much as the
    others that wait leave it. A whole slot, where no more wait than are free; and shares that sum to whole slots.

    Args:
        part: at most `room`.
        waiting: submissions that wait for a share, this one included.
        free: what is free of all slots together.
        room: the largest share that is free of one slot, at least 1 / sharers.
        sharers: submissions that a slot holds at once at most.
    """
    even = min(WHOLE, free / waiting)
    return min(room, max(part, Fraction(1, sharers), Fraction(1, int(1 / even))))


class Slot:
    """One that is not idle."""

    def __init__(self) -> None:
        self.free = WHOLE


class Slots:
    """Those of an executor, and what of them is free."""

    def __init__(self, count: int, sharers: int) -> None:
        self.idle, self.sharers = count, sharers
        self._partly: list[Slot] = []

    @property
    def free(self) -> Fraction:
        """Of all slots together."""
        return self.idle + sum((slot.free for slot in self._partly), Fraction(0))

    @property
    def room(self) -> Fraction:
        """The largest share that can be taken of one slot now."""
        if self.idle:
            return WHOLE
        largest = max((slot.free for slot in self._partly), default=Fraction(0))
        return largest if largest * self.sharers >= 1 else Fraction(0)

    def take(self, share: Fraction) -> Slot:
        """Of the fullest slot that has room for it, as Ray does; there must be one."""
        fitting = [slot for slot in self._partly if slot.free >= share]
        slot = min(fitting, key=lambda each: each.free) if fitting else Slot()
        if fitting:
            self._partly.remove(slot)
        else:
            self.idle -= 1
        self._set(slot, slot.free - share)
        return slot

    def give(self, slot: Slot, share: Fraction) -> None:
        """What was taken of a slot is free again."""
        if slot.free:
            self._partly.remove(slot)
        self._set(slot, slot.free + share)

    def _set(self, slot: Slot, free: Fraction) -> None:
        slot.free = free
        if free == WHOLE:
            self.idle += 1
        elif free:
            self._partly.append(slot)
