"""The records with which an authority is shown who rules a name: TXT at `_acme-challenge.<name>` (RFC 8555 8.4).

They are kept in the state, not in a fragment: who asked for them may die before it takes them away, so they go by
themselves after an hour. They are remembered as ours before they are written, so that a crash leaves none behind.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hearthmail.ddns import authoritative, limits, publish, state
from hearthmail.ddns.errors import AgentError, ConfigError, DnsError, ProviderError
from hearthmail.ddns.merge import Conflict
from hearthmail.ddns.providers import SPECS
from hearthmail.ddns.records import ADDRESS_TTL, Key, RRset
from hearthmail.ddns.report import Report, ZoneReport, clock_time
from hearthmail.ddns.state import State

if TYPE_CHECKING:
    from hearthmail.ddns.agent import Agent
    from hearthmail.ddns.config import Config

LABEL = "_acme-challenge"
# Seconds after which a challenge is taken for left behind.
STALE = 3600
# Seconds between two looks at the servers.
PAUSE = 0.5

# The digest that an ACME client gives is base64url (RFC 8555 8.4).
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,255}")


def is_challenge(key: Key) -> bool:
    """Whether a challenge's value stands in this place."""
    return key.type == "TXT" and key.name.split(".")[0] == LABEL


def place_of(domain: str, config: Config) -> Key:
    """Where the challenge for a name stands; a wildcard's stands with that of the name itself.

    :raises ConfigError: when the name is in none of our zones.
    """
    name = domain.lower().rstrip(".").removeprefix("*.")
    zones = [zone for zone in config.domains if f".{name}".endswith(f".{zone}")]
    if not zones:
        raise ConfigError(
            f"{domain} is in none of the domains {', '.join(config.domains)}.",
            "Ask for certificates for names in them only, or add the domain to mail_domains.",
        )
    zone = max(zones, key=len)
    return Key(zone, f"{LABEL}.{name.removesuffix(zone)}".rstrip("."), "TXT")


def records(challenges: Mapping[str, Mapping[str, float]], config: Config) -> list[RRset]:
    """The challenges of the state as records. Those of a domain that we no longer have are left out."""
    found = []
    for name, values in sorted(challenges.items()):
        domain = name.removeprefix(f"{LABEL}.")
        if values and any(f".{domain}".endswith(f".{zone}") for zone in config.domains):
            key = place_of(domain, config)
            if key.type in config.domains[key.zone].holds:
                found.append(RRset(key, ADDRESS_TTL, frozenset(values)))
    return found


def swept(challenges: Mapping[str, Mapping[str, float]], now: float) -> dict[str, dict[str, float]]:
    """The challenges without those that were left behind. One of the future was just now: the clock was set back."""
    fresh = {
        name: {value: min(at, now) for value, at in values.items() if now - at < STALE}
        for name, values in challenges.items()
    }
    return {name: values for name, values in fresh.items() if values}


def parse(pairs: Sequence[str], config: Config) -> dict[Key, set[str]]:
    """Read `<domain> <token> [<domain> <token> ...]`: the tokens for each place.

    :raises AgentError: when they are not pairs, a token is not one, or a name is none of ours.
    """
    if len(pairs) % 2:
        raise AgentError(
            f"A challenge for {pairs[-1]} has no token.", "Write: hearth-ddns challenge add <domain> <token> ..."
        )
    found: dict[Key, set[str]] = {}
    for domain, token in zip(pairs[::2], pairs[1::2], strict=True):
        if not _TOKEN.fullmatch(token):
            raise AgentError(
                f"The token for {domain} is not in base64url.", "Write what certbot gives in CERTBOT_VALIDATION."
            )
        found.setdefault(place_of(domain, config), set()).add(token)
    return found


def add(
    agent: Agent,
    challenges: Mapping[Key, Iterable[str]],
    wait: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Put challenges beside what stands there: one write a zone, and none when a record of others is in the way.

    :param wait: seconds until every authoritative server has to answer them.
    """
    for zone in sorted({key.zone for key in challenges}):
        provider = agent.config.domains[zone]
        if SPECS[provider.type].make is None or "TXT" not in provider.holds:
            raise ConfigError(
                f"The provider of {zone} ({provider.type}) takes no TXT record from us in time for a challenge.",
                "Delegate _acme-challenge by a CNAME to a zone whose provider does, or use another kind of challenge.",
            )
    with state.lock(agent.state_path):
        remembered = state.load(agent.state_path) or State()
        before = {key: set(_values(remembered, key)) for key in challenges}
        for key, values in challenges.items():
            times = remembered.challenges.setdefault(key.fqdn, {})
            times.update(dict.fromkeys(values, agent.now()))
            _own(remembered, key, remembered.owned_in(key.zone).get(key, frozenset()) | set(values))
        state.save(remembered, agent.state_path)
        report = _write(agent, remembered, challenges)
        # With a conflict nothing was written anywhere.
        failed = {key for zone in report.zones for key in (challenges if zone.conflicts else zone.withheld)}
        if failed:
            for key in failed & set(challenges):
                values = challenges[key]
                new = set(values) - before[key]
                _drop(remembered, key, new)
                _own(remembered, key, remembered.owned_in(key.zone).get(key, frozenset()) - new)
            state.save(remembered, agent.state_path)
    for zone_report in report.zones:
        # Somebody waits for this record: here it is no side matter that it is not written.
        report.errors += [
            ProviderError(zone_report.provider, zone_report.zone, f"{key}: {why.problem}", why.way_out)
            for key, why in sorted(zone_report.withheld.items())
        ]
        zone_report.withheld = {}
        if not zone_report.error and not zone_report.conflicts and not report.errors:
            _wait(agent, zone_report, challenges, wait, sleep)
            if zone_report.still_wrong:
                report.errors.append(
                    DnsError(
                        f"After {wait:.0f} s not every name server of {zone_report.zone} answers the challenge.",
                        "The authority would not find it: try again later, or wait longer (--wait).",
                    )
                )
    return report


def remove(agent: Agent, challenges: Mapping[Key, Iterable[str]]) -> Report:
    """Take challenges away again; other values stay. One that is not there is no error."""
    with state.lock(agent.state_path):
        remembered = state.load(agent.state_path) or State()
        for key, values in challenges.items():
            _drop(remembered, key, values)
        state.save(remembered, agent.state_path)
        report = _write(agent, remembered, challenges)
        state.save(remembered, agent.state_path)
    return report


def _values(remembered: State, key: Key) -> Mapping[str, float]:
    return remembered.challenges.get(key.fqdn, {})


def _drop(remembered: State, key: Key, values: Iterable[str]) -> None:
    left = {value: at for value, at in _values(remembered, key).items() if value not in set(values)}
    remembered.challenges = {**remembered.challenges, key.fqdn: left}
    if not left:
        del remembered.challenges[key.fqdn]


def _own(remembered: State, key: Key, values: frozenset[str]) -> None:
    remembered.set_owned(key.zone, {**remembered.owned_in(key.zone), key: values})


def _permit(agent: Agent, remembered: State, held: dict[str, float]) -> publish.Permit:
    """Challenges have a limit of their own, so that neither they nor the address keep the other waiting.

    :param held: gets the zones that are not written to, and until when.
    """

    def permit(readings: list[publish.Done]) -> set[str]:
        permitted = set()
        for done in readings:
            provider, now = agent.config.domains[done.zone], agent.now()
            account = remembered.limits.get(provider.name, limits.Account())
            ready = limits.ready_at(account, "challenge", 0, now)
            if agent.config.write_limits and ready > now:
                held[done.zone] = ready
                continue
            remembered.limits[provider.name] = limits.take(account, "challenge", 0, now)
            permitted.add(done.zone)
        state.save(remembered, agent.state_path)
        return permitted

    return permit


def _write(agent: Agent, remembered: State, places: Iterable[Key]) -> Report:
    """Bring these places, and nothing else, to what the state says."""
    report = Report()
    keys = set(places)
    jobs = []
    for zone in sorted({key.zone for key in keys}):
        provider = agent.config.domains[zone]
        ours = {key for key in keys if key.zone == zone}
        desired = tuple(
            RRset(key, max(ADDRESS_TTL, provider.min_ttl), frozenset(values))
            for key in sorted(ours)
            if (values := _values(remembered, key))
        )
        if SPECS[provider.type].make is None:
            # It was another one when they were added.
            continue
        owned = {key: values for key, values in remembered.owned_in(zone).items() if key in ours}
        jobs.append(publish.Job(zone, provider, desired, owned, frozenset(), adopt=False))
    held: dict[str, float] = {}
    for done in publish.work_limited(jobs, True, True, make=agent.make, permit=_permit(agent, remembered, held)):
        provider = agent.config.domains[done.zone]
        zone_report = ZoneReport(done.zone, provider.name, written=done.written, error=done.error)
        report.zones.append(zone_report)
        if done.zone in held:
            zone_report.error = ProviderError(
                provider.name,
                done.zone,
                "too many challenges were written one after the other.",
                f"Try again at {clock_time(held[done.zone])}; several names in one command are one write.",
            )
        if done.merge is None:
            continue
        zone_report.changes, zone_report.withheld = done.merge.changes, done.merge.withheld
        # To adopt would be to cut the delegation off: the text must not offer it.
        zone_report.conflicts = [replace(conflict, adoptable=False) for conflict in done.merge.conflicts]
        report.errors += [_delegated(conflict) for conflict in done.merge.conflicts]
        if done.written or not done.merge.changes:
            remembered.set_owned(done.zone, {**_others(remembered, done.zone, keys), **done.merge.owned})
    return report


def _others(remembered: State, zone: str, keys: set[Key]) -> dict[Key, frozenset[str]]:
    return {key: values for key, values in remembered.owned_in(zone).items() if key not in keys}


def _delegated(conflict: Conflict) -> AgentError:
    """What to say where the challenge has to be written somewhere else."""
    first = conflict.there[0].split(" ", 4)
    if first[3] == "CNAME":
        return ConfigError(
            f"{conflict.key.fqdn} is a CNAME to {first[4]}: the authority looks there, and nothing was overwritten.",
            f"Let the ACME client write the challenge to {first[4]}, or remove the CNAME.",
        )
    return ConfigError(
        f"{conflict.key.fqdn}: {conflict.why} ({first[4]}).", "Let the ACME client write the challenge there."
    )


def _wait(
    agent: Agent,
    report: ZoneReport,
    challenges: Mapping[Key, Iterable[str]],
    limit: float,
    sleep: Callable[[float], None],
) -> None:
    """Until every server answers the challenges. Any of them may be asked, so one that is silent counts, too."""
    ours = [RRset(key, 0, frozenset(values)) for key, values in challenges.items() if key.zone == report.zone]
    begin = agent.now()
    servers = agent.find_servers(report.zone, agent.config.domains[report.zone].nameservers)
    while True:
        view = authoritative.observe(servers, [one.key for one in ours], agent.question)
        report.still_wrong = authoritative.differences(view, ours, {})
        silent = {
            server for server in servers if any(view.answers.get(server, {}).get(one.key) is None for one in ours)
        }
        report.still_wrong += [f"{server} does not answer" for server in sorted(silent)]
        report.seconds = agent.now() - begin
        if not report.still_wrong or report.seconds + PAUSE > limit:
            return
        sleep(PAUSE)
