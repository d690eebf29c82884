"""One driver per result folder: a lock that the kernel releases however the driver ends."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from filelock import lock_descriptor

from mutransfer.strict import parse_json, read_file

PATIENCE, WAIT = 5, 0.03
"""Attempts at a held lock, and seconds between them: `status` holds it for an instant to see whether a driver lives."""


class Holder(NamedTuple):
    """The driver that holds a folder, or held it last."""

    pid: int
    host: str
    started: str
    slots: int
    running: tuple[str, ...]


class DriverLock:
    """`driver.lock`, held from construction to `release` or to the end of the process."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError, naming the process, if another driver holds it, and OSError if it cannot be written."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        if not _take(self._descriptor):
            os.close(self._descriptor)
            raise ValueError(describe_holder(path))

    def announce(self, running: Sequence[str], slots: int) -> None:
        """Write down who drives, and what runs right now."""
        holder = Holder(os.getpid(), socket.gethostname(), self._started, slots, tuple(running))
        text = json.dumps(holder._asdict()).encode() + b"\n"
        # In place, for the lock belongs to this file: a reader takes the first line, whatever is left behind it.
        os.pwrite(self._descriptor, text, 0)

    def release(self) -> None:
        """Let the next driver in."""
        os.close(self._descriptor)


def is_held(path: Path) -> bool:
    """Whether a living driver holds the lock."""
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return not _take(descriptor)
    finally:
        os.close(descriptor)


def read_holder(path: Path) -> Holder | None:
    """Who holds the lock or held it last; None where nobody has written it whole."""
    if not path.exists():
        return None
    try:
        data = parse_json(read_file(path).partition(b"\n")[0])
        return Holder(**{**data, "running": tuple(data["running"])})
    except (ValueError, TypeError, KeyError):
        return None


def describe_holder(path: Path) -> str:
    """The one line for whoever finds the folder taken."""
    holder = read_holder(path)
    who = f"process {holder.pid} on {holder.host}, since {holder.started}" if holder else "a process that just started"
    return (
        f"found {path.parent} in use by another driver ({who}); wanted one driver per folder: "
        "wait for it or stop it, or give another --out"
    )


def _take(descriptor: int) -> bool:
    for attempt in range(PATIENCE):
        if attempt:
            time.sleep(WAIT)
        if lock_descriptor(descriptor, blocking=False):
            return True
    return False
