"""Random zones in use: whatever stands there, nothing of it is changed or lost, and a second run writes nothing.

A thousand zones through the merge and through octoDNS with a provider in memory; 200 through octodns-powerdns and a
stand-in for PowerDNS's API, which also holds disabled records. `HEARTH_EXAMPLES=100000` tries more.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthmail.ddns import publish
from hearthmail.ddns.config import ProviderConfig
from hearthmail.ddns.merge import SHARED_TYPES, merge
from hearthmail.ddns.records import Key, RRset, rdata_text
from hearthmail.ddns.recordset import record_set
from tests.support.sites import full_box, full_site
from tests.support.zones import (
    ForeignZone,
    applied,
    examples,
    foreign_zones,
    lost,
    powerdns_rrsets,
    strangers,
    wrongly_taken,
)

from .conftest import ZONE, MemoryProvider
from .test_publish import octodns_form


# octoDNS warns of others' records at names which it finds odd; a line for each takes longer than the test.
@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """As on the box."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


OURS = record_set(full_site(ZONE), full_box(ZONE))[ZONE]
LAB = ProviderConfig("lab", "powerdns", {"url": "http://127.0.0.1:1", "api_key": "x"})
zones = foreign_zones(ZONE)


def job(owned: Any = None, desired: Any = OURS, adopt: bool = False) -> publish.Job:
    return publish.Job(ZONE, LAB, tuple(desired), owned or {}, frozenset(), adopt)


def run(provider: Any, one: publish.Job, stop: bool = False) -> publish.Done:
    (done,) = publish.work([one], True, stop, lambda _config: provider)
    assert done.error is None, done.error
    return done


def check_zone(before: dict[Key, RRset], after: dict[Key, RRset]) -> None:
    assert lost(before, after) == []
    assert strangers(before, after, OURS) == []


def check_adopted(before: dict[Key, RRset], after: dict[Key, RRset], conflicts: list[Any]) -> None:
    assert wrongly_taken(before, after, OURS, {conflict.key for conflict in conflicts}) == []


@settings(max_examples=examples(1000))
@given(foreign=zones)
def test_through_the_merge(foreign: ForeignZone) -> None:
    zone = foreign.rrsets
    first = merge(zone, OURS, {})
    after = applied(zone, first.changes)
    check_zone(zone, after)
    # What is not written is told.
    blocked = {conflict.key for conflict in first.conflicts}
    for want in OURS:
        assert want.key in blocked or want.values <= after[want.key].values
    second = merge(after, OURS, first.owned)
    assert (second.changes, second.conflicts) == ([], first.conflicts)
    # And when the box goes, the zone is as before, but for values which it had in common with us.
    end = applied(after, merge(after, [], first.owned).changes)
    mine = {rrset.key: rrset.values for rrset in OURS}
    for key, rrset in zone.items():
        left = rrset.values - mine.get(key, frozenset())
        assert left <= (end[key].values if key in end else frozenset())
    assert all(key in zone and rrset.values <= zone[key].values for key, rrset in end.items())
    taken = merge(zone, OURS, {}, adopt=True)
    check_adopted(zone, applied(zone, taken.changes), taken.conflicts)


@settings(max_examples=examples(1000))
@given(foreign=zones, adopt=st.booleans())
def test_through_octodns(foreign: ForeignZone, adopt: bool) -> None:
    provider = MemoryProvider({f"{ZONE}.": octodns_form(foreign.rrsets)})

    def now() -> dict[Key, RRset]:
        return publish.snapshot(publish.read_zone(provider, ZONE))

    zone = now()
    assert zone == foreign.rrsets
    # As `apply`: nothing at all with a conflict. Then as the healing does: what can be written is.
    done = run(provider, job(), stop=True)
    assert done.merge is not None
    if done.merge.conflicts:
        assert (provider.applied, now()) == ([], zone)
        done = run(provider, job())
        assert done.merge is not None
    after = now()
    check_zone(zone, after)
    writes = len(provider.applied)
    again = run(provider, job(done.merge.owned))
    assert again.merge is not None
    assert (again.merge.changes, len(provider.applied)) == ([], writes)
    if adopt:
        taken = run(provider, job(done.merge.owned, adopt=True))
        assert taken.merge is not None
        check_adopted(zone, now(), taken.merge.conflicts)
        writes = len(provider.applied)
        run(provider, job(taken.merge.owned))
        assert len(provider.applied) == writes


class StandIn:
    """PowerDNS's API as far as octodns-powerdns uses it: one zone, read and patched."""

    def __init__(self, foreign: ForeignZone) -> None:
        apex = {"ttl": 3600, "records": [{"content": "ns1.provider.example.", "disabled": False}]}
        self.rrsets = [{"name": f"{ZONE}.", "type": "NS", **apex}, *powerdns_rrsets(foreign)]
        self.patches = 0

    def answer(self, method: str, path: str, data: Any = None) -> Any:
        if method == "PATCH":
            self.patches += 1
            self.patch(data["rrsets"])
        return _Answer({"name": f"{ZONE}.", "kind": "Native", "rrsets": copy.deepcopy(self.rrsets)})

    def patch(self, rrsets: list[dict[str, Any]]) -> None:
        for rrset in rrsets:
            place = (rrset["name"], rrset["type"])
            self.rrsets = [one for one in self.rrsets if (one["name"], one["type"]) != place]
            if rrset["changetype"] == "REPLACE":
                contents = [record["content"] for record in rrset["records"]]
                assert len(contents) == len(set(contents)), "PowerDNS refuses a value that stands there twice"
                self.rrsets.append({name: rrset[name] for name in ("name", "type", "ttl", "records")})

    def contents(self, disabled: bool) -> dict[tuple[str, str], set[str]]:
        return {
            (one["name"], one["type"]): {
                record["content"] for record in one["records"] if record.get("disabled", False) == disabled
            }
            for one in self.rrsets
        }


class _Answer:
    status_code = 200

    def __init__(self, document: Any) -> None:
        self.document = document

    def json(self) -> Any:
        return self.document


@settings(max_examples=examples(200))
@given(foreign=zones)
def test_through_powerdns_with_disabled_records(foreign: ForeignZone) -> None:
    there = StandIn(foreign)
    before = {disabled: there.contents(disabled) for disabled in (False, True)}

    def provider() -> Any:
        made = publish.make_provider(LAB)
        made._request = there.answer
        return made

    done = run(provider(), job())
    assert done.merge is not None
    # A disabled value which is the very one that we need is enabled: PowerDNS takes no value twice.
    wanted = {
        (f"{rrset.key.fqdn}.", rrset.key.type): {rdata_text(rrset.key.type, value) for value in rrset.values}
        for rrset in OURS
    }
    asleep = {place: contents - wanted.get(place, set()) for place, contents in before[True].items()}
    asleep = {place: contents for place, contents in asleep.items() if contents}
    enabled = there.contents(False)
    for place, contents in before[False].items():
        # To the letter: a long value keeps its division into strings.
        assert contents <= enabled.get(place, set())

    def still_asleep() -> dict[tuple[str, str], set[str]]:
        return {
            place: left
            for place, contents in there.contents(True).items()
            if (left := contents - wanted.get(place, set()))
        }

    assert still_asleep() == asleep
    patches = there.patches
    run(provider(), job(done.merge.owned))
    assert there.patches == patches
    # When the box goes, the disabled records are still there.
    run(provider(), job(done.merge.owned, desired=[]))
    assert still_asleep() == asleep


def test_the_zones_are_what_they_should_be() -> None:
    """A property of zones without conflicts, or with nothing else, would show little."""
    counts = {"free": 0, "conflict": 0, "cut": 0, "alias": 0, "disabled": 0, "wildcard": 0, "shared": 0}

    @settings(max_examples=300, database=None, derandomize=True)
    @given(foreign=zones)
    def count(foreign: ForeignZone) -> None:
        outcome = merge(foreign.rrsets, OURS, {})
        counts["conflict" if outcome.conflicts else "free"] += 1
        counts["cut"] += any(not conflict.adoptable for conflict in outcome.conflicts)
        counts["alias"] += any(key.type == "CNAME" for key in foreign.rrsets)
        counts["disabled"] += bool(foreign.disabled)
        counts["wildcard"] += any(key.name.startswith("*") for key in foreign.rrsets)
        counts["shared"] += any(
            change.before and change.after and change.key.type in SHARED_TYPES for change in outcome.changes
        )

    count()
    assert min(counts.values()) >= 20, counts
