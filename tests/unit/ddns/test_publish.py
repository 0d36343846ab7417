"""The bridge to octoDNS, and the limit of the writing process."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings

from hearthmail.ddns import publish
from hearthmail.ddns.config import ProviderConfig
from hearthmail.ddns.errors import ProviderError
from hearthmail.ddns.merge import merge
from hearthmail.ddns.records import Key, RRset

from .conftest import ZONE, MemoryProvider
from .test_merge import one_of_each, ours, zones

LAB = ProviderConfig("lab", "powerdns", {"url": "http://127.0.0.1:1", "api_key": "geheim"})


def octodns_form(zone: dict[Key, RRset]) -> dict[tuple[str, str], dict[str, Any]]:
    """A zone as the memory provider holds it."""
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for key, rrset in zone.items():
        values: list[Any] = sorted(rrset.values)
        if key.type == "MX":
            values = [dict(zip(("preference", "exchange"), value.split(), strict=True)) for value in values]
        elif key.type == "SRV":
            values = [
                dict(zip(("priority", "weight", "port", "target"), value.split(), strict=True)) for value in values
            ]
        elif key.type == "CAA":
            values = [
                dict(zip(("flags", "tag", "value"), value.replace('"', "").split(" ", 2), strict=True))
                for value in values
            ]
        elif key.type == "TLSA":
            names = ("certificate_usage", "selector", "matching_type", "certificate_association_data")
            values = [dict(zip(names, value.split(), strict=True)) for value in values]
        elif key.type == "TXT":
            values = [value.replace(";", "\\;") for value in values]
        held[key.name, key.type] = {
            "ttl": rrset.ttl,
            **({"value": values[0]} if key.type == "CNAME" else {"values": values}),
        }
    return held


@settings(max_examples=100, deadline=None)
@given(zone=zones(), desired=ours.map(one_of_each))
def test_octodns_does_exactly_what_was_merged(zone: dict[Key, RRset], desired: list[RRset]) -> None:
    provider = MemoryProvider({f"{ZONE}.": octodns_form(zone)})
    existing = publish.read_zone(provider, ZONE)
    assert publish.snapshot(existing) == zone
    outcome = merge(zone, desired, {})
    expected = dict(zone)
    for change in outcome.changes:
        assert change.after is not None
        expected[change.key] = change.after
    if outcome.changes:
        plan = publish.to_plan(provider, existing, outcome.changes)
        assert len(plan.changes) == len(outcome.changes)
        assert plan.change_counts["Delete"] == 0
        provider.apply(plan)
    assert publish.snapshot(publish.read_zone(provider, ZONE)) == expected


def job() -> publish.Job:
    want = RRset(Key(ZONE, "mail", "A"), 60, frozenset({"198.51.100.10"}))
    return publish.Job(ZONE, LAB, (want,), {}, frozenset(), adopt=False)


def test_a_provider_that_hangs_is_cut_off() -> None:
    def hang(_config: ProviderConfig) -> Any:
        time.sleep(60)

    begin = time.monotonic()
    (done,) = publish.work_limited([job()], write=True, stop_on_conflict=True, limit=0.3, make=hang)
    assert time.monotonic() - begin < 30
    assert not done.written
    assert isinstance(done.error, ProviderError)
    assert "no end after" in str(done.error)


def test_results_and_errors_cross_from_the_child() -> None:
    provider = MemoryProvider({f"{ZONE}.": {}})
    (done,) = publish.work_limited([job()], write=True, stop_on_conflict=True, make=lambda _config: provider)
    assert done.written
    (done,) = publish.work_limited([job()], write=True, stop_on_conflict=True)
    assert isinstance(done.error, ProviderError)
    assert "Provider lab, zone hearth.example" in str(done.error)
    assert "geheim" not in str(done.error)


def test_a_long_txt_value_is_split() -> None:
    provider = MemoryProvider({f"{ZONE}.": {}})
    long = "v=DKIM1; k=rsa; p=" + "A" * 400
    want = RRset(Key(ZONE, "s._domainkey", "TXT"), 3600, frozenset({long}))
    existing = publish.read_zone(provider, ZONE)
    provider.apply(publish.to_plan(provider, existing, merge({}, [want], {}).changes))
    assert publish.snapshot(publish.read_zone(provider, ZONE))[want.key].values == {long}
