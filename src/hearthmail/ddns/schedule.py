"""When the resident service looks next: pure, told what has happened and what time it is.

A whole look compares everything with the name servers and the provider. A quick look finds out the addresses only,
and does what follows from a new one.
"""

from __future__ import annotations

from typing import Literal

from hearthmail.ddns.report import ERROR, Report

Due = Literal["full", "quick"]

# Seconds after the first sign of a change: the kernel tells of one change several times, and a router that has just
# connected needs a moment to know its address.
DEBOUNCE = 0.5
# Seconds between two quick looks. Echo services are other people's: they are asked less often than the own router.
QUICK = 10
QUICK_BY_ECHO = 60
# Seconds between two whole looks, and after one that ended in an error.
FULL = 300
FULL_AFTER_ERROR = 60


class Schedule:
    """What is due. All times are seconds of the Unix clock.

    A time that lies in the future although it should be past means that the clock was set back: then the look is due
    at once, instead of after as long as the clock was wrong.

    :param now: when the service starts; a whole look is due at once.
    """

    def __init__(self, now: float) -> None:
        self._full_from = self._quick_from = now
        self._full_pause: float = 0
        self._quick_pause: float = QUICK
        self._poked_at: float | None = None
        self._retry: tuple[float, float] | None = None
        self._doing: Due | None = None

    def poked(self, now: float) -> None:
        """Something may have happened: a look is due in half a second. More signs until then do not postpone it."""
        if self._poked_at is None:
            self._poked_at = now

    def due(self, now: float) -> Due | None:
        """The look that is due now, if any. Whoever takes it calls `done` afterwards."""
        self._doing = None
        if _over(self._full_from, self._full_pause, now) or (self._retry and _over(*self._retry, now)):
            self._doing = "full"
        elif _over(self._quick_from, self._quick_pause, now) or (
            self._poked_at is not None and _over(self._poked_at, DEBOUNCE, now)
        ):
            self._doing = "quick"
        return self._doing

    def next_at(self) -> float:
        """When the next look is due, if nothing happens before."""
        times = [self._full_from + self._full_pause, self._quick_from + self._quick_pause]
        if self._poked_at is not None:
            times.append(self._poked_at + DEBOUNCE)
        if self._retry:
            times.append(sum(self._retry))
        return min(times)

    def done(self, report: Report, now: float) -> None:
        """The look that was due is over.

        :param report: what it brought: who knew the address, and when there is something to do again.
        :param now: the time after it.
        """
        if self._doing == "full":
            self._full_from = now
            self._full_pause = FULL_AFTER_ERROR if report.exit_code == ERROR and report.retry_at is None else FULL
        self._doing = None
        self._quick_from, self._poked_at = now, None
        by_echo = report.found is not None and report.found.ipv4_source == "echo"
        self._quick_pause = QUICK_BY_ECHO if by_echo else QUICK
        # Never at once: what could not be done just now cannot be done in this instant either.
        self._retry = None if report.retry_at is None else (now, max(1.0, report.retry_at - now))


def _over(begin: float, seconds: float, now: float) -> bool:
    return not begin <= now < begin + seconds
