"""Taking a result folder for one driver."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mutransfer.sweep.folder import Origin, ResultFolder, explain_write_errors, read_origin
from mutransfer.sweep.lock import DriverLock


@contextlib.contextmanager
def claim(folder: ResultFolder, stored: Origin | None) -> Iterator[DriverLock]:
    """Make the folder if there is none, and hold its lock.

    Args:
        folder: the folder to take.
        stored: what it was last seen to be made with.

    Raises ValueError if another driver holds it, if one has changed it since it was seen, or if it cannot be written.
    """
    with explain_write_errors(folder):
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = DriverLock(folder.lock)
    try:
        if read_origin(folder) != stored:
            raise ValueError(f"found {folder.path} changed by another driver just now: run the same command again")
        yield lock
    except BaseException:
        if not folder.config.exists():
            _unmake(folder)
        raise
    finally:
        lock.release()


def _unmake(folder: ResultFolder) -> None:
    """Leave nothing of a folder in which nothing could be begun."""
    folder.lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # It was there before us, with something in it.
        folder.path.rmdir()
