from __future__ import annotations

from typing import Literal

Due = Literal["full", "quick"]


class Schedule:
    def __init__(self, now: float) -> None:
        self._full = self._quick = now
        self._poke: float | None = None

    def poked(self, now: float) -> None:
        self._poke = now + 0.5

    def due(self, now: float) -> Due | None:
        if now >= self._full:
            return "full"
        if now >= self.next_at():
            return "quick"
        return None

    def next_at(self) -> float:
        return min(x for x in (self._full, self._quick, self._poke) if x is not None)

    def done(self, report: object, now: float) -> None:
        if now >= self._full:
            self._full = now + 300
        self._quick = now + 10
        self._poke = None
