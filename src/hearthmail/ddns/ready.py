"""`hearth-ddns ready`: may a new key be used, because its record has been seen for long enough?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from hearthmail.ddns import rollover, state
from hearthmail.ddns.authoritative import View
from hearthmail.ddns.errors import ConfigError, DnsError
from hearthmail.ddns.records import Key, RRset, canonical
from hearthmail.ddns.state import State

if TYPE_CHECKING:
    from hearthmail.ddns.agent import Agent

# Seconds between two looks at the servers.
LOOK = 30


@dataclass(frozen=True)
class Readiness:
    """The answer.

    :param at: from when on all the values may be used, in Unix time; None: not every server answers them yet.
    :param now: Unix time of the answer.
    :param lacking: what is missing, in words.
    """

    at: float | None
    now: float
    lacking: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the time has come."""
        return self.at is not None and self.at <= self.now

    def text(self) -> str:
        """The answer, for a person."""
        if self.at is None:
            return "Not ready: " + "; ".join(self.lacking or ("not every name server answers it yet",))
        when = datetime.fromtimestamp(self.at).astimezone().isoformat(sep=" ", timespec="seconds")
        if self.ready:
            return f"Ready since {when}."
        return (
            f"Not ready: it may be used from {when}, in {self.at - self.now:.0f} s, two TTLs after all servers had it."
        )


def place_of(agent: Agent, fqdn: str, rdtype: str) -> Key:
    """The place of a record.

    :raises ConfigError: when it is in none of our zones.
    """
    name = fqdn.lower().rstrip(".")
    zones = [zone for zone in agent.config.domains if f".{name}".endswith(f".{zone}")]
    if not zones:
        raise ConfigError(f"{fqdn} is in none of the domains {', '.join(agent.config.domains)}.", "Correct the name.")
    zone = max(zones, key=len)
    return Key(zone, name.removesuffix(zone).removesuffix("."), rdtype.upper())


def look(agent: Agent, key: Key, value: str | None) -> Readiness:
    """Ask every authoritative server now, and count from when all of them first answered.

    :param value: the value in question; None: all that the fragments ask for there.
    :raises ConfigError: when none is asked for.
    :raises DnsError: when the servers cannot be found.
    """
    asked = {one for rrset in agent.fragments() if rrset.key == key for one in rrset.values}
    values = asked if value is None else {canonical(key.type, value)}
    if not values:
        raise ConfigError(
            f"No fragment asks for {key}.", "Write it into the role's fragment, then `hearth-ddns apply`."
        )
    with state.lock(agent.state_path):
        remembered = state.load(agent.state_path) or State()
        servers = agent.find_servers(key.zone, agent.config.domains[key.zone].nameservers)
        known = remembered.owned_in(key.zone).get(key, frozenset())
        wanted = RRset(key, 0, frozenset(values | asked | known))
        view = rollover.observe(remembered, servers, [wanted], agent.question, agent.now())
        state.save(remembered, agent.state_path)
    ttl = max([remembered.shown_ttls.get(rollover.place(key), 0), *_answered_ttls(view, key)])
    times = {one: rollover.ready_at(remembered.seen_since.get(rollover.mark(key, one)), ttl) for one in values}
    known_times = [at for at in times.values() if at is not None]
    if len(known_times) == len(times):
        return Readiness(max(known_times), agent.now())
    lacking = []
    for server in servers:
        answer = view.answers.get(server, {}).get(key)
        if answer is None:
            lacking.append(f"{server} does not answer")
        elif not values <= answer.values:
            lacking.append(f"{server} answers {', '.join(sorted(answer.values)) or 'nothing'}")
    return Readiness(None, agent.now(), tuple(lacking))


def _answered_ttls(view: View, key: Key) -> list[int]:
    return [answer.ttl for answers in view.answers.values() if (answer := answers.get(key))]


def wait(
    agent: Agent,
    key: Key,
    value: str | None,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Readiness:
    """`look`, again and again until it is ready or the time is up.

    :param seconds: how long; 0: one look.
    """
    end = agent.now() + seconds
    while True:
        found: Readiness | None = None
        try:
            found = look(agent, key, value)
        except DnsError:
            if agent.now() >= end:
                raise
        left = end - agent.now()
        if found and (found.ready or left <= 0):
            return found
        until = found.at - found.now if found and found.at is not None else LOOK
        sleep(max(0.1, min(LOOK, until, left)))
