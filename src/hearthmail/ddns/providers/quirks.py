"""Where a provider's octoDNS package would lose or spoil something: the class that we use in its place, and why.

Each function takes the package's class and gives a subclass of it. They are functions, because the packages are
imported only when a provider is made. Read in the packages' source, at the versions pinned in
src/requirements-agent.txt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# What the packages do not type.
Provider = Any


def _values(record: Any) -> list[Any]:
    return list(record.values) if hasattr(record, "values") else [record.value]


def _texts(record: Any) -> dict[str, Any]:
    """A record's values by a text that is equal for equal ones: names in small letters, texts as they are."""
    exact = record._type in ("TXT", "CAA")
    texts = {
        (value.to_rdata_text() if hasattr(value, "to_rdata_text") else str(value)): value for value in _values(record)
    }
    return {text if exact else text.lower(): value for text, value in texts.items()}


def rfc2136(base: Provider) -> Provider:
    """RFC 2136: only the values that change are in the update.

    The package puts the whole RRset in anew, and on the way joins the strings of others' TXT values (RFC 1035 3.3.14).
    """
    import dns.name
    import dns.query
    import dns.rcode
    import dns.rdata
    import dns.rdtypes.txtbase
    import dns.update
    from octodns_bind import Rfc2136ProviderUpdateFailed

    def plain(rdtype: str, text: str) -> bytes:
        """What is equal for equal values, however they are written."""
        rdata = dns.rdata.from_text("IN", rdtype, text, origin=dns.name.root, relativize=False)
        return b"".join(rdata.strings) if isinstance(rdata, dns.rdtypes.txtbase.TXTBase) else rdata.to_digestable()

    class ValueByValue(base):  # type: ignore[misc]
        held: dict[tuple[str, str], list[str]]

        def zone_records(self, zone: Any, target: bool) -> Any:
            records = super().zone_records(zone, target)
            self.held = {}
            for one in records:
                self.held.setdefault((one.name.lower(), one._type), []).append(one.rdata)
            return records

        def _apply(self, plan: Any) -> None:
            # One message: all of it or nothing (RFC 2136 3.4).
            update = dns.update.Update(plan.desired.name, **self._auth_params())
            for change in plan.changes:
                self._put(update, change)
            answer = dns.query.tcp(update, self.host, port=self.port, timeout=self.timeout)
            if answer.rcode() != dns.rcode.NOERROR:
                raise Rfc2136ProviderUpdateFailed(dns.rcode.to_text(answer.rcode()))

        def _put(self, update: Any, change: Any) -> None:
            new = change.record.to_rrset()
            name, ttl, rdtype, texts = new.name, new.ttl, new._type, new.rdatas
            there = {plain(rdtype, text): text for text in self.held.get((name.lower(), rdtype), [])}
            wanted = {plain(rdtype, text): text for text in texts} if change.new else {}
            if change.existing and change.new and change.existing.ttl != ttl:
                # All values of an RRset have the same TTL (RFC 2181 5.2).
                update.delete(name, rdtype)
                update.add(name, ttl, rdtype, *({**wanted, **there}[value] for value in wanted))
                return
            for value in there.keys() - wanted.keys():
                update.delete(name, rdtype, there[value])
            for value in wanted.keys() - there.keys():
                update.add(name, ttl, rdtype, wanted[value])

    return ValueByValue


def row_by_row(base: Provider) -> Provider:
    """For interfaces in which every value is an entry of its own: touch only the entries that change.

    The packages take the whole RRset out and put it in anew. When the second half fails, values of others are lost, and
    until then the name has none. Here what is new goes in first, then what is old goes out, and what stays is not
    touched. A CNAME must stand alone, and an entry with a new TTL would be a double of the old one: these go out first.

    A subclass says how to list, read, add and remove entries: `_rows`, `_place`, `_row_data`, `_add`, `_remove`; and
    `_finish`.
    """
    from octodns.record import Record

    class RowByRow(base):  # type: ignore[misc]
        def _finish(self, zone: Any) -> None:
            """After the last change of a zone."""

        def _apply(self, plan: Any) -> None:
            rows = list(self._rows(plan.desired))
            for change in plan.changes:
                self._change(plan.desired, change, rows)
            self._finish(plan.desired)

        def _change(self, zone: Any, change: Any, rows: Iterable[Any]) -> None:
            name, rdtype, after = change.record.name, change.record._type, change.new
            wanted = _texts(after) if after else {}
            new_ttl = bool(change.existing and after and change.existing.ttl != after.ttl)
            twice = new_ttl or rdtype == "CNAME"
            stale: list[Any] = []
            kept: set[str] = set()
            for row in rows:
                if self._place(zone, row) != (name, rdtype):
                    continue
                data = {"ttl": 3600, "type": rdtype, **self._row_data(rdtype, row)}
                text = next(iter(_texts(Record.new(zone, name, data, lenient=True))))
                if text in wanted and text not in kept and not new_ttl:
                    kept.add(text)
                else:
                    stale.append(row)
            missing = [value for text, value in wanted.items() if text not in kept]
            if twice:
                self._remove_all(zone, stale)
            self._add_values(zone, after, missing)
            if not twice:
                self._remove_all(zone, stale)

        def _remove_all(self, zone: Any, rows: Iterable[Any]) -> None:
            for row in rows:
                self._remove(zone, row)

        def _add_values(self, zone: Any, record: Any, values: list[Any]) -> None:
            if not values:
                return
            added = record.copy()
            if hasattr(added, "values"):
                added.values = values
            self._add(zone, added)

    return RowByRow


def cloudns(base: Provider) -> Provider:
    """ClouDNS: the package refuses a new TTL together with new values, and never finds a TLSA or CAA to take it out."""
    from octodns.record import Create

    class ClouDns(row_by_row(base)):  # type: ignore[misc]
        def _rows(self, zone: Any) -> Iterable[Any]:
            return list(self.zone_records(zone).values())

        def _place(self, zone: Any, row: Any) -> tuple[str, str]:
            return row["host"], row["type"]

        def _row_data(self, rdtype: str, row: Any) -> Any:
            return getattr(self, f"_data_for_{rdtype}")(rdtype, [row])

        def _add(self, zone: Any, record: Any) -> None:
            self._apply_create(Create(record))

        def _remove(self, zone: Any, row: Any) -> None:
            self._client.record_delete(zone.name[:-1], row["id"])

        def _finish(self, zone: Any) -> None:
            self._zone_records.pop(zone.name, None)

    return ClouDns


def desec(base: Provider) -> Provider:
    """deSEC: the package cuts a CAA value at its first space, so that its parameters (RFC 8659 4.2) would be lost."""

    class DeSec(base):  # type: ignore[misc]
        def _data_for_CAA(self, rdtype: str, records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N802
            parts = [record["data"].split(" ", 2) for record in records]
            values = [{"flags": flags, "tag": tag, "value": value.strip('"')} for flags, tag, value in parts]
            return {"ttl": records[0]["ttl"], "type": rdtype, "values": values}

    return DeSec


def easydns(base: Provider) -> Provider:
    """easyDNS: entry by entry; and the package takes a refusal (403) for "there is no such zone"."""
    from octodns.record import Create

    def not_silently(answer: Any, **_: Any) -> None:
        if answer.status_code == 403:
            answer.raise_for_status()

    class EasyDns(row_by_row(base)):  # type: ignore[misc]
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            self._client._sess.hooks["response"].append(not_silently)

        def _rows(self, zone: Any) -> Iterable[Any]:
            return list(self.zone_records(zone))

        def _place(self, zone: Any, row: Any) -> tuple[str, str]:
            return row["host"], row["type"]

        def _row_data(self, rdtype: str, row: Any) -> Any:
            return getattr(self, f"_data_for_{rdtype}")(rdtype, [row])

        def _add(self, zone: Any, record: Any) -> None:
            self._apply_Create(Create(record))

        def _remove(self, zone: Any, row: Any) -> None:
            self._client.record_delete(zone.name[:-1], row["id"])

        def _finish(self, zone: Any) -> None:
            self._zone_records.pop(zone.name, None)

    return EasyDns


def gandi(base: Provider) -> Provider:
    """Gandi: replace an RRset in one request (PUT, https://api.gandi.net/docs/livedns/), not out and then in again."""

    class Gandi(base):  # type: ignore[misc]
        def _apply_update(self, change: Any) -> None:
            data = getattr(self, f"_params_for_{change.new._type}")(change.new)
            path = f"/livedns/domains/{change.new.zone.name[:-1]}/records/{data['rrset_name']}/{data['rrset_type']}"
            new = {key: data[key] for key in ("rrset_ttl", "rrset_values")}
            self._client._request("PUT", path, data=new)

    return Gandi


def hetzner(base: Provider) -> Provider:
    """Hetzner: when a question fails, the package takes the zone for empty, and what it then writes replaces all.

    And its client asks again 5 times, with up to a minute between.
    """
    from hearthmail.ddns.providers.limits import PAUSE, RETRIES, TIMEOUT

    class Hetzner(base):  # type: ignore[misc]
        def _create_client(self, backend: str, token: str) -> Any:
            from octodns_hetzner.hcloud_adapter import HCloudZonesClient

            class Zones(HCloudZonesClient):  # type: ignore[misc]
                def _get_zone_by_id_or_name(self, zone: Any) -> Any:
                    return self._zones.get_by_id(zone)

                def _get_rrsets(self, zone: Any) -> list[Any]:
                    return list(zone.get_rrset_all())

            made = Zones(token)
            for client in (made._hcloud._client, made._hcloud._client_hetzner):
                client._timeout = TIMEOUT
                client._retry_max_retries = RETRIES
                client._retry_interval_func = lambda _retries: PAUSE
            return made

    return Hetzner


def infomaniak(base: Provider) -> Provider:
    """Infomaniak: entry by entry."""
    from octodns.record import Create

    class Infomaniak(row_by_row(base)):  # type: ignore[misc]
        def _rows(self, zone: Any) -> Iterable[Any]:
            return list(self.zone_records(zone))

        def _place(self, zone: Any, row: Any) -> tuple[str, str]:
            return "" if row["source"] == "." else row["source"], row["type"]

        def _row_data(self, rdtype: str, row: Any) -> Any:
            return getattr(self, f"_data_for_{rdtype}")(rdtype, [row])

        def _add(self, zone: Any, record: Any) -> None:
            self._apply_create(Create(record))

        def _remove(self, zone: Any, row: Any) -> None:
            self._client.delete_record(zone.name[:-1], row["id"])

        def _finish(self, zone: Any) -> None:
            self._zone_records.pop(zone.name, None)

    return Infomaniak


def inwx(base: Provider) -> Provider:
    """INWX: entry by entry; and the package logs in when it is made, where we only want to know what it can hold."""
    from octodns_inwx.provider import INWXClient

    class LateClient(INWXClient):  # type: ignore[misc]
        made = False

        def _login(self) -> Any:
            return super()._login() if self.made else None

    class Inwx(row_by_row(base)):  # type: ignore[misc]
        def __init__(self, id: str, username: str, api_password: str, **settings: Any) -> None:  # noqa: A002
            client = LateClient(username, api_password, **settings)
            client.made = True
            super().__init__(id, client=client)

        def _rows(self, zone: Any) -> Iterable[Any]:
            return list(self._client.list_records(zone.name[:-1]))

        def _place(self, zone: Any, row: Any) -> tuple[str, str]:
            return self._to_octodns_name(row.get("name"), zone.name[:-1]), str(row.get("type")).upper()

        def _row_data(self, rdtype: str, row: Any) -> Any:
            return self._record_data_from_group(rdtype, int(row.get("ttl") or self.DEFAULT_TTL), [row])

        def _add(self, zone: Any, record: Any) -> None:
            for payload in self._record_to_api_payloads(record):
                self._client.create_record(zone.name[:-1], payload)

        def _remove(self, zone: Any, row: Any) -> None:
            self._client.delete_record(row["id"])

    return Inwx


# OVH keeps TXT records with a certain content under types of their own, which are TXT in the DNS.
_OVH_TEXTS = frozenset({"TXT", "SPF", "DKIM", "DMARC"})


def ovh(base: Provider) -> Provider:
    """OVH: the package does not see a TXT record that was entered as SPF or DMARC, and would put another beside it.

    A second SPF value makes both worthless (RFC 7208 4.5).
    """

    class Ovh(row_by_row(base)):  # type: ignore[misc]
        _held: Mapping[str, list[dict[str, Any]]] = {}

        def get_records(self, zone_name: str) -> list[dict[str, Any]]:
            if zone_name not in self._held:
                rows = super().get_records(zone_name)
                texts = [{**row, "fieldType": "TXT"} if row["fieldType"] in _OVH_TEXTS else row for row in rows]
                self._held = {**self._held, zone_name: texts}
            return self._held[zone_name]

        def _rows(self, zone: Any) -> Iterable[Any]:
            return list(self.get_records(zone.name[:-1]))

        def _place(self, zone: Any, row: Any) -> tuple[str, str]:
            return row["subDomain"], row["fieldType"]

        def _row_data(self, rdtype: str, row: Any) -> Any:
            return getattr(self, f"_data_for_{rdtype}")(rdtype, [row])

        def _add(self, zone: Any, record: Any) -> None:
            for params in getattr(self, f"_params_for_{record._type}")(record):
                self.create_record(zone.name[:-1], params)

        def _remove(self, zone: Any, row: Any) -> None:
            self.delete_record(zone.name[:-1], row["id"])

        def _finish(self, zone: Any) -> None:
            # Only with this do the changes reach the servers.
            self._client.post(f"/domain/zone/{zone.name[:-1]}/refresh")
            self._held = {}

    return Ovh


def porkbun(base: Provider) -> Provider:
    """Porkbun: entry by entry; and the package writes octoDNS' escaped semicolons into TXT values as they are.

    Its client sends what writes once more when an answer is late, which makes doubles: so it does not ask again at all.
    """
    from oinker import Piglet

    from hearthmail.ddns.providers.limits import READ

    class Porkbun(row_by_row(base)):  # type: ignore[misc]
        def __init__(self, id: str, api_key: str, secret_key: str) -> None:  # noqa: A002
            super().__init__(id, api_key=api_key, secret_key=secret_key)
            self._client = Piglet(api_key=api_key, secret_key=secret_key, timeout=READ, max_retries=0)

        def _data_for_simple(self, rdtype: str, ttl: int, records: list[Any]) -> Any:
            data = super()._data_for_simple(rdtype, ttl, records)
            if rdtype == "TXT":
                data["values"] = [value.replace(";", "\\;") for value in data["values"]]
            return data

        def _gen_simple(self, record: Any, subdomain: str | None, ttl: int) -> Any:
            if record._type == "TXT":
                plain = record.copy()
                plain.values = [value.replace("\\;", ";") for value in record.values]
                record = plain
            return super()._gen_simple(record, subdomain, ttl)

        def _rows(self, zone: Any) -> Iterable[Any]:
            with self._client:
                return list(self._client.dns.list(self._domain_name(zone)))

        def _place(self, zone: Any, row: Any) -> tuple[str, str]:
            return self._relative_name(row.name, zone), row.record_type

        def _row_data(self, rdtype: str, row: Any) -> Any:
            return self._data_for(rdtype, [row])

        def _add(self, zone: Any, record: Any) -> None:
            with self._client:
                for row in self._gen_records(record, zone):
                    self._client.dns.create(self._domain_name(zone), row)

        def _remove(self, zone: Any, row: Any) -> None:
            with self._client:
                self._client.dns.delete(self._domain_name(zone), row.id)

    return Porkbun


def route53(base: Provider) -> Provider:
    """Route 53: the package sets no time-out, and has no way to."""
    from boto3 import Session
    from botocore.config import Config

    from hearthmail.ddns.providers.limits import CONNECT, READ, RETRIES

    class Route53(base):  # type: ignore[misc]
        def client(self, service_name: str, access_key_id: str, secret_access_key: str, **_other: Any) -> Any:
            session = Session(aws_access_key_id=access_key_id, aws_secret_access_key=secret_access_key)
            retries = {"total_max_attempts": RETRIES + 1, "mode": "standard"}
            config = Config(connect_timeout=CONNECT, read_timeout=READ, retries=retries)
            # Route 53 is one service for the whole world; it signs with this region.
            return session.client(service_name, region_name="us-east-1", config=config)

    return Route53


def before_route53() -> None:
    """Stand in for pycountry-convert, which brings 6 MB of tables, and pytest, for one small question.

    octodns-route53 asks it for the continent of a country, for records that answer by the asker's place. octoDNS has a
    table of its own.
    """
    import sys
    from types import ModuleType

    from octodns.record.geo import GeoCodes

    def country_alpha2_to_continent_code(country: str) -> str:
        return str(GeoCodes.country_to_code(country)).split("-")[0]

    module = ModuleType("pycountry_convert")
    vars(module)["country_alpha2_to_continent_code"] = country_alpha2_to_continent_code
    sys.modules.setdefault("pycountry_convert", module)


def whole_zone(unknown: Any) -> Any:
    """For interfaces that take a zone as a whole: refuse to write one that holds what octoDNS does not know.

    :param unknown: gives the types of all entries of a zone, from the provider and the zone's name.
    :returns: as all here, a function from the package's class to ours.
    """

    def quirk(base: Provider) -> Provider:
        from octodns.provider import ProviderException

        class WholeZone(base):  # type: ignore[misc]
            def _apply(self, plan: Any) -> None:
                lost = sorted(set(unknown(self, plan.desired.name)) - set(self.SUPPORTS))
                if lost:
                    raise ProviderException(
                        f"it takes only whole zones, and this one holds {', '.join(lost)} records, which would be lost"
                    )
                super()._apply(plan)

        return WholeZone

    return quirk


sakuracloud = whole_zone(
    lambda provider, zone: (
        row["Type"] for row in (provider.api.get_zone(zone) or {})["Settings"]["DNS"]["ResourceRecordSets"]
    )
)
_transip_whole = whole_zone(
    lambda provider, zone: (row.type for row in provider._client.domains.get(zone[:-1]).dns.list())
)


def transip(base: Provider) -> Provider:
    """TransIP: whole zones; and its client asks for a token when it is made, before it can be given time-outs.

    :raises ConfigError: when the key is none.
    """
    from logging import getLogger

    from transip import TransIP
    from transip.utils import load_rsa_private_key

    from hearthmail.ddns.errors import ConfigError

    class LateClient(TransIP):  # type: ignore[misc]
        asked = False

        def _set_auth_info(self) -> None:
            """Not yet."""

        def request(self, *args: Any, **kwargs: Any) -> Any:
            if not self.asked:
                self.headers["Authorization"] = f"Bearer {self._request_access_token()}"
                self.asked = True
            return super().request(*args, **kwargs)

    class Transip(_transip_whole(base)):  # type: ignore[misc]
        def __init__(self, id: str, account: str, key: str, global_key: bool) -> None:  # noqa: A002
            try:
                load_rsa_private_key(key)
            except ValueError:
                raise ConfigError(
                    f"dns_providers.{id}.key is no private RSA key.",
                    "Copy all of it, with the lines BEGIN PRIVATE KEY and END PRIVATE KEY.",
                ) from None
            self.log = getLogger(f"TransipProvider[{id}]")
            # Past the package's own constructor, to octoDNS' one.
            super(base, self).__init__(id)
            self._client = LateClient(login=account, private_key=key, global_key=global_key)

    return Transip


def scaleway(base: Provider) -> Provider:
    """Scaleway: of several TXT values at a name the package reads the first one only, and its update drops the others.

    It also writes octoDNS' escaped semicolons as they are, and takes a refused question for an empty zone.
    """

    from octodns_scaleway import ScalewayClientNotFound

    class Scaleway(base):  # type: ignore[misc]
        def zone_records(self, zone: Any) -> list[dict[str, Any]]:
            if zone.name not in self._zone_records:
                path = f"/dns-zones/{zone.name[:-1]}/records?page_size=1000"
                try:
                    self._zone_records[zone.name] = self._client._request("GET", path).json()["records"]
                except ScalewayClientNotFound:
                    return []
            return list(self._zone_records[zone.name])

        def _data_for_TXT(self, rdtype: str, records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N802
            values = [record["data"].replace(";", "\\;") for record in records]
            return {"ttl": records[0]["ttl"], "type": rdtype, "values": values}

        def _params_for_TXT(self, record: Any) -> list[dict[str, Any]]:  # noqa: N802
            rows = self._params_for_multiple(record)
            return [{**row, "data": row["data"].replace("\\;", ";")} for row in rows]

    return Scaleway
