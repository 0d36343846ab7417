"""The configuration and the roles' fragments: what is accepted, and what the messages name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from hearthmail.ddns import config, records
from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.records import Key

from .conftest import CONFIG, MX_AND_SPF, ZONE


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(CONFIG), **changes}


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (changed(providers={}), "dns_providers"),
        (changed(providers={"lab": {"type": "cloudfare"}}), "cloudfare"),
        (changed(providers={"lab": {"type": "powerdns", "url": "http://x"}}), "api_key"),
        (changed(hostname="mail.other.example"), "mail.other.example"),
        (changed(address={"sources": ["rooter"]}), "rooter"),
        ({}, "not complete"),
        (None, "not complete"),
    ],
)
def test_a_wrong_configuration_is_named(data: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        config.parse(data)


def test_secrets_are_not_in_messages() -> None:
    parsed = config.parse(changed(providers={"lab": {"type": "powerdns", "url": "http://x", "api_key": "geheim"}}))
    assert "geheim" not in repr(parsed)


def test_the_name_of_the_box() -> None:
    domains = [{"name": "example", "dns": "lab"}, {"name": ZONE, "dns": "lab"}]
    parsed = config.parse(changed(domains=domains))
    assert (parsed.hostname_zone, parsed.hostname_label) == (ZONE, "mail")
    apex = config.parse(changed(hostname=ZONE))
    assert (apex.hostname_zone, apex.hostname_label) == (ZONE, "")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"zone": "other.example"}, "other.example"),
        ({"values": []}, "no value"),
        ({"type": "MX", "values": ["mail.hearth.example."]}, "not a valid MX"),
        ({"type": "A", "values": ["198.51.100.300"]}, "not a valid A"),
        ({"type": "XYZ", "values": ["x"]}, "not a valid XYZ"),
        ({"values": ['say "hi"']}, "quote"),
        ({"values": ["grün"]}, "ASCII"),
        ({"type": "CNAME", "values": ["x.example."]}, "apex"),
        ({"values": 3}, "not a list"),
    ],
)
def test_a_wrong_fragment_is_named(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    (tmp_path / "postfix.json").write_text(json.dumps([{**MX_AND_SPF[1], **change}]))
    with pytest.raises(ConfigError, match=named) as caught:
        records.read_fragments(tmp_path, [ZONE])
    assert "postfix" in str(caught.value) or "fragment" in str(caught.value)


def test_a_broken_fragment_is_not_no_fragment(tmp_path: Path) -> None:
    (tmp_path / "postfix.json").write_text("[")
    with pytest.raises(ConfigError, match=r"postfix\.json"):
        records.read_fragments(tmp_path, [ZONE])


def test_fragments_are_joined_and_what_is_ahead_replaces_its_role(tmp_path: Path) -> None:
    txt = {"zone": ZONE, "name": "", "type": "TXT", "values": ["other"], "ttl": 60}
    (tmp_path / "postfix.json").write_text(json.dumps(MX_AND_SPF))
    (tmp_path / "web.json").write_text(json.dumps([txt]))
    found = {one.key: one for one in records.read_fragments(tmp_path, [ZONE])}
    assert found[Key(ZONE, "", "TXT")].values == {"other", "v=spf1 mx -all"}
    assert found[Key(ZONE, "", "TXT")].ttl == 60
    found = {one.key: one for one in records.read_fragments(tmp_path, [ZONE], {"web": []})}
    assert found[Key(ZONE, "", "TXT")].values == {"v=spf1 mx -all"}
    # In check mode the agent's configuration on the box may not know a new domain yet.
    assert records.read_fragments(tmp_path, [ZONE], {"web": [{**txt, "zone": "new.example"}]})


def test_what_is_wanted() -> None:
    parsed = config.parse(CONFIG)
    fragments = records.parse_fragment("postfix", MX_AND_SPF, [ZONE])
    wanted = {one.key: one for one in records.desired_records(parsed, fragments, "198.51.100.10", "2001:DB8::1")}
    assert wanted[Key(ZONE, "mail", "A")].ttl == 60
    assert wanted[Key(ZONE, "mail", "AAAA")].values == {"2001:db8::1"}
    assert wanted[Key(ZONE, "", "MX")].ttl == 3600
    assert len(records.desired_records(parsed, fragments, None, None)) == 2


def test_the_smallest_ttl_of_a_provider_is_kept_to() -> None:
    providers = {"lab": {**CONFIG["providers"]["lab"], "min_ttl": 300}}  # type: ignore[index]
    parsed = config.parse(changed(providers=providers))
    (only,) = records.desired_records(parsed, [], "198.51.100.10", None)
    assert only.ttl == 300


@pytest.mark.parametrize(
    ("rdtype", "text", "expected"),
    [
        ("MX", "10  Mail.Hearth.Example.", "10 mail.hearth.example."),
        ("AAAA", "2001:DB8:0::1", "2001:db8::1"),
        ("TXT", "v=DKIM1; p=AbC", "v=DKIM1; p=AbC"),
        ("CAA", '0 issue "CA.example"', '0 issue "CA.example"'),
        ("TLSA", "3 1 1 " + "AB" * 32, "3 1 1 " + "ab" * 32),
    ],
)
def test_values_are_compared_in_one_form(rdtype: str, text: str, expected: str) -> None:
    assert records.canonical(rdtype, text) == expected
