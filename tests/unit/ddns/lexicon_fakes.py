"""The far ends of lexicon's modules, in memory, each with the habits of the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import quoteattr

import pytest
import requests

ZONE = "hearth.example"
SECRET = "se/cret-token"


@dataclass
class Row:
    """One record. `name` is relative, empty at the apex; `prio` is that of MX and SRV."""

    type: str
    name: str
    value: str
    prio: int = 0
    ttl: int = 3600
    id: str = ""

    @property
    def text(self) -> str:
        """The value as in a zone file, with its names' last dot; TXT without quotes."""
        value = f"{self.prio} {self.value}" if self.type in ("MX", "SRV") else self.value
        return f"{value.rstrip('.')}." if self.type in ("MX", "SRV", "CNAME", "NS") else value

    @property
    def label(self) -> str:
        return self.name or "@"

    @property
    def fqdn(self) -> str:
        return f"{self.name}.{ZONE}" if self.name else ZONE


@dataclass
class Fake:
    """A provider's server. `history` holds all values by name and type after each write."""

    rows: list[Row] = field(default_factory=list)
    writes: int = 0
    history: list[dict[tuple[str, str], set[str]]] = field(default_factory=list)
    timeouts: set[float | None] = field(default_factory=set)
    refuse: int = 0
    zone: str = ZONE
    options: dict[str, str] = field(default_factory=lambda: {"auth_token": SECRET})

    @property
    def values(self) -> dict[tuple[str, str], set[str]]:
        found: dict[tuple[str, str], set[str]] = {}
        for row in self.rows:
            found.setdefault((row.name, row.type), set()).add(row.text)
        return found

    def add(self, row: Row) -> None:
        self.counter = getattr(self, "counter", 0) + 1
        row.id = str(self.counter)
        assert not any((one.type, one.name, one.text) == (row.type, row.name, row.text) for one in self.rows)
        if row.type == "CNAME":
            assert not any(one.type == "CNAME" and one.name == row.name for one in self.rows)
        self.rows.append(row)

    def drop(self, identifier: str) -> None:
        assert any(row.id == identifier for row in self.rows)
        self.rows = [row for row in self.rows if row.id != identifier]

    def wrote(self) -> None:
        self.writes += 1
        self.history.append(self.values)

    def name(self, given: str) -> str:
        given = given.rstrip(".").lower()
        return "" if given in ("@", "", self.zone) else given.removesuffix(f".{self.zone}")

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        raise NotImplementedError

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Answer every request of `requests`, and note its time-out."""

        def send(_self: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            self.timeouts.add(options.get("timeout"))
            parts = urlsplit(str(request.url))
            query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
            text = request.body.decode() if isinstance(request.body, bytes) else request.body or ""
            answer = requests.Response()
            answer.request, answer.url = request, str(request.url)
            if self.refuse:
                answer.status_code, answer._content = self.refuse, f"no {SECRET}".encode()
                return answer
            try:
                body = json.loads(text) if text else None
            except ValueError:
                body = {key: values[0] for key, values in parse_qs(text, keep_blank_values=True).items()}
            told = self.handle(str(request.method), parts.path, query, body)
            answer.status_code = 200
            answer._content = told.encode() if isinstance(told, str) else json.dumps(told).encode()
            return answer

        patch.setattr(requests.adapters.HTTPAdapter, "send", send)


class Dynu(Fake):
    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        path = path.removeprefix("/v2/dns")
        if path.startswith("/getroot/"):
            return {"domainName": self.zone}
        if path == "":
            return {"domains": [{"id": 7, "name": self.zone}]}
        identifier = path.removeprefix("/7/record").lstrip("/")
        if method == "GET":
            return {"dnsRecords": [self.told(row) for row in self.rows]}
        if method == "DELETE":
            self.drop(identifier)
            self.wrote()
            return {}
        kind = body["recordType"]
        value = {
            "A": lambda: body["ipv4Address"],
            "AAAA": lambda: body["ipv6Address"],
            "CNAME": lambda: body["host"],
            "MX": lambda: body["host"],
            "TXT": lambda: body["textData"],
            "SRV": lambda: f"{body['weight']} {body['port']} {body['host']}",
        }[kind]()
        self.add(Row(kind, self.name(body["nodeName"]), value, int(body.get("priority", 0)), int(body["ttl"])))
        self.wrote()
        return self.told(self.rows[-1])

    @staticmethod
    def told(row: Row) -> dict[str, Any]:
        text = f'"{row.text}"' if row.type == "TXT" else row.text
        line = f"{row.fqdn}. {row.ttl} IN {row.type} {text}"
        return {"id": row.id, "recordType": row.type, "hostname": row.fqdn, "ttl": row.ttl, "content": line}


GEHIRN = {"A": "address", "AAAA": "address", "CNAME": "cname", "TXT": "data", "NS": "nsdname", "MX": "exchange"}


class Gehirn(Fake):
    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        path = path.removeprefix("/dns/v1/zones")
        if not path:
            return [{"id": "z", "name": self.zone, "current_version_id": "v"}]
        identifier = path.removeprefix("/z/versions/v/records").lstrip("/")
        if method == "GET":
            return self.rrsets()
        kind, name = identifier.split("~") if identifier else (body["type"], self.name(body["name"]))
        assert identifier or (name, kind) not in self.values
        self.rows = [row for row in self.rows if (row.type, row.name) != (kind, name)]
        for one in body["records"] if method != "DELETE" else ():
            value = f"{one['weight']} {one['port']} {one['target']}" if kind == "SRV" else one[GEHIRN[kind]]
            self.add(Row(kind, name, value, int(one.get("prio", 0)), int(body["ttl"])))
        self.wrote()
        return {}

    def rrsets(self) -> list[dict[str, Any]]:
        found = []
        for name, kind in self.values:
            rows = [row for row in self.rows if (row.name, row.type) == (name, kind)]
            records = [self.told(row) for row in rows]
            found.append(
                {
                    "id": f"{kind}~{name}",
                    "type": kind,
                    "name": f"{rows[0].fqdn}.",
                    "enable_alias": False,
                    "ttl": rows[0].ttl,
                    "records": records,
                }
            )
        return found

    def told(self, row: Row) -> dict[str, Any]:
        if row.type == "SRV":
            weight, port, target = row.value.split()
            return {"prio": row.prio, "weight": int(weight), "port": int(port), "target": target}
        # Numbers as numbers, as JSON has them: lexicon compares them with texts.
        return {GEHIRN.get(row.type, "x"): row.value} | ({"prio": row.prio} if row.type == "MX" else {})


class ValueDomain(Fake):
    ttl = 1200

    def lines(self) -> list[str]:
        lines = []
        for row in self.rows:
            value = f"{row.value} {row.prio}" if row.type == "MX" else row.text
            place = "" if row.type == "MX" and not row.name else f"{row.label} "
            lines.append(f"{row.type.lower()} {place}{value}")
        return lines

    def parse(self, line: str) -> Row:
        kind, *words = line.split()
        if kind == "mx":
            label = "@" if len(words) == 2 else words.pop(0)
            return Row("MX", self.name(label), words[0], int(words[1]))
        label, text = words[0], " ".join(words[1:])
        prio, _, rest = text.partition(" ") if kind == "srv" else ("0", "", text)
        return Row(kind.upper(), self.name(label), rest, int(prio))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        import socket

        import lexicon._private.providers.valuedomain as module

        def call(url: str, method: str, content: Any = None, interval: int = 1) -> Any:
            # It uses urllib: the time-out is the socket's.
            self.timeouts.add(socket.getdefaulttimeout())
            if self.refuse:
                raise HTTPError(url, self.refuse, f"no {SECRET}", Message(), None)
            path = urlsplit(url).path.removeprefix("/v1/domains")
            told: Any = {"results": [{"domainname": self.zone}]}
            if path and method == "GET":
                told = {"results": {"records": "\n".join(self.lines()), "ttl": self.ttl}}
            elif path:
                self.ttl = content["ttl"]
                rows = [self.parse(line) for line in content["records"].split("\n") if line]
                self.rows = []
                for row in rows:
                    self.add(row)
                self.wrote()
            return SimpleNamespace(header=SimpleNamespace(status=200), data=json.dumps(told).encode())

        patch.setattr(module, "vdapi_create_caller", lambda _token: call)


class Namecheap(Fake):
    email = "MX"

    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        query = {**query, **(body or {})}
        command = query["Command"].rpartition(".")[2]
        inner = ""
        if command == "getInfo":
            inner = '<DomainGetInfoResult IsOwner="true"/>'
        else:
            assert (query["SLD"], query["TLD"]) == tuple(self.zone.split("."))
        if command == "getHosts":
            inner = "".join(
                f'<host HostId="{row.id}" Name="{row.label}" Type="{row.type}" Address={quoteattr(row.value)} '
                f'MXPref="{row.prio or 10}" TTL="{row.ttl}"/>'
                for row in self.rows
            )
            inner = f'<DomainDNSGetHostsResult EmailType="{self.email}">{inner}</DomainDNSGetHostsResult>'
        if command == "setHosts":
            self.email = query["EmailType"]
            self.rows = []
            count = sum(key.startswith("HostName") for key in query)
            for place in range(1, count + 1):
                kind = query[f"RecordType{place}"]
                prio = int(query[f"MXPref{place}"]) if kind == "MX" else 0
                name, value = self.name(query[f"HostName{place}"]), query[f"Address{place}"]
                self.add(Row(kind, name, value, prio, int(query[f"TTL{place}"])))
            self.wrote()
        space = "http://api.namecheap.com/xml.response"
        return f'<ApiResponse Status="OK" xmlns="{space}"><CommandResponse>{inner}</CommandResponse></ApiResponse>'


class Netcup(Fake):
    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        action, given = body["action"], body["param"]
        told: Any = {}
        if action == "login":
            told = {"apisessionid": "session"}
        elif action == "infoDnsZone":
            told = {"ttl": 86400}
        elif action == "infoDnsRecords":
            told = {"dnsrecords": [self.told(row) for row in self.rows]}
        else:
            for one in given["dnsrecordset"]["dnsrecords"]:
                if one.get("deleterecord"):
                    self.drop(one["id"])
                else:
                    assert one["hostname"]
                    prio = int(one.get("priority", 0))
                    self.add(Row(one["type"], self.name(one["hostname"]), one["destination"], prio))
            self.wrote()
            told = {"dnsrecords": []}
        return {"status": "success", "responsedata": told}

    @staticmethod
    def told(row: Row) -> dict[str, Any]:
        return {
            "id": row.id,
            "hostname": row.label,
            "type": row.type,
            "priority": str(row.prio),
            "destination": row.value,
        }


class GoDaddy(Fake):
    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        parts = path.removeprefix(f"/v1/domains/{self.zone}").strip("/").split("/")
        if parts == [""]:
            return {"domainId": 1}
        assert len(parts) in (1, 3)
        kind, label = parts[1:] if len(parts) == 3 else ("", "")
        if method == "GET":
            return [self.told(row) for row in self.rows if not kind or (row.type, row.label) == (kind, label)]
        assert kind
        self.rows = [row for row in self.rows if (row.type, row.label) != (kind, label)]
        for one in body or ():
            assert one["ttl"] >= 600
            self.add(Row(kind, self.name(label), one["data"], one.get("priority", 0), one["ttl"]))
        self.wrote()
        return {}

    @staticmethod
    def told(row: Row) -> dict[str, Any]:
        extra = {"priority": row.prio} if row.type == "MX" else {}
        return {"type": row.type, "name": row.label, "data": row.value, "ttl": row.ttl, **extra}


class Ionos(Fake):
    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        path = path.removeprefix("/dns/v1/zones").lstrip("/")
        if not path:
            return [{"id": "z", "name": self.zone}]
        if method == "GET":
            return {"records": [self.told(row) for row in self.rows]}
        if method == "DELETE":
            self.drop(path.removeprefix("z/records/"))
        else:
            for one in body:
                self.add(Row(one["type"], self.name(one["name"]), one["content"], one["prio"], int(one["ttl"])))
        self.wrote()
        return "done"

    @staticmethod
    def told(row: Row) -> dict[str, Any]:
        content = f'"{row.value}"' if row.type == "TXT" else row.value
        told = {"id": row.id, "name": row.fqdn, "type": row.type, "content": content, "ttl": row.ttl}
        return told | ({"prio": row.prio} if row.type in ("MX", "SRV") else {})


class DuckDns(Fake):
    def handle(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        assert query["token"] == SECRET
        assert query["domains"] == "hearth"
        assert "clear" not in query
        for key, kind in (("ip", "A"), ("ipv6", "AAAA")):
            if key in query:
                self.rows = [row for row in self.rows if row.type != kind]
                self.add(Row(kind, "", query[key], 0, 60))
        self.wrote()
        return "OK\n"

    def install(self, patch: pytest.MonkeyPatch) -> None:
        import dns.resolver
        import dns.rrset

        def resolve(_self: Any, name: str, kind: str) -> Any:
            found = [row.value for row in self.rows if row.type == kind]
            if not found:
                raise dns.resolver.NXDOMAIN
            return SimpleNamespace(rrset=dns.rrset.from_text(f"{name}.", 60, "IN", kind, *found))

        patch.setattr(dns.resolver.Resolver, "resolve", resolve)
        super().install(patch)


FAKES: dict[str, Callable[[], Fake]] = {
    "dynu": Dynu,
    "gehirn": lambda: Gehirn(options={"auth_token": SECRET, "auth_secret": "s2"}),
    "valuedomain": ValueDomain,
    "namecheap": lambda: Namecheap(options={"auth_token": SECRET, "auth_username": "hanako"}),
    "netcup": lambda: Netcup(options={"auth_customer_id": "12345", "auth_api_key": "key", "auth_api_password": SECRET}),
    "godaddy": lambda: GoDaddy(options={"auth_key": "key", "auth_secret": SECRET}),
    "ionos": lambda: Ionos(options={"api_key": SECRET}),
    "duckdns": lambda: DuckDns(zone="hearth.duckdns.org"),
}
