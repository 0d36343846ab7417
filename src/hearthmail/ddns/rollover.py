"""The life of a key's record: seen for long enough before the key is used, kept for long enough afterwards.

TLSA and DKIM records hold keys, and who has one in a cache checks with it what we do now. A cache may be as old as the
TTL, and the servers need some time until all of them answer a change. So (RFC 7671 8.1, RFC 6781 4.1.2):

- A new value may be used once every authoritative server has answered it for two TTLs (`ready_at`).
- A value that its fragment no longer holds stays for two TTLs at least (`hold`).

A hook (certbot's, Rspamd's) needs no more than the fragment: write old and new value, `hearth-ddns apply`, wait for
`hearth-ddns ready`, change to the new key, write the fragment without the old value, `hearth-ddns apply`. Never in
another order: the time for which an old value stays counts from that last step.

All but `observe` are pure functions; places and values are remembered as `zone|name|type|value`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from hearthmail.ddns import authoritative
from hearthmail.ddns.authoritative import View
from hearthmail.ddns.merge import version_tag
from hearthmail.ddns.records import DEFAULT_TTL, Key, RRset
from hearthmail.ddns.state import State

# Mail that was signed with the old key may wait in a queue: Postfix and others give up after five days.
DKIM_QUEUE = 5 * 86400
# Seconds for which a name server may lag: longer than any zone's REFRESH that is of use (RFC 1912 2.2).
LAG = 86400


def rolls(key: Key) -> bool:
    """Whether the values of this place have a life: TLSA records, and DKIM keys (RFC 6376 3.6.2.1)."""
    return key.type == "TLSA" or (key.type == "TXT" and key.name.split(".")[-1] == "_domainkey")


def mark(key: Key, value: str) -> str:
    """A value in its place, as it is remembered."""
    return "|".join((*key, value))


def unmark(text: str) -> tuple[Key, str]:
    """The opposite of `mark`."""
    zone, name, rdtype, value = text.split("|", 3)
    return Key(zone, name, rdtype), value


def place(key: Key) -> str:
    """A place, as it is remembered."""
    return "|".join(key)


def shown_ttls(
    ttls: Mapping[str, int], rrsets: Iterable[RRset], owned: Collection[Key], retiring: Mapping[str, float]
) -> dict[str, int]:
    """The largest TTL, in seconds, with which others may have seen each of these places.

    The largest: a cache may have taken it before it was lowered. It is forgotten with the last value of ours.
    """
    kept = {place(key) for key in owned} | {place(unmark(one)[0]) for one in retiring}
    found = {where: ttl for where, ttl in ttls.items() if where in kept}
    for rrset in rrsets:
        if rolls(rrset.key) and rrset.values:
            found[place(rrset.key)] = max(rrset.ttl, ttls.get(place(rrset.key), 0))
    return dict(sorted(found.items()))


# Before a value is used ------------------------------------------------------------------------------------------


def see(
    seen_since: Mapping[str, float], view: View, servers: Collection[str], wanted: Collection[RRset], now: float
) -> dict[str, float]:
    """Remember since when every server answers our values.

    A value counts from the first time at which each server answered it. An answer without it ends that; a server that
    does not answer proves nothing either way. A time in the future means that the clock was set back: it counts anew.

    :param servers: all authoritative servers of the zone.
    :param wanted: our values in each place that was asked for; others there are forgotten.
    """
    places = {rrset.key for rrset in wanted}
    found = {one: since for one, since in seen_since.items() if unmark(one)[0] not in places}
    for rrset in wanted:
        answers = [view.answers.get(server, {}).get(rrset.key) for server in servers]
        for value in rrset.values:
            one = mark(rrset.key, value)
            if any(answer is not None and value not in answer.values for answer in answers):
                continue
            if one in seen_since:
                found[one] = min(seen_since[one], now)
            elif answers and all(answer is not None for answer in answers):
                found[one] = now
    return dict(sorted(found.items()))


def observe(
    remembered: State,
    servers: Collection[str],
    wanted: Collection[RRset],
    question: Callable[[str, Key], RRset | None],
    now: float,
) -> View:
    """Ask all servers of a zone for our values, and remember what they answer."""
    view = authoritative.observe(servers, [rrset.key for rrset in wanted], question)
    remembered.seen_since = see(remembered.seen_since, view, servers, wanted, now)
    answers = [one for answers in view.answers.values() for one in answers.values() if one and one.values]
    ttls = {**remembered.shown_ttls}
    for answer in answers:
        if rolls(answer.key):
            ttls[place(answer.key)] = max(answer.ttl, ttls.get(place(answer.key), 0))
    remembered.shown_ttls = dict(sorted(ttls.items()))
    return view


def forget(seen_since: Mapping[str, float], changed: Iterable[tuple[RRset | None, RRset | None]]) -> dict[str, float]:
    """Values that were just written, or removed, begin anew.

    :param changed: each RRset before and after the change.
    """
    gone = set()
    for before, after in changed:
        old = before.values if before else frozenset()
        new = after.values if after else frozenset()
        key = (after or before).key  # type: ignore[union-attr]
        gone |= {mark(key, value) for value in old ^ new}
    return {one: since for one, since in seen_since.items() if one not in gone}


def ready_at(since: float | None, ttl: int) -> float | None:
    """From when on a value may be used, in Unix time; None while not all servers answer it.

    :param ttl: seconds, as published.
    """
    return None if since is None else since + 2 * ttl


# After a value was used ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """What `hold` decides.

    :param desired: our records with those values that have to stay.
    :param keep: places that are no longer asked for, but have to stay as they are.
    :param retiring: until when each value stays, in Unix time.
    """

    desired: list[RRset]
    keep: frozenset[Key]
    retiring: dict[str, float]


def hold(
    desired: Iterable[RRset],
    owned: Mapping[Key, Collection[str]],
    retiring: Mapping[str, float],
    ttls: Mapping[str, int],
    now: float,
    begin: bool,
) -> Held:
    """Let values of ours that are no longer asked for stay for their time.

    :param owned: what we have published.
    :param retiring: until when values stay, from earlier.
    :param ttls: see `shown_ttls`.
    :param now: Unix time.
    :param begin: whether a place that is missing as a whole was given up on purpose; else it waits for a run that
        knows (a lost file must not remove it).
    """
    wanted = {rrset.key: rrset for rrset in desired}
    until: dict[str, float] = {}
    keep = set()
    for key, values in sorted(owned.items()):
        want = wanted.get(key)
        left = frozenset(values) - (want.values if want else frozenset())
        if not rolls(key) or not left:
            continue
        stays = set()
        longest = now + max(2 * ttls.get(place(key), DEFAULT_TTL), DKIM_QUEUE if key.type == "TXT" else 0)
        for value in left:
            one = mark(key, value)
            if one in retiring or want or begin:
                # No longer than if it began now: else the clock was set back since.
                until[one] = min(retiring.get(one, longest), longest)
            if one not in until or until[one] > now:
                stays.add(value)
        if want:
            # A name may hold one DKIM key only (RFC 6376 3.6.2.2): another one in its place is put there at once.
            tags = {version_tag(value) for value in want.values} if key.type == "TXT" else set()
            stays = {value for value in stays if version_tag(value) not in tags}
            wanted[key] = RRset(key, want.ttl, want.values | stays)
        elif stays:
            keep.add(key)
    return Held([wanted[key] for key in sorted(wanted)], frozenset(keep), until)


def withdraw(
    withdrawn: Mapping[str, float],
    before: Mapping[Key, Collection[str]],
    after: Mapping[Key, Collection[str]],
    now: float,
) -> dict[str, float]:
    """Remember for how long a value that was ours, and was just taken back, may be answered by a server that lags.

    :param withdrawn: until when, in Unix time, from earlier; what has passed is forgotten, and so is what is ours.
    :param before: what was ours in a zone before a write.
    :param after: what is ours now.
    """
    ours = {mark(key, value) for key, values in after.items() for value in values}
    gone = {mark(key, value) for key, values in before.items() for value in values} - ours
    # No longer than if it began now: else the clock was set back since.
    left = {one: min(until, now + LAG) for one, until in withdrawn.items() if until > now and one not in ours}
    return dict(sorted({**left, **dict.fromkeys(gone, now + LAG)}.items()))


def withdrawn_in(withdrawn: Mapping[str, float], zone: str, now: float) -> dict[Key, frozenset[str]]:
    """The values of a zone that a server may still answer although we took them back."""
    found: dict[Key, frozenset[str]] = {}
    for one, until in withdrawn.items():
        key, value = unmark(one)
        if key.zone == zone and now < until <= now + LAG:
            found[key] = found.get(key, frozenset()) | {value}
    return found


def over(owned: Mapping[Key, Collection[str]], retiring: Mapping[str, float], now: float) -> set[Key]:
    """The places all of whose values have stayed for their time."""
    return {
        key
        for key, values in owned.items()
        if rolls(key) and all(retiring.get(mark(key, value), now + 1) <= now for value in values)
    }
