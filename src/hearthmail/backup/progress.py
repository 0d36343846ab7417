"""Saying how far something is."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from hearthmail.backup import state

# Seconds between two lines.
INTERVAL = 5.0


def size_text(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def seconds_text(seconds: float) -> str:
    """A time for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def left_text(seconds: float) -> str:
    """A time that is only guessed, for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def read(path: Path) -> dict[str, Any]:
    """What the run that is under way wrote last; empty when none is: one that was killed leaves its file behind."""
    data = state.read(path)
    return data if Path(f"/proc/{data.get('pid')}").exists() else {}


class Progress:
    """Tells how far it is every few seconds: a line for whoever started it, and a file for whoever asks.

    :param what: the command.
    :param active: whether to write lines; None: if somebody sits there.
    :param file: JSON: `command`, `pid`, `text`; and `files`, `all_files`, `bytes`, `all_bytes`, `seconds_left`
        as far as they are known. It is there while the run is, and written anew only when something has moved: a run
        that hangs is known by it (hearthmail.probe.box).
    """

    def __init__(
        self, what: str, active: bool | None = None, stream: TextIO | None = None, file: Path | None = None
    ) -> None:
        self.what = what
        self.stream = stream or sys.stderr
        self.active = self.stream.isatty() if active is None else active
        self.file = file
        self.started = time.monotonic()
        self.last = self.started
        self._written: object = None

    @property
    def wanted(self) -> bool:
        """Whether anybody can see it."""
        return self.active or self.file is not None

    def show(self, files: int, all_files: int, done: int, total: int, left: float | None = None) -> None:
        """Tell how far it is, if it is time for a line.

        :param done: bytes; `total` is 0 when it is not known.
        :param left: seconds that are left, if somebody knows better than the bytes done so far.
        """
        now = self._due()
        if now is None:
            return
        parts = [f"{files:,} of {all_files:,} files" if all_files else f"{files:,} files"] if files or all_files else []
        parts.append(f"{size_text(done)} of {size_text(total)}" if total else size_text(done))
        if left is None and 0 < done <= total:
            left = (now - self.started) * (total - done) / done
        if left is not None:
            parts.append(f"{left_text(left)} left")
        numbers = {"files": files, "all_files": all_files, "bytes": done, "all_bytes": total, "seconds_left": left}
        self.say(", ".join(parts), **numbers)

    def count(self, done: int, total: int, what: str) -> None:
        """Tell how many of something are done, if it is time for a line."""
        if self._due() is not None:
            self.say(f"{done:,} of {total:,} {what}")

    def line(self, text: str) -> None:
        """Tell what another program says of how far it is, if it is time for a line."""
        if self._due() is not None:
            self.say(text)

    def _due(self) -> float | None:
        """Give the time if a line is due, and begin to wait for the next one."""
        now = time.monotonic()
        if not self.wanted or now - self.last < INTERVAL:
            return None
        self.last = now
        return now

    def say(self, text: str, **numbers: float | None) -> None:
        """Write a line at once."""
        if self.active:
            print(f"{self.what}: {text}", file=self.stream, flush=True)
        # The time that is left is only guessed: it changes when nothing moves, too.
        moved = {name: value for name, value in numbers.items() if name != "seconds_left"} or text
        if self.file is not None and moved != self._written:
            self._written = moved
            # Nobody loses a backup because a full disk takes no progress.
            with suppress(OSError):
                state.write(self.file, {"command": self.what, "pid": os.getpid(), "text": text, **numbers})

    def end(self) -> None:
        """Take the file away: nothing is under way any more."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)
