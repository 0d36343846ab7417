"""Saying how far something is."""

from __future__ import annotations

import sys
import time
from typing import TextIO

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


class Progress:
    """Writes a line every few seconds: files, bytes, time left."""

    def __init__(self, what: str, active: bool | None = None, stream: TextIO | None = None) -> None:
        self.what = what
        self.stream = stream or sys.stderr
        self.active = self.stream.isatty() if active is None else active
        self.started = time.monotonic()
        self.last = self.started

    def show(self, files: int, all_files: int, done: int, total: int, left: float | None = None) -> None:
        """Tell how far it is, if it is time for a line.

        :param done: bytes; `total` is 0 when it is not known.
        :param left: seconds that are left, if somebody knows better than the bytes done so far.
        """
        now = time.monotonic()
        if not self.active or now - self.last < INTERVAL:
            return
        self.last = now
        parts = [f"{files} of {all_files} files" if all_files else f"{files} files"] if files or all_files else []
        parts.append(f"{size_text(done)} of {size_text(total)}" if total else size_text(done))
        if left is None and 0 < done <= total:
            left = (now - self.started) * (total - done) / done
        if left is not None:
            parts.append(f"{seconds_text(left)} left")
        self.say(", ".join(parts))

    def say(self, text: str) -> None:
        """Write a line at once."""
        if self.active:
            print(f"{self.what}: {text}", file=self.stream, flush=True)
