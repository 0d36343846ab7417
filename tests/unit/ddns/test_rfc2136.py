"""Updates by RFC 2136 hold what changes and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dns.update
import pytest
from octodns.record import Create, Delete, Record, Update
from octodns.record.rr import Rrset
from octodns.zone import Zone

from hearthmail.ddns import publish
from hearthmail.ddns.config import ProviderConfig
from hearthmail.ddns.providers import SPECS, quirks

ZONE = "hearth.example."


class Server:
    """Stands for the package's provider: gives what the server holds."""

    def __init__(self, held: list[tuple[str, str, str]]) -> None:
        self.rows = [SimpleNamespace(name=name, _type=kind, ttl=300, rdata=text) for name, kind, text in held]

    def zone_records(self, zone: Any, target: bool) -> Any:
        return self.rows


def record(name: str, kind: str, ttl: int, *texts: str) -> Any:
    zone = Zone(ZONE, [])
    return Record.from_rrset(zone, Rrset(f"{name}.{ZONE}".lstrip("."), kind, ttl, list(texts)), lenient=True)


def sent(held: list[tuple[str, str, str]], change: Any) -> list[str]:
    """What the update section says about a change."""
    provider = quirks.rfc2136(Server)(held)
    provider.zone_records(None, True)
    update = dns.update.Update(ZONE)
    provider._put(update, change)
    return sorted(line for rrset in update.update for line in rrset.to_text().splitlines())


PIECES = '"a value; with \\"quotes\\"" " in two pieces"'


def test_others_values_are_not_in_the_update() -> None:
    held = [(ZONE, "TXT", PIECES), (ZONE, "TXT", '"v=spf1 a -all"')]
    before = record("", "TXT", 300, PIECES, '"v=spf1 a -all"')
    after = record("", "TXT", 300, PIECES, '"v=spf1 mx -all"')
    assert sent(held, Update(before, after)) == [
        f'{ZONE} 0 NONE TXT "v=spf1 a -all"',
        f'{ZONE} 300 IN TXT "v=spf1 mx -all"',
    ]


def test_with_another_ttl_they_are_written_as_they_were() -> None:
    held = [(ZONE, "TXT", PIECES)]
    lines = sent(held, Update(record("", "TXT", 300, PIECES), record("", "TXT", 60, PIECES, '"ours"')))
    assert [line for line in lines if " ANY " not in line] == [f"{ZONE} 60 IN TXT {PIECES}", f'{ZONE} 60 IN TXT "ours"']
    assert len(lines) == 3


def test_names_in_other_letters_are_the_same() -> None:
    held = [(ZONE, "MX", "10 Mail.Hearth.Example.")]
    before = record("", "MX", 300, "10 mail.hearth.example.")
    after = record("", "MX", 300, "10 mail.hearth.example.", "20 backup.hearth.example.")
    (line,) = sent(held, Update(before, after))
    assert "20 backup" in line


def test_a_record_that_is_new_and_one_that_goes() -> None:
    assert sent([], Create(record("mail", "A", 60, "198.51.100.1"))) == [f"mail.{ZONE} 60 IN A 198.51.100.1"]
    held = [(f"mail.{ZONE}", "A", "198.51.100.1")]
    assert sent(held, Delete(record("mail", "A", 60, "198.51.100.1"))) == [f"mail.{ZONE} 0 NONE A 198.51.100.1"]


@pytest.mark.parametrize("said", ["Zone transfer error: NOTAUTH", "REFUSED", "The peer didn't know the key we used"])
def test_a_key_that_is_not_accepted_is_named(said: str) -> None:
    error = publish.explain(ProviderConfig("own", "rfc2136", {}), "hearth.example", RuntimeError(said))
    assert "dns_providers.own.key_name" in str(error)
    assert SPECS["rfc2136"].explain[401].split(":")[0] in str(error)


def test_a_server_that_is_not_there_is_no_matter_of_the_key() -> None:
    error = publish.explain(
        ProviderConfig("own", "rfc2136", {}), "hearth.example", ConnectionRefusedError(111, "Connection refused")
    )
    assert "key" not in str(error)
