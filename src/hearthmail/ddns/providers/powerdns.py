"""PowerDNS Authoritative by its HTTP API (https://doc.powerdns.com/authoritative/http-api/), with octodns-powerdns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.providers.spec import Option, ProviderSpec


class _Document:
    """Stands for an HTTP answer of which the JSON document was changed."""

    def __init__(self, document: Any) -> None:
        self.document = document

    def json(self) -> Any:
        return self.document


def _plain(content: str) -> str:
    """A TXT content without its division into strings and without escaped semicolons, to find equal ones."""
    return content.replace('" "', "").replace("\\;", ";")


def hide_disabled(document: Any) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Take the disabled records out of a zone's document: the world does not see them, octoDNS would.

    :returns: all records as they were, by name and type.
    """
    held = {(rrset["name"], rrset["type"]): rrset["records"] for rrset in document["rrsets"]}
    document["rrsets"] = [
        {**rrset, "records": seen}
        for rrset in document["rrsets"]
        if (seen := [record for record in rrset["records"] if not record.get("disabled")])
    ]
    return held


def keep_exact(rrsets: list[dict[str, Any]], held: Mapping[tuple[str, str], list[dict[str, Any]]]) -> None:
    """Write back what stays exactly as it was: octoDNS joins long TXT values, and enables disabled records."""
    for rrset in rrsets:
        before = held.get((rrset["name"], rrset["type"]), [])
        disabled = [record for record in before if record.get("disabled")]
        if rrset["changetype"] == "DELETE":
            if disabled:
                rrset.update(changetype="REPLACE", records=disabled)
            continue
        exact = {_plain(record["content"]): record["content"] for record in before if record not in disabled}
        for record in rrset["records"]:
            record["content"] = exact.get(_plain(record["content"]), record["content"])
        # The server refuses a value that stands there twice: a disabled one that we need too is now enabled.
        written = {_plain(record["content"]) for record in rrset["records"]}
        rrset["records"] += [record for record in disabled if _plain(record["content"]) not in written]


def make(name: str, options: Mapping[str, Any]) -> Any:
    """Make the octoDNS provider.

    :raises ConfigError: when `url` is not a plain http(s) URL.
    """
    from octodns_powerdns import PowerDnsProvider

    options = {**SPEC.defaults, **options}

    # octodns-powerdns has no types.
    class ExactProvider(PowerDnsProvider):  # type: ignore[misc]
        held: dict[tuple[str, str], list[dict[str, Any]]]

        def _get(self, path: str, data: Any = None) -> Any:
            answer = super()._get(path, data)
            if not path.startswith("zones/"):
                return answer
            document = answer.json()
            self.held = hide_disabled(document)
            return _Document(document)

        def _patch(self, path: str, data: Any = None) -> Any:
            keep_exact(data["rrsets"], self.held)
            return super()._patch(path, data)

    url = urlsplit(options["url"])
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
        raise ConfigError(
            f"dns_providers.{name}.url is {options['url']}.", "Write it as http(s)://host:port, without a path."
        )
    return ExactProvider(
        name,
        host=f"[{url.hostname}]" if ":" in url.hostname else url.hostname,
        port=url.port or (443 if url.scheme == "https" else 80),
        scheme=url.scheme,
        api_key=options["api_key"],
        server_id=options["server_id"],
        timeout=float(options["timeout"]),
        # Lua records are not ours: without this, octodns-powerdns asks the server for its whole configuration.
        enable_dynamic=False,
    )


SPEC = ProviderSpec(
    type="powerdns",
    title="PowerDNS Authoritative",
    page="https://doc.powerdns.com/authoritative/http-api/",
    options=(
        Option(
            "url", "Where its HTTP API answers: `http(s)://host:port`.", "https://dns.provider.example:8081", kind="url"
        ),
        Option("api_key", "The API key of the server.", "{{ vault_dns_api_key }}", secret=True),
        Option("server_id", "The server's name in its API.", "localhost", required=False, default="localhost"),
        Option(
            "timeout", "How long to wait for an answer, in seconds.", "5", required=False, default=5, kind="seconds"
        ),
    ),
    make=make,
    explain={
        401: "The API key is not accepted: correct dns_providers.<name>.api_key.",
        403: "The API does not take connections from here: see webserver-allow-from of the PowerDNS server.",
        404: "There is no such server_id or zone: see dns_providers.<name>.server_id and mail_domains.",
        422: "The server does not accept a record: its text above names it.",
    },
)
