#!/usr/bin/python3
"""Give a PowerDNS of the lab its zones, signed, each with the DS records of the zones below it.

Standard input: a JSON object of `here` (this node), `api_key` and `servers` (lab_dns_servers of the lab).
Standard output: the DS records of this node's zones, as JSON: {"example.": ["12345 13 2 ..."]}.
Standard error: the zones which it made.
A zone that is there already stays as it is: a second run changes neither keys nor what the box has written.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Any, NotRequired, TypedDict


class Key(TypedDict):
    """A TSIG key (RFC 8945), and the zones which its holder may read whole and change (RFC 5936, RFC 2136)."""

    name: str
    algorithm: str
    secret: str
    zones: list[str]


class Server(TypedDict):
    """One authoritative server of the lab."""

    api: str  # the address at which its API listens, port 8081
    names: dict[str, list[str]]  # its names as a name server: their addresses
    zones: dict[str, str]  # its zones: their own records, as a zone file
    tsig: NotRequired[Key]


def call(server: Server, api_key: str, path: str, body: object = None, method: str = "") -> Any:
    """Ask the API of a server: POST when there is a body, else GET. An error ends the program."""
    connection = http.client.HTTPConnection(server["api"], 8081, timeout=20)
    content = None if body is None else json.dumps(body)
    method = method or ("GET" if content is None else "POST")
    connection.request(method, f"/api/v1/servers/localhost{path}", content, {"X-API-Key": api_key})
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status >= 300:
        sys.exit(f"The PowerDNS at {server['api']} answered {method} {path} with {answer.status}: {text}")
    return json.loads(text)


def signers(server: Server, api_key: str, zone: str) -> list[str]:
    """Return the DS records (SHA-256) that the zone above `zone` needs."""
    keys = call(server, api_key, f"/zones/{'=2E' if zone == '.' else zone}/cryptokeys")
    return [ds for key in keys for ds in key["ds"] if ds.split()[2] == "2"]


def make_key(server: Server, api_key: str, key: Key) -> None:
    """Give the server its TSIG key, unless it has it."""
    if key["name"] not in {there["name"].rstrip(".") for there in call(server, api_key, "/tsigkeys")}:
        body = {"name": key["name"], "algorithm": key["algorithm"], "key": key["secret"]}
        call(server, api_key, "/tsigkeys", body)


def set_metadata(server: Server, api_key: str, zone: str, kind: str, values: list[str]) -> None:
    """Set one of PowerDNS's settings of a zone."""
    body = {"kind": kind, "metadata": values}
    call(server, api_key, f"/zones/{zone}/metadata/{kind}", body, method="PUT")


def is_below(name: str, zone: str) -> bool:
    """Tell whether a name lies within a zone, and is not its apex."""
    return name != zone and (zone == "." or name.endswith("." + zone))


def main() -> None:
    """Load the zones, the deepest first: a zone can be signed for only when its keys are there."""
    site = json.load(sys.stdin)
    api_key: str = site["api_key"]
    here: Server = site["servers"][site["here"]]
    servers: list[Server] = list(site["servers"].values())
    owner = {zone: server for server in servers for zone in server["zones"]}
    parents = {zone: max((z for z in owner if is_below(zone, z)), key=len, default="") for zone in owner}
    existing = {zone["name"] for zone in call(here, api_key, "/zones")}

    if "tsig" in here:
        make_key(here, api_key, here["tsig"])
    for zone in sorted(here["zones"].keys() - existing, key=len, reverse=True):
        primary = next(iter(here["names"]))
        # Names that are missing are asked for again after 10 seconds: the tests make new ones all the time.
        soa = f"{primary} hostmaster.{primary.partition('.')[2]} 1 3600 600 604800 10"
        lines = [f"$ORIGIN {zone}", "$TTL 300", f"@ SOA {soa}"]
        for cut in [zone, *(child for child, parent in parents.items() if parent == zone)]:
            for name, addresses in owner[cut]["names"].items():
                lines.append(f"{cut} NS {name}")
                if is_below(name, zone):
                    lines += [f"{name} {'AAAA' if ':' in ip else 'A'} {ip}" for ip in addresses]
            if cut != zone:
                lines += [f"{cut} DS {ds}" for ds in signers(owner[cut], api_key, cut)]
        text = "\n".join([*dict.fromkeys(lines), here["zones"][zone]])
        key = here.get("tsig")
        if key and zone not in key["zones"]:
            key = None
        # PowerDNS calls the keys with which a zone may be read "master" keys.
        readers = {"master_tsig_key_ids": [f"{key['name']}."]} if key else {}
        call(here, api_key, "/zones", {"name": zone, "kind": "Native", "dnssec": True, "zone": text, **readers})
        if key:
            # From anywhere, but with the key only.
            set_metadata(here, api_key, zone, "TSIG-ALLOW-DNSUPDATE", [key["name"]])
            set_metadata(here, api_key, zone, "ALLOW-DNSUPDATE-FROM", ["0.0.0.0/0", "::/0"])
        print(f"loaded {zone}", file=sys.stderr)

    print(json.dumps({zone: signers(here, api_key, zone) for zone in here["zones"]}))


if __name__ == "__main__":
    main()
