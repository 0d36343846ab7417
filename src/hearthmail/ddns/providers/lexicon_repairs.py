"""What dns-lexicon 3.25's modules need so that they touch only what they are told to.

Each repair is a class over the module's own, because the module

- gehirn: lists only the records that equal the last one; deletes the whole RRset when it does not find a value in
  it, deletes only first values by identifier, and cannot list a zone with a type that it does not know;
- valuedomain: drops every line with a value of several words (MX, SPF) when it reads, and writes the rest back as
  the whole zone; sets one TTL for all records of the zone; has MX preferences behind the name;
- namecheap: replaces all records at once and leaves out how the domain's mail works (`EmailType`);
- godaddy: writes MX without a priority, and asks for the public suffix list;
- ionos: writes and reads MX and SRV without their priority;
- duckdns: deletes both addresses when one is deleted, and waits a minute for a name server; says "KO" and the token;
- netcup: tells of a refused login in words of something else;
- powerdns: takes every CNAME for a name in the zone.

A class with `replace_rrset` writes a place in one step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hearthmail.ddns.providers.limits import READ


@dataclass(frozen=True)
class Traits:
    """How a module wants things.

    :param apex: the name of the zone's own name; empty: the full name.
    :param dot: whether names in values end with a dot.
    :param priority_apart: whether the preference of an MX record is given beside its content.
    :param chunks: whether a long TXT value is given in strings of 255 characters.
    :param delete_by_id: whether a record is deleted by its identifier; otherwise by type, name and content.
    :param takes_back: whether a record can be removed while another one of its name stays.
    :param min_ttl: seconds.
    :param default_ttl: seconds, where it does not tell one.
    """

    apex: str = ""
    dot: bool = True
    priority_apart: bool = False
    chunks: bool = False
    delete_by_id: bool = False
    takes_back: bool = True
    min_ttl: int = 0
    default_ttl: int = 3600


TRAITS: dict[str, Traits] = {
    "dynu": Traits(dot=False, delete_by_id=True),
    "gehirn": Traits(),
    "valuedomain": Traits(),
    "namecheap": Traits(min_ttl=60),
    "netcup": Traits(apex="@", priority_apart=True, delete_by_id=True),
    "godaddy": Traits(dot=False, min_ttl=600),
    "ionos": Traits(dot=False, delete_by_id=True, min_ttl=60),
    "duckdns": Traits(takes_back=False),
    "powerdns": Traits(chunks=True),
}

Base = type[Any]


def _globals(base: Base) -> dict[str, Any]:
    return vars(sys.modules[base.__module__])


def gehirn(base: Base) -> Base:
    """Write whole RRsets (https://support.gehirn.jp/apidocs/gis/dns/resources.html), which is how it keeps them."""

    class Gehirn(base):  # type: ignore[misc]
        def _get_records(self, identifier: Any = None, rtype: Any = None, name: Any = None) -> list[Any]:
            known = _globals(base)["BUILD_FORMATS"]
            return [one for one in super()._get_records(identifier, rtype, name) if one["type"] in known]

        def list_records(self, rtype: Any = None, name: Any = None, content: Any = None) -> list[dict[str, Any]]:
            return [
                {"type": one["type"], "name": one["name"], "ttl": one["ttl"], "content": told, "id": ""}
                for one in self._get_records()
                for told in (self._build_content(one["type"], value) for value in one["records"])
            ]

        def replace_rrset(self, rtype: str, name: str, ttl: int, contents: list[str]) -> None:
            full = self._full_name(name) if name else f"{self.domain}."
            found = self._get_records(rtype=rtype, name=full)
            rrset: dict[str, Any] = found[0] if found else {"type": rtype, "name": full, "enable_alias": False}
            there = {self._build_content(rtype, one): one for one in rrset.get("records", [])}
            records = [there.get(one) or self._parse_content(rtype, one) for one in contents]
            if records:
                self._update_internal_record({"ttl": ttl, **rrset, "records": records})
            elif found:
                self._delete(f"/zones/{self.domain_id}/versions/{self.version_id}/records/{rrset['id']}")

    return Gehirn


def valuedomain(base: Base) -> Base:
    """Read and write the zone's lines themselves (https://www.value-domain.com/moddnsfree.php)."""

    class ValueDomain(base):  # type: ignore[misc]
        def _zone(self) -> tuple[list[str], int]:
            import json

            tools = _globals(base)
            answer = self.caller(f"{tools['VDAPI_ENDPOINT']}/domains/{self.domain}/dns", "GET", None)
            tools["restapi_exception_not_200"](answer.header)
            results = json.loads(answer.data.decode()).get("results", {})
            return (results.get("records") or "").split("\n"), int(results.get("ttl") or 3600)

        def list_records(self, rtype: Any = None, name: Any = None, content: Any = None) -> list[dict[str, Any]]:
            lines, ttl = self._zone()
            found = []
            for line in lines:
                kind, _, rest = line.strip().partition(" ")
                label, _, value = rest.strip().partition(" ")
                if not value:
                    continue
                kind, value = kind.upper(), value.strip()
                # Without a name of its own: "mx mail.example.org. 10" is the apex.
                if kind == "MX" and value.isdigit():
                    label, value = "@", f"{value} {label}"
                elif kind == "MX":
                    host, _, preference = value.rpartition(" ")
                    value = f"{preference} {host}"
                if kind in ("MX", "CNAME", "NS") and value.split()[-1] == "@":
                    value = f"{value[:-1]}{self.domain}."
                found.append({"type": kind, "name": label, "ttl": ttl, "content": value, "id": line, "line": line})
            return found

        def replace_rrset(self, rtype: str, name: str, ttl: int, contents: list[str]) -> None:
            lines, zone_ttl = self._zone()
            label = name or "@"
            ours = {
                one["line"]: one["content"]
                for one in self.list_records()
                if one["type"] == rtype and one["name"].lower() == label
            }
            left = [line for line in lines if line not in ours or ours[line] in contents]
            for one in contents:
                if one not in ours.values():
                    left.append(self._line(rtype, label, one))
            body = {"ns_type": "valuedomain1", "records": "\n".join(left), "ttl": zone_ttl}
            tools = _globals(base)
            answer = self.caller(f"{tools['VDAPI_ENDPOINT']}/domains/{self.domain}/dns", "PUT", body)
            tools["restapi_exception_not_200"](answer.header)

        @staticmethod
        def _line(rtype: str, label: str, content: str) -> str:
            if rtype != "MX":
                return f"{rtype.lower()} {label} {content}"
            preference, _, host = content.partition(" ")
            return f"mx {host} {preference}" if label == "@" else f"mx {label} {host} {preference}"

    return ValueDomain


def namecheap(base: Base) -> Base:
    """Set all hosts in one step (https://www.namecheap.com/support/api/methods/domains-dns/set-hosts.aspx)."""

    class Namecheap(base):  # type: ignore[misc]
        def _suffix(self) -> dict[str, str]:
            # The zone is the registered domain: its first label is the "second level domain", the rest the TLD.
            label, _, rest = self.domain.partition(".")
            return {"SLD": label, "TLD": rest}

        def _hosts(self) -> tuple[list[dict[str, str]], str]:
            answer = self.client.call("namecheap.domains.dns.getHosts", self._suffix())
            space = _globals(base)["_NAMESPACE"]
            result = answer.find(f".//{{{space}}}CommandResponse/{{{space}}}DomainDNSGetHostsResult")
            if result is None:
                raise OSError("it does not tell the domain's records")
            return [dict(host.attrib) for host in result], result.attrib.get("EmailType", "")

        def list_records(self, rtype: Any = None, name: Any = None, content: Any = None) -> list[dict[str, Any]]:
            return [self._told(host) for host in self._hosts()[0]]

        @staticmethod
        def _told(host: dict[str, str]) -> dict[str, Any]:
            address = f"{host['MXPref']} {host['Address']}" if host["Type"] == "MX" else host["Address"]
            return {"type": host["Type"], "name": host["Name"], "ttl": host["TTL"], "content": address, "id": ""}

        def replace_rrset(self, rtype: str, name: str, ttl: int, contents: list[str]) -> None:
            hosts, email = self._hosts()
            label = name or "@"
            ours = [host for host in hosts if host["Type"] == rtype and host["Name"].lower() == label]
            left = [host for host in hosts if host not in ours or self._told(host)["content"] in contents]
            there = {self._told(host)["content"] for host in ours}
            for content in contents:
                if content not in there:
                    preference, _, address = content.partition(" ") if rtype == "MX" else ("10", "", content)
                    host = {"Name": label, "Type": rtype, "Address": address, "MXPref": preference, "TTL": str(ttl)}
                    left.append(host)
            renamed = {"Name": "HostName", "Type": "RecordType", "Address": "Address", "MXPref": "MXPref", "TTL": "TTL"}
            payload = {
                f"{new}{place}": host[old]
                for place, host in enumerate(left, start=1)
                for old, new in renamed.items()
                if old in host
            }
            if any(host["Type"] == "MX" for host in left):
                email = "MX"
            self.client.call("namecheap.domains.dns.setHosts", {**self._suffix(), "EmailType": email, **payload})

    return Namecheap


def godaddy(base: Base) -> Base:
    """Write whole RRsets (https://developer.godaddy.com/doc/endpoint/domains#/v1/recordReplaceTypeName)."""

    class GoDaddy(base):  # type: ignore[misc]
        def get_root_domain_name(self) -> str:
            return str(self.domain)

        @staticmethod
        def _content(raw: dict[str, Any]) -> str:
            return f"{raw.get('priority', 0)} {raw['data']}" if raw["type"] == "MX" else str(raw["data"])

        def list_records(self, rtype: Any = None, name: Any = None, content: Any = None) -> list[dict[str, Any]]:
            return [
                {"type": raw["type"], "name": raw["name"], "ttl": raw["ttl"], "content": self._content(raw), "id": ""}
                for raw in self._get(f"/domains/{self.domain}/records")
            ]

        def replace_rrset(self, rtype: str, name: str, ttl: int, contents: list[str]) -> None:
            path = f"/domains/{self.domain}/records/{rtype}/{name or '@'}"
            if not contents:
                self._delete(path)
                return
            there = {self._content(raw): raw for raw in self._get(path)}
            records = []
            for one in contents:
                new: dict[str, Any] = {"type": rtype, "name": name or "@", "data": one, "ttl": ttl}
                if rtype == "MX":
                    preference, _, host = one.partition(" ")
                    new |= {"data": host, "priority": int(preference)}
                records.append(there.get(one, new))
            self._put(path, records)

    return GoDaddy


def ionos(base: Base) -> Base:
    """Give MX and SRV the priority that stands beside their content (https://developer.hosting.ionos.com/docs/dns)."""

    class Ionos(base):  # type: ignore[misc]
        def _request(self, action: str = "GET", url: str = "/", data: Any = None, query_params: Any = None) -> Any:
            if action == "POST":
                data = [self._apart(one) for one in data]
            answer = super()._request(action, url, data, query_params)
            if action == "GET" and isinstance(answer, dict):
                for record in answer.get("records", []):
                    if record["type"] in ("MX", "SRV"):
                        record["content"] = f"{record.get('prio', 0)} {record['content']}"
                    elif record["type"] == "TXT" and not record["content"].startswith('"'):
                        # lexicon cuts the first and the last character off.
                        record["content"] = f'"{record["content"]}"'
            return answer

        @staticmethod
        def _apart(record: dict[str, Any]) -> dict[str, Any]:
            if record["type"] not in ("MX", "SRV"):
                return record
            priority, _, content = record["content"].partition(" ")
            return {**record, "prio": int(priority), "content": content}

    return Ionos


def duckdns(base: Base) -> Base:
    """Set one address without touching the other (https://www.duckdns.org/spec.jsp)."""

    class DuckDns(base):  # type: ignore[misc]
        def authenticate(self) -> None:
            """Nobody is asked: there is nothing to ask for."""

        @staticmethod
        def _get_dns_record(name: str, rtype: str) -> dict[str, Any]:
            import dns.resolver

            resolver = dns.resolver.Resolver()
            resolver.lifetime = READ
            try:
                rrset = resolver.resolve(name, rtype).rrset
            except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
                return {}
            one: dict[str, Any] = {"id": rtype, "type": rtype, "name": name}
            return {**one, "ttl": rrset.ttl, "content": rrset[0].address} if rrset else {}

        def _api_call(self, params: dict[str, str]) -> str:
            from lexicon.exceptions import AuthenticationError

            answer = str(self._request(query_params=dict(params)).text)
            if not answer.startswith("OK"):
                raise AuthenticationError("it answers KO: the token is wrong, or its account has not this name")
            return answer

        def list_records(self, rtype: Any = None, name: Any = None, content: Any = None) -> list[dict[str, Any]]:
            host = f"{self._get_duckdns_domain(self.domain)}.duckdns.org"
            return [one for kind in ("A", "AAAA") if (one := self._get_dns_record(host, kind))]

        def replace_rrset(self, rtype: str, name: str, ttl: int, contents: list[str]) -> None:
            if name:
                raise OSError(f"Duck DNS has one place for {rtype}: the domain itself, not {name} in it")
            if len(contents) > 1:
                raise OSError(f"Duck DNS holds one {rtype} record")
            if not contents:
                raise OSError("Duck DNS can remove only both addresses together: remove them on its page")
            kind = {"A": "ip", "AAAA": "ipv6"}[rtype]
            self._api_call({"domains": self._get_duckdns_domain(self.domain), kind: contents[0]})

    return DuckDns


def netcup(base: Base) -> Base:
    """Tell of a refused login as such: a wrong key is answered with "More than 180 requests per minute" (4013)."""

    class Netcup(base):  # type: ignore[misc]
        def _apicall(self, method: str, **params: Any) -> Any:
            from lexicon.exceptions import AuthenticationError

            try:
                return super()._apicall(method, **params)
            except OSError:
                # All that `requests` raises is one.
                raise
            except Exception as error:
                if method == "login":
                    raise AuthenticationError(f"the login is refused: {error}") from error
                raise

    return Netcup


def powerdns(base: Base) -> Base:
    """Leave the target of a CNAME as it is given: it is a full name with a dot at its end."""

    class PowerDns(base):  # type: ignore[misc]
        def _clean_content(self, rtype: str, content: str) -> str:
            return content if rtype == "CNAME" else str(super()._clean_content(rtype, content))

        def _unclean_content(self, rtype: str, content: str) -> str:
            return content if rtype == "CNAME" else str(super()._unclean_content(rtype, content))

    return PowerDns


REPAIRS: dict[str, Callable[[Base], Base]] = {
    "gehirn": gehirn,
    "valuedomain": valuedomain,
    "namecheap": namecheap,
    "godaddy": godaddy,
    "ionos": ionos,
    "duckdns": duckdns,
    "netcup": netcup,
    "powerdns": powerdns,
}
