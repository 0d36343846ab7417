"""The runs of the agent: plan, apply, check. Everything that talks to the world is reached through here."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearthmail.ddns import address, authoritative, publish, state, stops, text
from hearthmail.ddns.config import FRAGMENTS_PATH, Config, ProviderConfig
from hearthmail.ddns.errors import AddressError, AgentError, DnsError
from hearthmail.ddns.merge import Change, Merge, merge
from hearthmail.ddns.providers import SPECS
from hearthmail.ddns.records import (
    Key,
    RRset,
    address_keys,
    desired_records,
    fingerprint,
    read_fragments,
)
from hearthmail.ddns.report import OK, Report, ZoneReport
from hearthmail.ddns.state import State

# Seconds for which a difference that the provider could not settle is not taken to it again.
PATIENCE = 300


@dataclass
class Agent:
    """One run of the agent over one configuration.

    The callables are the places where it touches the world; the tests put their own there.
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

    # What is asked for ----------------------------------------------------------------------------------------

    def fragments(self) -> list[RRset]:
        """The records that the roles hand in."""
        return read_fragments(self.fragments_path, self.config.domains, self.ahead)

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
        )

    def _published(self, remembered: State, rdtype: str) -> str | None:
        key = next(key for key in address_keys(self.config) if key.type == rdtype)
        values = remembered.owned_in(key.zone).get(key)
        return min(values) if values else None

    def wanted(self, found: address.Found, remembered: State) -> tuple[list[RRset], set[Key]]:
        """Our records, and the places that stay as they are because nothing is known about them.

        :raises AddressError: when no address is known at all: mail records without one lead nowhere.
        """
        key4, _key6 = address_keys(self.config)
        keep = set() if found.ipv4 else {key4}
        if not found.ipv4 and not found.ipv6 and not remembered.owns(key4):
            raise AddressError(found.ipv4_problem, "Nothing is written before an address is known.")
        return desired_records(self.config, self.fragments(), found.ipv4, found.ipv6), keep

    # The runs -------------------------------------------------------------------------------------------------

    def plan(self, quick: bool = False, adopt: Collection[str] | None = None) -> Report:
        """Work out what `apply` would do. Nothing is written, nor remembered.

        :param quick: when what is asked for is what was last put in place, say so without asking anybody.
        :param adopt: as for `apply`.
        """
        remembered = state.load(self.state_path) or State()
        report = Report(planned_only=True)
        if quick and remembered.published == fingerprint(self.config, self.fragments()):
            report.notes.append("The records asked for are those that were put in place last.")
            return report
        report.found = self.find(remembered, probe=False)
        desired, keep = self.wanted(report.found, remembered)
        self._zones(report, remembered, desired, keep, write=False, stop=True, adopt=adopt)
        return report

    def apply(self, adopt: Collection[str] | None = None) -> Report:
        """Put everything in place, or nothing when a record of others is in the way.

        :param adopt: zones whose foreign records in our places are taken over.
        """
        with state.lock(self.state_path):
            remembered = state.load(self.state_path) or State()
            report = Report()
            report.found = found = self.find(remembered, probe=True, at_once=True)
            self._remember_address(remembered, found)
            try:
                desired, keep = self.wanted(found, remembered)
                self._zones(report, remembered, desired, keep, write=True, stop=True, adopt=adopt)
            except AgentError as error:
                report.errors.append(error)
            if report.exit_code == OK:
                remembered.published = fingerprint(self.config, self.fragments())
                remembered.last_adoption = state.LastLook()
            self._remember_outcome(remembered, report, "")
            state.save(remembered, self.state_path)
        return report

    def check(self) -> Report:
        """Keep what is published right: what the timer runs.

        The address is found and the authoritative servers are asked, by DNS. Only a difference leads to the provider.
        Records that were never put in place wait for `apply`. Without a state, what matches is taken as ours, and
        only that is looked after.
        """
        with state.lock(self.state_path):
            remembered = state.load(self.state_path) or State()
            report = Report()
            found = self.find(remembered, probe=remembered.published is not None)
            report.found = found
            # A problem is told once, when it is new; `status` tells it as long as it lasts.
            if found.ipv4_problem and found.ipv4_problem != remembered.ipv4_problem:
                report.notes.append(found.ipv4_problem)
            self._remember_address(remembered, found)
            try:
                desired, keep = self.wanted(found, remembered)
                if remembered.published is None:
                    self._adopt_what_matches(report, remembered, desired, keep)
                if remembered.published is not None or remembered.owned:
                    self._heal(report, remembered, found, desired, keep)
            except AgentError as error:
                report.errors.append(error)
            state.save(remembered, self.state_path)
        return report

    def _heal(
        self, report: Report, remembered: State, found: address.Found, desired: list[RRset], keep: set[Key]
    ) -> None:
        """Compare with the authoritative servers; go to the provider only with a difference."""
        key4, key6 = address_keys(self.config)
        own_address = (key4, key6) if remembered.published is not None else ()
        # A record that was never put in place, or is no longer asked for, is the next `apply`'s affair.
        desired = [rrset for rrset in desired if rrset.key in own_address or remembered.owns(rrset.key)]
        asked_for = {rrset.key for rrset in desired} | {key6}
        for zone in self.config.domains:
            keep |= {key for key in remembered.owned_in(zone) if key not in asked_for}
        seen = []
        for zone in self.config.domains:
            ours = [rrset for rrset in desired if rrset.key.zone == zone and rrset.key not in keep]
            unwanted = self._unwanted(remembered, zone, ours, keep)
            try:
                seen += self._ask_servers(zone, ours, unwanted)
            except DnsError as error:
                report.errors.append(error)
            if (key4 in unwanted or key6 in unwanted) or self._moved(remembered, ours):
                # The address has changed: there is no need to hear it from the servers.
                seen.append(f"address {found.ipv4} {found.ipv6}")
        if not seen and not report.errors:
            remembered.unchanged.clear()
        summary = "; ".join(sorted(seen + [str(error) for error in report.errors]))
        last = remembered.last_look
        if summary and last.seen == summary and self.now() - last.at < PATIENCE:
            report.notes, report.errors, report.repeated = [], [], last.exit_code
            return
        if seen:
            report.errors = []
            self._zones(report, remembered, desired, keep, write=True, stop=False, adopt=None)
        self._remember_outcome(remembered, report, summary)

    def _ask_servers(self, zone: str, ours: list[RRset], unwanted: Mapping[Key, frozenset[str]]) -> list[str]:
        """What the authoritative servers of a zone answer otherwise than they should."""
        if not ours and not unwanted:
            return []
        provider = self.config.domains[zone]
        servers = self.find_servers(zone, provider.nameservers)
        view = authoritative.observe(servers, [one.key for one in ours] + list(unwanted), self.question)
        if not view.answers:
            raise DnsError(f"None of the name servers of {zone} answers ({', '.join(servers)}).", "It is tried again.")
        return authoritative.differences(view, ours, unwanted, exact_ttl=SPECS[provider.type].keeps_ttl)

    def _moved(self, remembered: State, ours: Iterable[RRset]) -> bool:
        keys = address_keys(self.config)
        return any(
            rrset.key in keys and rrset.values != remembered.owned_in(rrset.key.zone).get(rrset.key) for rrset in ours
        )

    def _adopt_what_matches(
        self, report: Report, remembered: State, desired: list[RRset], keep: Collection[Key]
    ) -> None:
        """Without a state: take as ours what stands there as it should. Nothing is written."""
        seen = f"no state, wanted {fingerprint(self.config, desired)}"
        last = remembered.last_adoption
        if last.seen == seen and self.now() - last.at < PATIENCE:
            return
        plan = Report(planned_only=True)
        self._zones(plan, remembered, desired, keep, write=False, stop=True, adopt=None)
        if plan.exit_code == OK and not keep:
            remembered.published = fingerprint(self.config, self.fragments())
            report.notes.append("There was no state; all records stand as they should and are taken as ours.")
            return
        report.notes.append("These records were not put in place by this agent, or its state was lost.")
        report.notes += text.lines(plan)
        report.notes.append("Run `hearth-ddns apply` to put them in place.")
        remembered.last_adoption = state.LastLook(seen, self.now(), plan.exit_code, list(report.notes))

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
    ) -> None:
        """Do every zone's merge at its provider, and remember what is ours afterwards."""
        jobs, stale = [], {}
        for zone, provider in self.config.domains.items():
            ours = tuple(rrset for rrset in desired if rrset.key.zone == zone)
            stale[zone] = self._unwanted(remembered, zone, ours, keep)
            if not ours and not stale[zone]:
                continue
            if SPECS[provider.type].make is None:
                report.zones.append(self._by_hand(zone, ours))
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
                    unchanged=stops.settled(remembered, provider, self.now()),
                )
            )
        for done in publish.work_limited(jobs, write, stop, make=self.make) if jobs else []:
            outcome = done.merge or Merge()
            provider = self.config.domains[done.zone]
            stops.record(remembered, provider, done, self.now())
            zone_report = ZoneReport(
                done.zone,
                provider.name,
                outcome.changes,
                outcome.conflicts,
                outcome.notes,
                done.written,
                error=done.error,
            )
            report.zones.append(zone_report)
            if done.merge:
                pending = set() if done.written else {change.key for change in outcome.changes}
                before = remembered.owned_in(done.zone)
                ours_now = {key: values for key, values in outcome.owned.items() if key not in pending}
                ours_now |= {key: before[key] for key in pending if key in before}
                remembered.set_owned(done.zone, ours_now)
            if done.written:
                remembered.last_write = self.now()
                blocked = {conflict.key for conflict in outcome.conflicts} | set(keep)
                ours = tuple(one for one in desired if one.key.zone == done.zone and one.key not in blocked)
                self._wait(zone_report, ours, stale[done.zone], provider.nameservers)
            elif write and not done.error and outcome.changes:
                zone_report.notes.append("nothing was written, because of what stands in the way")

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
                servers, ours, stale, question=self.question
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

    # Memory ---------------------------------------------------------------------------------------------------

    def _remember_address(self, remembered: State, found: address.Found) -> None:
        if found.ipv4:
            remembered.ipv4, remembered.ipv4_source = found.ipv4, found.ipv4_source
        remembered.ipv4_problem = found.ipv4_problem
        remembered.ipv6, remembered.ipv6_problem = found.ipv6, found.ipv6_problem
        remembered.ipv6_proof, remembered.ipv6_gone_since = found.ipv6_proof, found.ipv6_gone_since

    def _remember_outcome(self, remembered: State, report: Report, seen: str) -> None:
        settled = report.exit_code == OK and not any(zone.changes and not zone.written for zone in report.zones)
        remembered.last_look = (
            state.LastLook() if settled else state.LastLook(seen, self.now(), report.exit_code, text.lines(report))
        )
