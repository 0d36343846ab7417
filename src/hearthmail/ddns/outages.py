"""When a provider that failed is asked again: pure. 5 s after the first failure, twice as long after each further
one, at most 5 minutes, a little less by chance so that not all its customers come back in the same instant.
"""

from __future__ import annotations

from dataclasses import dataclass

from hearthmail.ddns.errors import AgentError

FIRST = 5.0
LONGEST = 300.0
# The part of a pause that chance may take away.
JITTER = 0.1


@dataclass(frozen=True)
class Outage:
    """A provider that does not do what it should.

    :param failures: how often it has failed in a row.
    :param at: when it failed last, in seconds of the Unix clock.
    :param until: when it is asked again.
    :param problem: how it failed, and `way_out` what a person can do about it.
    """

    failures: int = 0
    at: float = 0.0
    until: float = 0.0
    problem: str = ""
    way_out: str = ""


def failed(before: Outage | None, error: AgentError, now: float, chance: float) -> Outage:
    """It has failed (again).

    :param chance: a random number between 0 and 1.
    """
    failures = before.failures if before else 0
    # The exponent is bounded: an outage of a year must not overflow.
    pause = min(FIRST * 2.0 ** min(failures, 16), LONGEST) * (1 - JITTER * chance)
    return Outage(failures + 1, now, now + pause, error.problem, error.way_out)


def is_over(outage: Outage | None, now: float) -> bool:
    """Whether the provider may be asked. If the clock was set back since it failed, it may."""
    return outage is None or not outage.at <= now < outage.until
