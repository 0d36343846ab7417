"""PowerDNS: the credentials, and what octodns-powerdns would not write back as it was."""

from __future__ import annotations

from typing import Any

import pytest

from hearthmail.ddns.config import ProviderConfig
from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.providers.powerdns import hide_disabled, keep_exact
from hearthmail.ddns.publish import make_provider


def entry(**changes: Any) -> ProviderConfig:
    return ProviderConfig("lab", "powerdns", {"url": "http://api.example:8081", "api_key": "x", **changes})


def test_the_entry_is_used() -> None:
    provider = make_provider(entry(url="https://[2001:db8::60]", server_id="two", timeout=3))
    assert (provider.scheme, provider.host, provider.port) == ("https", "[2001:db8::60]", 443)
    assert (provider.server_id, provider.timeout) == ("two", 3.0)


@pytest.mark.parametrize("url", ["api.example:8081", "ftp://x", "http://x/api/v1", "http://"])
def test_a_wrong_url_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match=r"dns_providers\.lab\.url"):
        make_provider(entry(url=url))


def record(content: str, disabled: bool = False) -> dict[str, Any]:
    return {"content": content, "disabled": disabled}


def test_values_that_stay_are_written_as_they_were() -> None:
    long = f'"{"A" * 250}" "{"B" * 250}"'
    apex = {"name": "x.", "type": "TXT", "ttl": 60, "records": [record(long), record('"a;b"'), record('"off"', True)]}
    gone = {"name": "y.", "type": "A", "ttl": 60, "records": [record("192.0.2.1", True)]}
    document = {"rrsets": [apex, gone]}
    held = hide_disabled(document)
    assert [one["records"] for one in document["rrsets"]] == [[record(long), record('"a;b"')]]
    new = [record(long.replace('" "', "")), record('"a\\;b"'), record('"v=spf1 -all"')]
    change = [
        {"name": "x.", "type": "TXT", "changetype": "REPLACE", "records": new},
        {"name": "y.", "type": "A", "changetype": "DELETE"},
        {"name": "z.", "type": "A", "changetype": "REPLACE", "records": [record("192.0.2.2")]},
    ]
    keep_exact(change, held)
    assert change[0]["records"] == [*apex["records"][:2], record('"v=spf1 -all"'), record('"off"', True)]
    assert change[1]["records"] == gone["records"]
    assert change[2]["records"] == [record("192.0.2.2")]
