"""The merge: whatever stands in the zone, values of others stay, and a second run has nothing to do."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hearthmail.ddns.merge import SHARED_TYPES, Merge, merge, version_tag
from hearthmail.ddns.records import Key, RRset

from .conftest import ZONE

NAMES = ["", "mail", "www", "*", "_dmarc", "sub", "mail.sub"]
VALUES = {
    "A": ["198.51.100.10", "203.0.113.5", "203.0.113.6"],
    "AAAA": ["2001:db8::1", "2001:db8::2"],
    "MX": ["10 mail.hearth.example.", "10 mx.other.example.", "20 mx2.other.example."],
    "TXT": ["v=spf1 mx -all", "v=spf1 include:x -all", "v=DMARC1; p=none", "verification=abc", "plain", "v=spf10 x"],
    "CAA": ['0 issue "ca.example"', '0 issue "other.example"'],
    "CNAME": ["web.other.example."],
    "NS": ["ns.other.example."],
    "SRV": ["0 1 993 mail.hearth.example.", "0 1 993 other.example."],
}
TTLS = [60, 300, 900, 3600, 86400]


@st.composite
def zones(draw: st.DrawFn, types: tuple[str, ...] = tuple(VALUES)) -> dict[Key, RRset]:
    found = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        for rdtype in draw(st.lists(st.sampled_from(types), unique=True)):
            key = Key(ZONE, name, rdtype)
            values = frozenset(draw(st.lists(st.sampled_from(VALUES[rdtype]), min_size=1, unique=True)))
            found[key] = RRset(key, draw(st.sampled_from(TTLS)), values)
    return found


ours = zones(types=("A", "AAAA", "MX", "TXT", "CAA", "SRV")).map(lambda zone: list(zone.values()))


def one_of_each(rrsets: list[RRset]) -> list[RRset]:
    """What roles really ask for: one value with a given version tag in a name."""
    kept = []
    for rrset in rrsets:
        tagged: dict[str | None, str] = {}
        for value in sorted(rrset.values):
            tagged.setdefault(version_tag(value) or value, value)
        kept.append(RRset(rrset.key, rrset.ttl, frozenset(tagged.values())))
    return kept


def applied(zone: dict[Key, RRset], outcome: Merge) -> dict[Key, RRset]:
    after = dict(zone)
    for change in outcome.changes:
        assert after.get(change.key) == change.before
        if change.after:
            after[change.key] = change.after
        else:
            del after[change.key]
    return after


@settings(max_examples=120)
@given(zone=zones(), desired=ours.map(one_of_each))
def test_without_a_state_nothing_of_others_is_lost(zone: dict[Key, RRset], desired: list[RRset]) -> None:
    outcome = merge(zone, desired, {})
    after = applied(zone, outcome)
    for key, rrset in zone.items():
        assert rrset.values <= after[key].values
    wanted = {rrset.key for rrset in desired}
    assert all(change.key in wanted for change in outcome.changes)
    # Where values of others share the RRset with ours, its TTL stays theirs.
    for change in outcome.changes:
        want = next(rrset for rrset in desired if rrset.key == change.key)
        if change.before and change.before.values - want.values:
            assert change.after is not None
            assert change.after.ttl == change.before.ttl
            assert change.key.type in SHARED_TYPES | {"MX", "SRV"}


@settings(max_examples=120)
@given(zone=zones(), desired=ours.map(one_of_each), later=ours.map(one_of_each))
def test_a_second_run_has_nothing_to_do(zone: dict[Key, RRset], desired: list[RRset], later: list[RRset]) -> None:
    first = merge(zone, desired, {})
    after = applied(zone, first)
    second = merge(after, desired, first.owned)
    assert second.changes == []
    assert second.conflicts == first.conflicts
    # Other wishes, and back to none: what others had is there as before.
    third = merge(after, later, second.owned)
    last = merge(applied(after, third), [], third.owned)
    end = applied(applied(after, third), last)
    for key, rrset in zone.items():
        mine = next((one.values for one in [*desired, *later] if one.key == key), frozenset())
        mine |= next((one.values for one in later if one.key == key), frozenset())
        assert rrset.values - mine <= end[key].values if key in end else rrset.values <= mine
    assert merge(end, [], last.owned).changes == []


@settings(max_examples=100)
@given(zone=zones(), desired=ours.map(one_of_each))
def test_adopting_puts_all_in_place_but_under_delegations(zone: dict[Key, RRset], desired: list[RRset]) -> None:
    outcome = merge(zone, desired, {}, adopt=True)
    after = applied(zone, outcome)
    assert all(not conflict.adoptable for conflict in outcome.conflicts)
    blocked = {conflict.key for conflict in outcome.conflicts}
    for want in desired:
        if want.key not in blocked:
            assert want.values <= after[want.key].values
    wanted = {rrset.key for rrset in desired}
    names = {key.name for key in wanted - blocked}
    for key, rrset in zone.items():
        if key not in wanted and not (key.type == "CNAME" and key.name in names):
            assert after[key] == rrset


@given(zone=zones(), desired=ours.map(one_of_each))
def test_places_to_keep_are_left_alone(zone: dict[Key, RRset], desired: list[RRset]) -> None:
    keep = {rrset.key for rrset in desired}
    owned = {rrset.key: rrset.values for rrset in desired}
    outcome = merge(zone, desired, owned, keep=keep, adopt=True)
    assert outcome.changes == []
    assert outcome.owned == owned


def test_version_tags() -> None:
    assert version_tag("v=spf1 mx -all") == "spf1"
    assert version_tag("v=DMARC1; p=none") == "dmarc1"
    assert version_tag("v=spf10") == "spf10"
    assert version_tag("verification=v=spf1") is None
    assert version_tag("") is None
