"""What the agent remembers between runs, in `/var/lib/hearthmail/ddns/state.json`, and the lock between runs.

The state is a help, never a need: without it the agent takes as its own what stands in the zone exactly as it
should, and touches nothing else until a person runs `apply`.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import math
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hearthmail.ddns.errors import LockError
from hearthmail.ddns.limits import Account
from hearthmail.ddns.outages import Outage
from hearthmail.ddns.records import Key
from hearthmail.files import replace_file

STATE_PATH = Path("/var/lib/hearthmail/ddns/state.json")
VERSION = 1


@dataclass
class Ipv6Proof:
    """Whether inbound connections to an IPv6 address were shown to work.

    :param at: when it was last tried, in seconds of the Unix clock.
    :param tries: how often it has failed for this address, in a row.
    """

    address: str = ""
    shown: bool = False
    why: str = ""
    at: float = 0.0
    tries: int = 0


@dataclass
class LastLook:
    """The last full comparison with the provider: the same difference is not taken there again at once."""

    seen: str = ""
    at: float = 0.0
    exit_code: int = 0
    text: list[str] = field(default_factory=list)


@dataclass
class State:
    """Everything remembered.

    :param published: fingerprint of the records that the last full `apply` put in place; None: never done, or lost.
    :param owned: our values by "zone|name|type".
    :param pending: values that were about to become ours when the state was written, in the same form. Whether they
        arrived is seen in the zone: those that stand there are ours, the others are forgotten.
    :param places: the provider that each zone lay at, as "type entry".
    :param limits: what was written at each provider, by its name in `dns_providers`.
    :param limits_off: the limits of writes are switched off by the configuration.
    :param outages: the providers that failed last time.
    :param told: what the last run said that asked anybody: the same is not said again.
    :param last_adoption: the last comparison without a state.
    :param challenges: values of `_acme-challenge` by full name, and the Unix time at which each was added.
    :param seen_since: since when every server answers a value, in Unix time, by "zone|name|type|value".
    :param retiring: until when a value that is no longer asked for stays, in Unix time, likewise.
    :param withdrawn: until when a name server may answer a value that we took back, likewise.
    :param astray: since when all name servers answer another address than ours, in Unix time, by "zone|name|type".
    :param sent_again: when it was sent again because of that, likewise.
    :param shown_ttls: the largest TTL that others may have seen, in seconds, by "zone|name|type".
    :param shortfalls: what the providers cannot hold, in words.
    :param withheld: what they cannot write as things stand, in words, by "zone|name|type".
    :param ipv6_gone_since: since when the published IPv6 address is missing on the box; 0: it is there.
    :param stopped: providers to which nothing is sent until their entry changes: see `hearthmail.ddns.stops`.
    :param waits: from when (`at`, missing in states of earlier releases) until when nothing is sent to a provider
        (`until`), in seconds of the Unix clock, and `why`.
    :param unchanged: requests by provider, to which it answered that nothing had changed, and when.
    """

    published: str | None = None
    owned: dict[str, list[str]] = field(default_factory=dict)
    pending: dict[str, list[str]] = field(default_factory=dict)
    ipv4: str | None = None
    ipv4_source: str = ""
    ipv4_problem: str = ""
    ipv6: str | None = None
    ipv6_problem: str = ""
    ipv6_proof: Ipv6Proof = field(default_factory=Ipv6Proof)
    ipv6_gone_since: float = 0.0
    last_write: float = 0.0
    shortfalls: list[str] = field(default_factory=list)
    withheld: dict[str, str] = field(default_factory=dict)
    last_look: LastLook = field(default_factory=LastLook)
    last_adoption: LastLook = field(default_factory=LastLook)
    told: list[str] = field(default_factory=list)
    limits: dict[str, Account] = field(default_factory=dict)
    limits_off: bool = False
    outages: dict[str, Outage] = field(default_factory=dict)
    stopped: dict[str, dict[str, str]] = field(default_factory=dict)
    waits: dict[str, dict[str, Any]] = field(default_factory=dict)
    unchanged: dict[str, dict[str, float]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    challenges: dict[str, dict[str, float]] = field(default_factory=dict)
    seen_since: dict[str, float] = field(default_factory=dict)
    retiring: dict[str, float] = field(default_factory=dict)
    withdrawn: dict[str, float] = field(default_factory=dict)
    astray: dict[str, float] = field(default_factory=dict)
    sent_again: dict[str, list[float]] = field(default_factory=dict)
    shown_ttls: dict[str, int] = field(default_factory=dict)

    def owned_in(self, zone: str) -> dict[Key, frozenset[str]]:
        """Our values in one zone."""
        return _in_zone(self.owned, zone)

    def set_owned(self, zone: str, owned: Mapping[Key, frozenset[str]]) -> None:
        """Replace what we remember of one zone."""
        self.owned = _with_zone(self.owned, zone, owned)

    def pending_in(self, zone: str) -> dict[Key, frozenset[str]]:
        """The values in one zone that were about to become ours."""
        return _in_zone(self.pending, zone)

    def set_pending(self, zone: str, pending: Mapping[Key, frozenset[str]]) -> None:
        """Replace what is about to become ours in one zone."""
        self.pending = _with_zone(self.pending, zone, pending)

    def set_withheld(self, zone: str, withheld: Mapping[Key, object], about: Collection[Key] | None = None) -> None:
        """Replace what we remember of a zone's places that cannot be written.

        :param about: the places that were looked at; None: all of the zone.
        """

        def stays(place: str) -> bool:
            key = Key(*place.split("|"))
            return key.zone != zone or (about is not None and key not in about)

        left = {place: why for place, why in self.withheld.items() if stays(place)}
        self.withheld = left | {"|".join(key): f"{key}: {why}" for key, why in withheld.items()}

    def owns(self, key: Key) -> bool:
        """Whether any value in this place is ours."""
        return bool(self.owned.get("|".join(key)))


def _in_zone(places: Mapping[str, list[str]], zone: str) -> dict[Key, frozenset[str]]:
    keys = ((Key(*place.split("|")), values) for place, values in places.items())
    return {key: frozenset(values) for key, values in keys if key.zone == zone}


def _with_zone(
    places: Mapping[str, list[str]], zone: str, values: Mapping[Key, frozenset[str]]
) -> dict[str, list[str]]:
    others = {place: held for place, held in places.items() if place.split("|")[0] != zone}
    ours = {"|".join(key): sorted(held) for key, held in values.items() if held}
    return dict(sorted({**others, **ours}.items()))


def parse(text: str) -> State:
    """Read a state back.

    :raises ValueError: when it is not one; a half understood state would be worse than none.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.pop("version", None) != VERSION:
        raise ValueError("not a state of this version")
    for name, make in (("ipv6_proof", Ipv6Proof), ("last_look", LastLook), ("last_adoption", LastLook)):
        data[name] = _build(make, data.get(name, {}))
    data["limits"] = _build_all(Account, data.get("limits", {}))
    data["outages"] = _build_all(Outage, data.get("outages", {}))
    state: State = _build(State, data)
    for place, values in (*state.owned.items(), *state.pending.items()):
        whole = isinstance(values, list) and all(isinstance(value, str) for value in values)
        if place.count("|") != 2 or not whole:
            raise ValueError(f"malformed entry {place}")
    if not all(place.count("|") == 2 for place in state.withheld):
        raise ValueError("malformed place")
    if not all(isinstance(line, str) for line in (*state.told, *state.places.values(), *state.withheld.values())):
        raise ValueError("malformed text")
    if not all(_is_time(at) for times in state.sent_again.values() for at in times):
        raise ValueError("malformed times of what was sent again")
    if not all(_is_time(at) for account in state.limits.values() for at in account.day):
        raise ValueError("malformed times of writes")
    _check_stops(state)
    numbers: list[Mapping[str, float]] = [state.seen_since, state.retiring, state.withdrawn, state.shown_ttls]
    numbers += [state.astray, *state.challenges.values()]
    if not all(_is_time(number) for times in numbers for number in times.values()):
        raise ValueError("malformed time")
    if not all(mark.count("|") >= 3 for mark in (*state.seen_since, *state.retiring, *state.withdrawn)):
        raise ValueError("malformed value with a time")
    return state


def _build_all(make: Any, data: Any) -> dict[str, Any]:
    """A map of dataclasses."""
    if not isinstance(data, dict):
        raise ValueError(f"not a map of {make.__name__}")
    return {name: _build(make, entry) for name, entry in data.items()}


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _check_stops(state: State) -> None:
    """What `hearthmail.ddns.stops` reads must be of the right kind.

    :raises ValueError: when it is not.
    """
    for entry in state.stopped.values():
        if not all(isinstance(entry[key], str) for key in ("seal", "zone", "answer", "way_out")):
            raise ValueError("malformed entry of stopped")
    for wait in state.waits.values():
        times = (wait["until"], wait.get("at", 0.0))
        if not all(_is_time(at) for at in times) or not isinstance(wait["why"], str):
            raise ValueError("malformed entry of waits")
    for requests in state.unchanged.values():
        if not all(_is_time(at) for at in requests.values()):
            raise ValueError("malformed entry of unchanged")


@functools.cache
def _defaults(make: Any) -> dict[str, Any]:
    empty = make()
    return {one.name: getattr(empty, one.name) for one in fields(make)}


def _build(make: Any, data: Any) -> Any:
    """Fill a dataclass; every value must be of the kind that its default is of. Unknown keys are left out."""
    if not isinstance(data, dict):
        raise ValueError(f"{make.__name__} is not a map")
    defaults = _defaults(make)
    known = defaults.keys() & data.keys()
    for name in known:
        default = defaults[name]
        # None stands for a text that is not known; a time may be written without a fraction.
        kinds: tuple[type, ...] = (type(default),)
        if default is None:
            kinds = (str, type(None))
        elif isinstance(default, float):
            kinds = (float, int)
        if not isinstance(data[name], kinds) or (isinstance(default, float) and not _is_time(data[name])):
            raise ValueError(f"malformed value of {name}")
    return make(**{name: data[name] for name in known})


def load(path: Path = STATE_PATH) -> State | None:
    """Read the state; None when it is missing or cannot be understood."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def save(state: State, path: Path = STATE_PATH) -> None:
    """Write the state at one stroke; an unchanged state is not written (the disk may be an SD card)."""
    # Compared as data: to indent a text takes ten times as long, and most looks change nothing.
    data = json.loads(json.dumps({"version": VERSION, **vars(state)}, default=vars))
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if json.loads(path.read_text(encoding="utf-8")) == data:
            return
    replace_file(path, json.dumps(data, indent=1) + "\n")


@contextlib.contextmanager
def lock(path: Path = STATE_PATH, wait: float = 120) -> Iterator[None]:
    """Hold the lock beside the state file, so that runs of the agent follow one another.

    :param wait: seconds to wait for another run; the longest one is bounded by its own limits.
    :raises LockError: when it takes longer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Opened to append: to open for writing would change its time at each look, and an SD card with it.
    with path.with_suffix(".lock").open("a") as file:
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise LockError(
                        f"Another run of hearth-ddns has been at work for {wait:.0f} s.",
                        "See `systemctl status hearth-ddns` and `ps`; it ends by itself in general.",
                    ) from error
                time.sleep(0.2)
        yield
