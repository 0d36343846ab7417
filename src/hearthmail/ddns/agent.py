"""The runs of the agent: plan, apply, check. Everything that talks to the world is reached through here."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearthmail.ddns import (
    address,
    authoritative,
    challenge,
    changes,
    limits,
    outages,
    publish,
    rollover,
    shortfall,
    state,
    stops,
    text,
)
from hearthmail.ddns.config import FRAGMENTS_PATH, Config, ProviderConfig
from hearthmail.ddns.errors import AddressError, AgentError, DnsError, ProviderError, StopError, WaitError
from hearthmail.ddns.merge import Change, Merge, additions, merge
from hearthmail.ddns.providers import SPECS
from hearthmail.ddns.records import (
    Fragments,
    Key,
    RRset,
    address_keys,
    collect_fragments,
    desired_records,
    fingerprint,
    read_fragments,
)
from hearthmail.ddns.report import OK, Report, ZoneReport, clock_time
from hearthmail.ddns.state import State

# Seconds to wait for the authoritative servers after a write.
WAIT = 30
# Seconds for which all servers may answer another address than ours: at a TTL of 60 no delay lasts as long.
ASTRAY = 3600
# How often in 24 h it is then sent again to a service which cannot be asked. A forged answer looks the same, and must
# not make us repeat what changes nothing.
SENT_AGAIN = 2


@dataclass
class Agent:
    """The runs of the agent over one configuration.

    The callables are the places where it touches the world; the tests put their own there. Who runs one agent after
    the other hands the same `memory` to each.
    """

    config: Config
    fragments_path: Path = FRAGMENTS_PATH
    state_path: Path = state.STATE_PATH
    ahead: Mapping[str, Any] | None = None
    look: Callable[..., address.Found] = address.look
    make: Callable[[ProviderConfig], Any] = publish.make_provider
    find_servers: Callable[[str, Iterable[str]], list[str]] = authoritative.find_servers
    question: Callable[[str, Key], RRset | None] = authoritative.ask
    now: Callable[[], float] = time.time
    memory: address.RouterMemory = field(default_factory=address.RouterMemory)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    # What could not be saved (a full disk), so that a resident agent does not forget it.
    _unsaved: State | None = field(default=None, init=False)
    _unsaved_over: int = field(default=0, init=False)

    # What is asked for ----------------------------------------------------------------------------------------

    def fragments(self) -> list[RRset]:
        """The records that the roles hand in, as far as their zone's provider can hold them.

        The others count as never asked for: they are neither written nor looked for, and `shortfalls` tells of them.

        :raises ConfigError: when a fragment is broken.
        """
        return shortfall.split(read_fragments(self.fragments_path, self.config.domains, self.ahead), self.config)[0]

    def handed_in(self) -> Fragments:
        """The same, without what is broken: one role's mistake must not keep the address from being followed."""
        found = collect_fragments(self.fragments_path, self.config.domains, self.ahead)
        return found._replace(rrsets=shortfall.split(found.rrsets, self.config)[0])

    def shortfalls(self) -> dict[str, list[str]]:
        """What each zone does without because of its provider, in words."""
        handed_in = collect_fragments(self.fragments_path, self.config.domains, self.ahead).rrsets
        return shortfall.notes(shortfall.split(handed_in, self.config)[1], self.config)

    def find(self, remembered: State, probe: bool, at_once: bool = False) -> address.Found:
        """Look for the addresses."""
        return self.look(
            self.config.address,
            self._published(remembered, "A"),
            self._published(remembered, "AAAA"),
            remembered.ipv6_proof,
            remembered.ipv6_gone_since,
            probe,
            at_once,
            self.memory,
        )

    def _published(self, remembered: State, rdtype: str) -> str | None:
        key = next(key for key in address_keys(self.config) if key.type == rdtype)
        values = remembered.owned_in(key.zone).get(key)
        return min(values) if values else None

    def wanted(
        self, handed_in: Fragments, found: address.Found, remembered: State, begin: bool = True
    ) -> tuple[list[RRset], set[Key]]:
        """Our records, and the places that stay as they are because nothing is known about them.

        :param handed_in: see the function of that name.
        :param begin: whether keys' records that are missing in the fragments were given up on purpose: see `rollover`.
        :raises AddressError: when no address is known at all: mail records without one lead nowhere.
        """
        key4, _key6 = address_keys(self.config)
        keep = set() if found.ipv4 else {key4}
        if not found.ipv4 and not found.ipv6 and not remembered.owns(key4):
            raise AddressError(found.ipv4_problem, "Nothing is written before an address is known.")
        asked_for = [*handed_in.rrsets, *challenge.records(remembered.challenges, self.config)]
        desired = desired_records(self.config, asked_for, found.ipv4, found.ipv6)
        owned = {key: values for zone in self.config.domains for key, values in remembered.owned_in(zone).items()}
        begin = begin and not handed_in.broken
        held = rollover.hold(desired, owned, remembered.retiring, remembered.shown_ttls, self.now(), begin)
        remembered.retiring = held.retiring
        remembered.shown_ttls = rollover.shown_ttls(remembered.shown_ttls, held.desired, owned, held.retiring)
        if handed_in.broken:
            keep |= self._doubtful(held.desired, remembered)
        return held.desired, keep | held.keep

    def _doubtful(self, desired: Iterable[RRset], remembered: State) -> set[Key]:
        """The places in which a value of ours may be one that a broken fragment asks for."""
        wanted = {rrset.key: rrset.values for rrset in desired}
        ours = [
            (key, values)
            for zone in self.config.domains
            for places in (remembered.owned_in(zone), remembered.pending_in(zone))
            for key, values in places.items()
        ]
        # What asks for these is no fragment.
        known = address_keys(self.config)
        return {
            key
            for key, values in ours
            if key not in known and not challenge.is_challenge(key) and not values <= wanted.get(key, frozenset())
        }

    def records(self) -> tuple[dict[str, list[RRset]], list[str]]:
        """Every domain's records as they should be, and what there is to say about them. Nothing is written.

        When no address is known, those of the box's name are missing, and that is said.

        :raises ConfigError: when a fragment is broken.
        """
        handed_in = Fragments(self.fragments(), [])
        remembered = self._recall(self._known())
        found = self.find(remembered, probe=False)
        notes = [f"No A record: {found.ipv4_problem}"] if not found.ipv4 else []
        notes += [f"No AAAA record: {found.ipv6_problem}"] if not found.ipv6 and found.ipv6_problem else []
        try:
            desired, _keep = self.wanted(handed_in, found, remembered)
        except AddressError:
            desired = desired_records(self.config, handed_in.rrsets, None, None)
        zones = {zone: [one for one in desired if one.key.zone == zone] for zone in self.config.domains}
        return zones, notes

    # The runs -------------------------------------------------------------------------------------------------

    def plan(self, quick: bool = False, adopt: Collection[str] | None = None) -> Report:
        """Work out what `apply` would do. Nothing is written, nor remembered.

        :param quick: when what is asked for is what was last put in place, say so without asking anybody.
        :param adopt: as for `apply`.
        """
        remembered = self._recall(self._known())
        handed_in = self.handed_in()
        report = Report(planned_only=True, errors=[*handed_in.broken])
        if quick and not report.errors and remembered.published == fingerprint(self.config, handed_in.rrsets):
            report.notes.append("The records asked for are those that were put in place last.")
            return report
        report.found = self.find(remembered, probe=False)
        desired, keep = self.wanted(handed_in, report.found, remembered)
        self._zones(report, remembered, desired, keep, write=False, stop=True, adopt=adopt, in_person=True)
        return report

    def apply(self, adopt: Collection[str] | None = None) -> Report:
        """Put everything in place, or nothing when a record of others is in the way.

        :param adopt: zones whose foreign records in our places are taken over.
        """
        with state.lock(self.state_path):
            known = self._known()
            before = changes.published(self.config, known)
            remembered = self._recall(known)
            remembered.challenges = challenge.swept(remembered.challenges, self.now())
            handed_in = self.handed_in()
            report = Report(errors=[*handed_in.broken])
            report.found = found = self.find(remembered, probe=True, at_once=True)
            self._remember_address(remembered, found)
            try:
                desired, keep = self.wanted(handed_in, found, remembered)
                self._zones(report, remembered, desired, keep, write=True, stop=True, adopt=adopt, in_person=True)
            except AgentError as error:
                report.errors.append(error)
            if report.exit_code == OK:
                remembered.published = fingerprint(self.config, handed_in.rrsets)
                remembered.last_adoption = state.LastLook()
            self._remember_outcome(remembered, report, self._sought(found))
            self.watch(remembered)
            report.retry_at = self._retry_at(report, remembered)
            report.moved = (before, changes.published(self.config, remembered))
            self._save(report, remembered)
        return report

    def check(self, full: bool = True, at_once: bool = False) -> Report:
        """Keep what is published right: what the resident service runs.

        Records that were never put in place wait for `apply`. Without a state, what matches is taken as ours, and
        only that is looked after.

        :param full: compare everything with the provider, and with all authoritative servers by DNS; write what
            differs at the provider. Otherwise only the address is found: unless it is a new one (or an earlier run
            ended in the middle of a write), nobody else is asked.
        :param at_once: there is a sign that the address has changed: nobody who knows it is spared.
        """
        with state.lock(self.state_path):
            known = self._known()
            before = changes.published(self.config, known)
            remembered = self._recall(known)
            remembered.challenges = challenge.swept(remembered.challenges, self.now())
            report = Report()
            found = self.find(remembered, probe=remembered.published is not None, at_once=at_once)
            report.found = found
            # A problem is told once, when it is new; `status` tells it as long as it lasts.
            new_problem = found.ipv4_problem if found.ipv4_problem != remembered.ipv4_problem else ""
            self._remember_address(remembered, found)
            handed_in = self.handed_in()
            looked = False
            try:
                desired, keep = self.wanted(handed_in, found, remembered, begin=False)
                if remembered.published is None and full:
                    self._adopt_what_matches(report, remembered, handed_in, desired, keep)
                if remembered.published is not None or remembered.owned:
                    looked = self._heal(report, remembered, found, desired, keep, full)
            except AgentError as error:
                report.errors.append(error)
                looked = True
            if looked:
                report.errors += handed_in.broken
                self._tell_once(report, remembered, found)
            else:
                report.repeated = remembered.last_look.exit_code
            if full:
                self.watch(remembered)
            report.notes += [new_problem] if new_problem else []
            report.retry_at = self._retry_at(report, remembered)
            report.moved = (before, changes.published(self.config, remembered))
            self._save(report, remembered)
        return report

    def _heal(
        self, report: Report, remembered: State, found: address.Found, desired: list[RRset], keep: set[Key], full: bool
    ) -> bool:
        """Compare what is ours with what stands, and put it right.

        :returns: whether anybody was asked.
        """
        key4, key6 = address_keys(self.config)
        own_address = (key4, key6) if remembered.published is not None else ()
        # A record that was never put in place, or is no longer asked for, is the next `apply`'s affair.
        desired = [rrset for rrset in desired if rrset.key in own_address or remembered.owns(rrset.key)]
        asked_for = {rrset.key for rrset in desired} | {key6}
        for zone in self.config.domains:
            owned = remembered.owned_in(zone)
            passed = rollover.over(owned, remembered.retiring, self.now()) | set(filter(challenge.is_challenge, owned))
            keep |= {key for key in (*owned, *remembered.pending_in(zone)) if key not in asked_for | passed}
        zones = list(self.config.domains) if full else self._unsettled(remembered, desired, keep)
        if not full:
            # What was refused or failed with this address is the next whole look's affair.
            if not zones or remembered.last_look.seen == self._sought(found):
                return False
            ready = self._address_ready_at(remembered)
            if ready > self.now():
                report.retry_at = ready
                note = f"The address has changed too often to be written at once: written at {clock_time(ready)}."
                if remembered.told != [note]:
                    report.notes.append(note)
                    remembered.told = [note]
                return False
        again = self._again(remembered) - keep if full else frozenset()
        self._zones(report, remembered, desired, keep, write=True, stop=False, adopt=None, only=zones, again=again)
        if full:
            self._compare(report, remembered, desired, keep)
        return bool(full or report.zones)

    def _unsettled(self, remembered: State, desired: Iterable[RRset], keep: Collection[Key]) -> list[str]:
        """The zones where our address is another than the published one, or where a write had no known end."""
        own = address_keys(self.config)
        wanted = {rrset.key: rrset.values for rrset in desired if rrset.key in own and rrset.key not in keep}
        zone = self.config.hostname_zone
        before = {key: values for key, values in remembered.owned_in(zone).items() if key in own and key not in keep}
        moved = {zone} if wanted != before else set()
        pending = (Key(*place.split("|")) for place in remembered.pending)
        # As long as no address is known, nothing can be done about one that may have arrived.
        started = {key.zone for key in pending if key not in own or key not in keep}
        return [
            zone
            for zone, provider in self.config.domains.items()
            if zone in moved | started and SPECS[provider.type].make is not None
        ]

    def _again(self, remembered: State) -> frozenset[Key]:
        """Our addresses that no server has answered for long, where the service may have lost them, or others wrote."""
        now, found = self.now(), set()
        for key in address_keys(self.config):
            since = remembered.astray.get(rollover.place(key))
            spec = SPECS[self.config.domains[key.zone].type]
            if since is None or spec.reads or spec.make is None:
                continue
            times = [at for at in remembered.sent_again.get(rollover.place(key), []) if now - 86400 < at <= now]
            remembered.sent_again[rollover.place(key)] = times
            if len(times) < SENT_AGAIN and now - max(since, *times, 0) >= ASTRAY:
                found.add(key)
        return frozenset(found)

    def _tell_astray(self, zone_report: ZoneReport, remembered: State, missing: Mapping[Key, bool]) -> None:
        """Make an error of it when none of the servers has answered our address for long."""
        for key in set(address_keys(self.config)) & missing.keys():
            since = min(remembered.astray.pop(rollover.place(key), self.now()), self.now())
            if not missing[key]:
                continue
            remembered.astray[rollover.place(key)] = since
            if self.now() - since < ASTRAY:
                continue
            way_out = "See where the domain is delegated to (`dig NS`), and who answers there."
            if not zone_report.reads:
                way_out = (
                    "See whether another program writes it there (a router?), then `hearth-ddns apply` sends ours."
                )
            said = f"all name servers have answered another {key.type} for {key.fqdn} than ours"
            said = f"{said} since {clock_time(since)}."
            zone_report.error = ProviderError(zone_report.provider, zone_report.zone, said, way_out)

    def _compare(self, report: Report, remembered: State, desired: Iterable[RRset], keep: Collection[Key]) -> None:
        """Ask the authoritative servers of all zones. What they answer otherwise although the provider holds it right
        is only told: they lag, or somebody else answers in their place.
        """
        told = {zone.zone: zone for zone in report.zones}
        wrong_at = set()
        for zone, provider in self.config.domains.items():
            so_far = told.get(zone) or ZoneReport(zone, provider.name)
            if so_far.written or so_far.error or so_far.changes:
                # It was told already what is wrong, and not only with the servers.
                wrong_at.add(provider.name)
                continue
            blocked = so_far.blocked | set(keep)
            ours = [rrset for rrset in desired if rrset.key.zone == zone and rrset.key not in blocked]
            try:
                wrong, missing = self._ask_servers(zone, ours, self._unwanted(remembered, zone, ours, blocked))
            except DnsError as error:
                report.errors.append(error)
                wrong_at.add(provider.name)
                continue
            if wrong:
                wrong_at.add(provider.name)
            if wrong and SPECS[provider.type].make is None:
                report.zones.append(self._by_hand(zone, tuple(ours)))
            elif wrong:
                so_far.lagging = wrong
                so_far.reads = SPECS[provider.type].reads
                if zone not in told:
                    report.zones.append(so_far)
            self._tell_astray(so_far, remembered, missing)
        for name in set(remembered.unchanged) - wrong_at:
            # Seen right: what was answered with "no change" may be asked for again, if it ever becomes wrong.
            del remembered.unchanged[name]

    def _ask_servers(
        self, zone: str, ours: list[RRset], unwanted: Mapping[Key, frozenset[str]]
    ) -> tuple[list[str], dict[Key, bool]]:
        """What the authoritative servers of a zone answer otherwise than they should, and what all of them do."""
        if not ours and not unwanted:
            return [], {}
        provider = self.config.domains[zone]
        servers = self.find_servers(zone, provider.nameservers)
        view = authoritative.observe(servers, [one.key for one in ours] + list(unwanted), self.question)
        if not view.answers:
            raise DnsError(f"None of the name servers of {zone} answers ({', '.join(servers)}).", "It is tried again.")
        wrong = authoritative.differences(view, ours, unwanted, exact_ttl=SPECS[provider.type].keeps_ttl)
        return wrong, authoritative.astray(view, ours)

    def _adopt_what_matches(
        self, report: Report, remembered: State, handed_in: Fragments, desired: list[RRset], keep: Collection[Key]
    ) -> None:
        """Without a state: take as ours what stands there as it should. Nothing is written."""
        if not all(outages.is_over(outage, self.now()) for outage in remembered.outages.values()):
            return
        plan = Report(planned_only=True)
        self._zones(plan, remembered, desired, keep, write=False, stop=True, adopt=None)
        if plan.exit_code == OK and not keep:
            remembered.published = fingerprint(self.config, handed_in.rrsets)
            remembered.last_adoption = state.LastLook()
            report.notes.append("There was no state; all records stand as they should and are taken as ours.")
            return
        said = ["These records were not put in place by this agent, or its state was lost."]
        said += [*text.lines(plan), "Run `hearth-ddns apply` to put them in place."]
        if said != remembered.last_adoption.text:
            report.notes += said
            remembered.last_adoption = state.LastLook("", self.now(), plan.exit_code, said)

    # Zones ----------------------------------------------------------------------------------------------------

    def _unwanted(
        self, remembered: State, zone: str, desired: Iterable[RRset], keep: Collection[Key]
    ) -> dict[Key, frozenset[str]]:
        """Our old values that should be gone."""
        wanted = {rrset.key: rrset.values for rrset in desired}
        stale = {
            key: values - wanted.get(key, frozenset())
            for key, values in remembered.owned_in(zone).items()
            if key not in keep
        }
        return {key: values for key, values in stale.items() if values}

    def _zones(
        self,
        report: Report,
        remembered: State,
        desired: list[RRset],
        keep: Collection[Key],
        *,
        write: bool,
        stop: bool,
        adopt: Collection[str] | None,
        only: Collection[str] | None = None,
        in_person: bool = False,
        again: frozenset[Key] = frozenset(),
    ) -> None:
        """Do every zone's merge at its provider, and remember what is ours afterwards.

        :param only: the zones that are looked at; None: all.
        :param in_person: somebody waits for it: a provider that failed is asked at once.
        :param again: what is sent although it was before.
        """
        jobs, stale = [], {}
        shortfalls = self.shortfalls()
        remembered.shortfalls = [note for zone in shortfalls for note in shortfalls[zone]]
        for zone, provider in self.config.domains.items():
            if only is not None and zone not in only:
                continue
            ours = tuple(rrset for rrset in desired if rrset.key.zone == zone)
            stale[zone] = self._unwanted(remembered, zone, ours, keep)
            if not ours and not stale[zone] and not remembered.pending_in(zone):
                if shortfalls[zone]:
                    report.zones.append(ZoneReport(zone, provider.name, notes=shortfalls[zone]))
                continue
            if SPECS[provider.type].make is None:
                if in_person or not write:
                    report.zones.append(self._by_hand(zone, ours))
                continue
            outage = remembered.outages.get(provider.name)
            if outage and not in_person and not outages.is_over(outage, self.now()):
                error = AgentError(outage.problem, outage.way_out)
                report.zones.append(ZoneReport(zone, provider.name, error=error))
                continue
            held_back = stops.held_back(remembered, zone, provider, self.now()) if write else None
            if held_back:
                report.zones.append(ZoneReport(zone, provider.name, error=held_back))
                continue
            jobs.append(
                publish.Job(
                    zone=zone,
                    provider=provider,
                    desired=ours,
                    owned=remembered.owned_in(zone),
                    keep=frozenset(keep),
                    adopt=adopt is not None and (not adopt or zone in adopt),
                    pending=remembered.pending_in(zone),
                    withdrawn=rollover.withdrawn_in(remembered.withdrawn, zone, self.now()),
                    again=again,
                    unchanged=stops.settled(remembered, provider, self.now()),
                    in_person=in_person,
                )
            )
        tried: set[str] = set()
        held: dict[str, float] = {}
        permit = self._permit(remembered, tried, held, in_person)
        finished = publish.work_limited(jobs, write, stop, make=self.make, permit=permit) if jobs else []
        self._remember_failures(report, remembered, finished)
        for done in finished:
            outcome = done.merge or Merge()
            provider = self.config.domains[done.zone]
            stops.record(remembered, provider, done, self.now())
            zone_report = ZoneReport(
                done.zone,
                provider.name,
                outcome.changes,
                outcome.conflicts,
                outcome.notes + shortfalls[done.zone],
                done.written,
                error=done.error,
                withheld=outcome.withheld,
                reads=SPECS[provider.type].reads,
            )
            report.zones.append(zone_report)
            if done.merge:
                seen = {one.key for one in desired} | set(done.before)
                remembered.set_withheld(done.zone, outcome.withheld, None if in_person else seen)
                pending = set() if done.written else {change.key for change in outcome.changes}
                ours_now = {key: values for key, values in outcome.owned.items() if key not in pending}
                ours_now |= {key: done.before[key] for key in pending if key in done.before}
                remembered.set_owned(done.zone, ours_now)
                if done.written or done.zone not in tried:
                    # The zone was read: what of an earlier write has not arrived by now never will. Where it cannot be,
                    # that is known only once the place was looked at.
                    rests = () if done.written or SPECS[provider.type].reads else keep
                    left = {key: values for key, values in remembered.pending_in(done.zone).items() if key in rests}
                    remembered.set_pending(done.zone, left)
            repeated = {rollover.place(key) for key in again if key.zone == done.zone}
            if done.zone in tried:
                for place in repeated:
                    remembered.sent_again.setdefault(place, []).append(self.now())
                    zone_report.notes.append("sent again: for an hour, all name servers have answered otherwise")
            if done.written:
                if not repeated:
                    # The servers get their time anew.
                    others = {place: at for place, at in remembered.astray.items() if place.split("|")[0] != done.zone}
                    remembered.astray = others
                written = [(change.before, change.after) for change in outcome.changes]
                remembered.seen_since = rollover.forget(remembered.seen_since, written)
                if not SPECS[provider.type].reads:
                    remembered.withdrawn = rollover.withdraw(
                        remembered.withdrawn, done.before, outcome.owned, self.now()
                    )
                remembered.last_write = self.now()
                blocked = zone_report.blocked | set(keep)
                ours = tuple(one for one in desired if one.key.zone == done.zone and one.key not in blocked)
                gone = {key: values for key, values in stale[done.zone].items() if key not in blocked}
                self._wait(zone_report, ours, gone, provider.nameservers)
            elif done.zone in held:
                zone_report.held_until = held[done.zone]
                self._tell_held(zone_report, provider, in_person)
            elif write and not done.error and outcome.changes:
                zone_report.notes.append("nothing was written, because of what stands in the way")

    def _permit(self, remembered: State, tried: set[str], held: dict[str, float], in_person: bool) -> publish.Permit:
        """What is asked between reading and writing: which zones the limits let through.

        Before the first byte is sent, the state says what is about to be ours, and counts it: power may be lost
        between the write and the next state.

        :param tried: gets the zones that are written to.
        :param held: gets those that are not, and until when.
        """

        def permit(readings: list[publish.Done]) -> set[str]:
            for done in readings:
                provider = self.config.domains[done.zone]
                changes = done.merge.changes if done.merge else []
                kind = limits.kind_of((change.key for change in changes), address_keys(self.config))
                account = remembered.limits.get(provider.name, limits.Account())
                ready = limits.ready_at(account, kind, provider.daily_writes, self.now(), in_person)
                if self.config.write_limits and ready > self.now():
                    held[done.zone] = ready
                    continue
                tried.add(done.zone)
                remembered.limits[provider.name] = limits.take(account, kind, provider.daily_writes, self.now())
                remembered.set_owned(done.zone, done.before)
                remembered.set_pending(done.zone, additions(done.merge) if done.merge else {})
            if tried:
                # A full disk must not keep the address from being followed.
                with contextlib.suppress(OSError):
                    state.save(remembered, self.state_path)
            return tried

        return permit

    def _tell_held(self, zone_report: ZoneReport, provider: ProviderConfig, in_person: bool) -> None:
        when = clock_time(zone_report.held_until or 0)
        if not in_person:
            zone_report.notes.append(f"the limit of writes at {provider.name} is reached: written at {when}")
            return
        zone_report.error = ProviderError(
            provider.name,
            zone_report.zone,
            f"it was written to {provider.daily_writes} times in 24 h, which is its limit.",
            f"The next one is possible at {when}. If it takes more, raise dns_providers.{provider.name}.daily_writes.",
        )

    def _remember_failures(self, report: Report, remembered: State, finished: Iterable[publish.Done]) -> None:
        """Keep count of which providers fail, and tell of those that are back."""
        failed: dict[str, AgentError | None] = {}
        for done in finished:
            name = self.config.domains[done.zone].name
            failed[name] = failed.get(name) or done.error
        for name, error in failed.items():
            before = remembered.outages.pop(name, None)
            if isinstance(error, (StopError, WaitError)):
                # It said itself for how long: see `stops`.
                continue
            if error:
                remembered.outages[name] = outages.failed(before, error, self.now(), self.chance())
            elif before:
                report.notes.append(f"Provider {name} works again, after {before.failures} tries that failed.")

    def _wait(
        self,
        zone_report: ZoneReport,
        ours: Iterable[RRset],
        stale: Mapping[Key, frozenset[str]],
        configured: Iterable[str],
    ) -> None:
        """Give the servers time to answer what was written."""
        try:
            servers = self.find_servers(zone_report.zone, configured)
            zone_report.still_wrong, zone_report.seconds = authoritative.wait_until_right(
                servers, ours, stale, WAIT, self.question, self.clock, self.sleep
            )
        except DnsError as error:
            zone_report.notes.append(str(error))

    def _by_hand(self, zone: str, ours: tuple[RRset, ...]) -> ZoneReport:
        """A zone without an interface: what a person has to change, as far as the servers tell."""
        report = ZoneReport(zone, self.config.domains[zone].name, manual=True)
        try:
            servers = self.find_servers(zone, self.config.domains[zone].nameservers)
            view = authoritative.observe(servers, [rrset.key for rrset in ours], self.question)
            there = next(iter(view.answers.values()), {})
        except DnsError as error:
            report.notes.append(str(error))
            there = {}
        existing = {key: rrset for key, rrset in there.items() if rrset and rrset.values}
        outcome = merge(existing, ours, {})
        report.changes, report.notes = outcome.changes, report.notes + outcome.notes
        # To a person both are one thing: this stands there, that should.
        report.changes += [
            Change(rrset.key, existing.get(rrset.key), rrset)
            for rrset in ours
            if rrset.key in {conflict.key for conflict in outcome.conflicts}
        ]
        return report

    def watch(self, remembered: State) -> None:
        """Remember since when the servers answer the keys' records: see `rollover`. Nobody is asked without any."""
        for zone, provider in self.config.domains.items():
            owned = remembered.owned_in(zone)
            ours = [RRset(key, 0, values) for key, values in owned.items() if rollover.rolls(key)]
            if not ours:
                continue
            # Servers that cannot be found prove nothing; the comparison has told so already.
            with contextlib.suppress(DnsError):
                rollover.observe(
                    remembered, self.find_servers(zone, provider.nameservers), ours, self.question, self.now()
                )

    # Memory ---------------------------------------------------------------------------------------------------

    def _known(self) -> State | None:
        """What is remembered. What could not be saved counts as long as nobody else has saved anything since."""
        if self._unsaved and _stamp(self.state_path) != self._unsaved_over:
            self._unsaved = None
        return self._unsaved or state.load(self.state_path)

    def _recall(self, known: State | None) -> State:
        """What is remembered, as far as it holds for the configuration of today."""
        remembered = known or State()
        remembered.limits_off = not self.config.write_limits
        for zone, provider in self.config.domains.items():
            here = f"{provider.type} {provider.name}"
            if remembered.places.get(zone, here) != here:
                # What was ours at the provider before is not ours at this one: it may be others' that looks alike.
                remembered.set_owned(zone, {})
                remembered.set_pending(zone, {})
            remembered.places[zone] = here
        return remembered

    def remember_mistake(self, report: Report) -> None:
        """Have `status` tell of a run that broke off, until a whole look has ended well.

        :raises LockError: when another run is at work for too long.
        """
        with state.lock(self.state_path):
            remembered = self._recall(self._known())
            remembered.last_look = state.LastLook("", self.now(), report.exit_code, text.lines(report))
            self._save(report, remembered)

    def _save(self, report: Report, remembered: State) -> None:
        try:
            state.save(remembered, self.state_path)
            self._unsaved = None
        except OSError as error:
            self._unsaved, self._unsaved_over = remembered, _stamp(self.state_path)
            problem = f"What was done cannot be remembered: {error}."
            report.errors.append(AgentError(problem, f"Make room on the disk of {self.state_path.parent}."))

    def _sought(self, found: address.Found) -> str:
        return f"address {found.ipv4} {found.ipv6}"

    def _address_ready_at(self, remembered: State) -> float:
        """When the address may be written."""
        provider = self.config.domains[self.config.hostname_zone]
        if not self.config.write_limits:
            return self.now()
        account = remembered.limits.get(provider.name, limits.Account())
        return limits.ready_at(account, "address", provider.daily_writes, self.now())

    def _retry_at(self, report: Report, remembered: State) -> float | None:
        """When the next thing that waits can be done."""
        used = {provider.name for provider in self.config.domains.values()}
        times = [outage.until for name, outage in remembered.outages.items() if name in used]
        times += [until for name in used if (until := stops.waits_until(remembered, name, self.now())) is not None]
        times += [zone.held_until for zone in report.zones if zone.held_until]
        times += [report.retry_at] if report.retry_at else []
        # What is past was not taken up by this look, so it has nothing to do: no reason to look again at once.
        return min((at for at in times if at > self.now()), default=None)

    def _tell_once(self, report: Report, remembered: State, found: address.Found) -> None:
        """What was told before, and is still the same, is not told again; `status` tells it as long as it lasts."""
        for zone in report.zones:
            # What a provider cannot hold was told by whoever put the records in place.
            zone.notes = [note for note in zone.notes if note not in remembered.shortfalls]
        before, remembered.told = remembered.told, text.lines(report)
        self._remember_outcome(remembered, report, self._sought(found))
        if remembered.told == before and not report.changed:
            report.repeated = report.exit_code
            report.zones = [ZoneReport(one.zone, one.provider, held_until=one.held_until) for one in report.zones]
            report.notes, report.errors = [], []

    def _remember_address(self, remembered: State, found: address.Found) -> None:
        if found.ipv4:
            remembered.ipv4, remembered.ipv4_source = found.ipv4, found.ipv4_source
        remembered.ipv4_problem = found.ipv4_problem
        remembered.ipv6, remembered.ipv6_problem = found.ipv6, found.ipv6_problem
        remembered.ipv6_proof, remembered.ipv6_gone_since = found.ipv6_proof, found.ipv6_gone_since

    def _remember_outcome(self, remembered: State, report: Report, sought: str) -> None:
        # What waits for its turn was not refused: it is written as soon as it may be.
        seen = "" if any(zone.held_until for zone in report.zones) else sought
        settled = report.exit_code == OK and not any(
            zone.lagging or zone.withheld or (zone.changes and not zone.written) for zone in report.zones
        )
        remembered.last_look = (
            state.LastLook() if settled else state.LastLook(seen, self.now(), report.exit_code, text.lines(report))
        )


def _stamp(path: Path) -> int:
    """When a file was written last, in nanoseconds; 0 when it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
