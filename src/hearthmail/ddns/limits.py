"""How often a provider is written to: pure, told what was written and what time it is.

Providers block who writes too often, and a line that flaps would write all day. What is not allowed now is not
dropped: it waits until `ready_at`, and what is newest then is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from hearthmail.ddns.records import Key

# Address writes are the line's doing, challenges the certificates'; all others a person's, or the repair of what
# somebody else changed, which happens once in a whole look.
Kind = Literal["address", "challenge", "other"]

DAY = 86400


@dataclass(frozen=True)
class Rate:
    """So many at once, then one in so many seconds."""

    burst: int
    every: float


RATES = {"address": Rate(3, 60), "challenge": Rate(10, 6)}


@dataclass
class Account:
    """What was written at one provider.

    :param address: the instant until which the allowance of address writes is used up: each write moves it on by one
        interval, and it may lie ahead of the clock by the burst. Seconds of the Unix clock.
    :param challenge: the same for challenges.
    :param day: when the writes of the last 24 h were that count for the daily cap.
    """

    address: float = 0.0
    challenge: float = 0.0
    day: list[float] = field(default_factory=list)


def kind_of(keys: Iterable[Key], address: Iterable[Key]) -> Kind:
    """What a write to these places counts as.

    :param address: the places of the box's own address.
    """
    places, own = set(keys), set(address)
    if places & own:
        return "address"
    if places and all(key.name.split(".")[0] == "_acme-challenge" for key in places):
        return "challenge"
    return "other"


def ready_at(account: Account, kind: Kind, cap: int, now: float, in_person: bool = False) -> float:
    """When the next write is allowed; `now` when it is at once.

    :param cap: address and other writes in 24 h; 0: as many as there are. Challenges have no part in it.
    :param in_person: a person is waiting: only the cap counts, because the provider would refuse what exceeds it.
    """
    times = [now]
    rate = RATES.get(kind)
    if rate and not in_person:
        times.append(_used_until(account, kind, now) - (rate.burst - 1) * rate.every)
    if cap and kind != "challenge":
        day = _today(account, now)
        if len(day) >= cap:
            times.append(day[len(day) - cap] + DAY)
    return max(times)


def take(account: Account, kind: Kind, cap: int, now: float) -> Account:
    """Count a write."""
    if kind in RATES:
        rate = RATES[kind]
        # What a person wrote beyond the allowance does not hold back the service for longer than one interval.
        used = min(max(_used_until(account, kind, now), now) + rate.every, now + rate.burst * rate.every)
        account = replace(account, address=used) if kind == "address" else replace(account, challenge=used)
    if kind == "challenge":
        return account
    return replace(account, day=[*_today(account, now), now] if cap else [])


def _used_until(account: Account, kind: Kind, now: float) -> float:
    """Never further ahead than the burst: if it is, the clock was set back since, and the allowance is whole again.

    To cut it to the burst would hold everything back until the clock has caught up: it would move along with `now`.
    """
    used = account.address if kind == "address" else account.challenge
    return used if used <= now + RATES[kind].burst * RATES[kind].every else now


def _today(account: Account, now: float) -> list[float]:
    """The writes of the last 24 h; one in the future was just now, the clock was set back since."""
    return [min(at, now) for at in account.day if now - at < DAY]
