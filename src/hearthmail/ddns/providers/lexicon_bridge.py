"""An octoDNS provider over one of dns-lexicon's modules.

lexicon works record by record, and its modules differ more than their interface tells. So:

- A module is made without lexicon's `Client`, which fetches the list of public suffixes from the net; the zone is
  known from the configuration.
- New values are created before old ones are deleted, so that a place is never empty; only a CNAME goes first.
- Only values that the plan names are created or deleted. Afterwards everything else must still be there.
- TTLs are given, but not compared: half of the modules tell another one than was asked for.
- Each call to the network has our time-out: lexicon sets none. What a module repeats or waits for by itself is cut
  short: godaddy would ask 10 times with pauses of minutes, valuedomain for ever.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, SupportsIndex
from urllib.parse import quote, quote_plus

import requests
from octodns.provider.base import BaseProvider
from octodns.record import Record
from octodns.record.rr import Rrset

from hearthmail.ddns.errors import AgentError, ConfigError, ProviderError
from hearthmail.ddns.merge import Merge, withhold
from hearthmail.ddns.providers.lexicon import OUR_KEYS
from hearthmail.ddns.providers.lexicon_repairs import REPAIRS, TRAITS, Traits
from hearthmail.ddns.providers.limits import LONGEST_PAUSE, RETRIES, patience
from hearthmail.ddns.records import canonical

if TYPE_CHECKING:
    from hearthmail.ddns.publish import Job

TARGETS = frozenset({"CNAME", "MX", "NS", "SRV"})


@dataclass(frozen=True)
class Entry:
    """One record as lexicon tells it.

    :param name: relative to the zone, empty at the apex.
    :param value: in our form (see `hearthmail.ddns.records.canonical`), or as told when it is not understood.
    :param told: lexicon's own dictionary.
    """

    name: str
    type: str
    value: str
    ttl: int
    told: Mapping[str, Any] = field(compare=False, hash=False)

    @property
    def place(self) -> tuple[str, str]:
        """Name and type."""
        return self.name, self.type


@dataclass
class Answered:
    """The status of the last HTTP answer; 0: there was none."""

    status: int = 0


@contextlib.contextmanager
def guarded(seconds: float) -> Iterator[Answered]:
    """Give every network call inside a time-out, let nothing wait for long, and keep quiet what modules print.

    Some modules tell of a refusal without its status: what is yielded knows it.
    """
    answered = Answered()
    send = requests.adapters.HTTPAdapter.send
    sleep = time.sleep

    def send_in_time(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        if len(args) < 2 and options.get("timeout") is None:
            options["timeout"] = patience(seconds)
        retries = self.max_retries
        if retries.total is None or retries.total > RETRIES:
            # The first pause of urllib3 has no length, the second one twice the factor.
            self.max_retries = retries.new(
                total=RETRIES, backoff_factor=LONGEST_PAUSE / 2, respect_retry_after_header=False
            )
        answer = send(self, request, *args, **options)
        answered.status = answer.status_code
        return answer

    def sleep_a_little(pause: float | SupportsIndex) -> None:
        if float(pause) > LONGEST_PAUSE:
            raise OSError(f"it wants a pause of {float(pause):g} s")
        sleep(pause)

    before = socket.getdefaulttimeout()
    requests.adapters.HTTPAdapter.send = send_in_time  # type: ignore[method-assign]
    time.sleep = sleep_a_little
    # For modules that use urllib or http.client instead of requests.
    socket.setdefaulttimeout(seconds)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield answered
    finally:
        requests.adapters.HTTPAdapter.send = send  # type: ignore[method-assign]
        time.sleep = sleep
        socket.setdefaulttimeout(before)


def load(module: str) -> type[Any]:
    """The class of a module, with our repairs.

    :raises LookupError: when there is none of that name, or a package that it needs is not there.
    """
    if not module.isidentifier():
        raise LookupError("lexicon has no such module")
    # Not lexicon's Client: it would fetch the public suffix list. Modules that cut a domain themselves get the list
    # that comes with tldextract.
    import tldextract.tldextract as suffixes

    suffixes.TLD_EXTRACTOR = suffixes.TLDExtract(suffix_list_urls=(), cache_dir=None)
    name = f"lexicon._private.providers.{module}"
    try:
        base: type[Any] = importlib.import_module(name).Provider
    except ModuleNotFoundError as error:
        if error.name == name:
            raise LookupError("lexicon has no such module") from error
        raise LookupError(f"it needs the Python package {error.name}") from error
    repair = REPAIRS.get(module)
    return repair(base) if repair else base


# octoDNS has no types.
class LexiconProvider(BaseProvider):  # type: ignore[misc]
    """The zones of an account, reached through a module of lexicon."""

    SUPPORTS_GEO = False
    SUPPORTS_DYNAMIC = False
    SUPPORTS_ROOT_NS = False

    def __init__(self, name: str, module: str, holds: frozenset[str], options: Mapping[str, Any]) -> None:
        self.log = logging.getLogger(f"LexiconProvider[{name}]")
        # Delegations are read, because nothing may be written below one.
        self.SUPPORTS = set(holds) | {"NS"}
        super().__init__(name)
        self.module = module
        self.holds = holds
        self.timeout = float(options["timeout"])
        self.traits: Traits = TRAITS.get(module, Traits(priority_apart=options.get("mx_priority") == "apart"))
        self._keys = {key: str(one) for key, one in options.items() if key not in OUR_KEYS and one is not None}
        try:
            self._class = load(module)
        except LookupError as error:
            raise ConfigError(
                f"dns_providers.{name}: the module {module} cannot be used: {error.args[0]}.",
                "Correct `module`, or use another type.",
            ) from error
        # What a call needs beside its arguments is read by lexicon from here at each call.
        self._call: dict[str, Any] = {}
        self._sessions: dict[str, Any] = {}
        self._before: dict[str, list[Entry]] = {}
        self._unread: dict[str, set[tuple[str, str]]] = {}

    # Talking to lexicon ---------------------------------------------------------------------------------------

    def session(self, zone: str) -> Any:
        """The module's object for a zone; nobody is asked yet."""
        from lexicon.config import ConfigResolver

        self._call["ttl"] = self.traits.default_ttl
        site = {"provider_name": self.module, "domain": zone, self.module: self._keys}
        resolver = ConfigResolver()  # type: ignore[no-untyped-call]
        return self._class(resolver.with_dict(self._call).with_dict(site))

    @contextlib.contextmanager
    def _told(self, zone: str) -> Iterator[None]:
        """Turn whatever a module raises into our error, without the secrets that some put into it."""
        answered = Answered()
        try:
            with guarded(self.timeout) as answered:
                yield
        except AgentError:
            raise
        except Exception as error:  # noqa: BLE001 - every module raises its own kinds
            # That of `requests`; that of urllib; and where a module does not pass it on.
            codes = (getattr(getattr(error, "response", None), "status_code", 0), getattr(error, "code", 0))
            status = next((one for one in (*codes, answered.status) if isinstance(one, int) and one >= 400), 0)
            text = str(getattr(getattr(error, "response", None), "text", "") or error)
            said = f"it answers HTTP {status}" if status else type(error).__name__
            refused = status in (401, 403) if status else "auth" in type(error).__name__.lower()
            keys = ", ".join(f"dns_providers.{self.id}.{key}" for key in sorted(self._keys))
            way_out = (
                f"The credentials are not accepted, or not for this zone: correct {keys}."
                if refused
                else f"Check that the provider is reachable, and dns_providers.{self.id}."
            )
            # No cause: its text may hold a secret.
            raise ProviderError(self.id, zone, f"{said}: {self._harmless(text)}".rstrip(": .") + ".", way_out) from None

    def _harmless(self, text: str) -> str:
        for key, value in self._keys.items():
            if key in ("auth_username", "auth_client_ip", "pdns_server"):
                continue
            # In an address it stands quoted.
            for form in (value, quote(value, safe=""), quote_plus(value)):
                text = text.replace(form, "***") if form else text
        return "".join(one if one.isprintable() and one.isascii() else "?" for one in " ".join(text.split()))[:200]

    def _entries(self, zone: str) -> list[Entry]:
        told = self._sessions[zone].list_records()
        return [entry for one in told if (entry := self._entry(zone, one)) is not None]

    def _entry(self, zone: str, told: Mapping[str, Any]) -> Entry | None:
        name = str(told.get("name") or "").rstrip(".").lower()
        name = name.removesuffix(f".{zone}") if name != zone else ""
        kind = str(told["type"]).upper()
        content = told.get("content")
        if content is None:
            return None
        value = str(content)
        if kind == "TXT":
            value = unquoted(value)
        else:
            if kind == "MX" and " " not in value.strip():
                value = f"{_priority(told)} {value}"
            with contextlib.suppress(ConfigError):
                value = canonical(kind, value)
        return Entry("" if name == "@" else name, kind, value, int(told.get("ttl") or self.traits.default_ttl), told)

    # octoDNS' side --------------------------------------------------------------------------------------------

    def populate(self, zone: Any, target: bool = False, lenient: bool = False) -> bool:
        """Read a zone.

        :raises ProviderError: when it cannot be read.
        """
        apex = zone.name.rstrip(".")
        with self._told(apex):
            self._sessions[apex] = self.session(apex)
            self._sessions[apex].authenticate()
            self._before[apex] = self._entries(apex)
        self._unread[apex] = set()
        places: dict[tuple[str, str], list[Entry]] = {}
        for entry in self._before[apex]:
            if entry.type in self.SUPPORTS and entry.place != ("", "NS"):
                places.setdefault(entry.place, []).append(entry)
        for (name, kind), entries in places.items():
            try:
                rrset = Rrset(
                    f"{name}.{zone.name}".lstrip("."),
                    kind,
                    entries[0].ttl,
                    [f'"{quoted_txt(one.value)}"' if kind == "TXT" else one.value for one in entries],
                )
                record = Record.from_rrset(zone, rrset, lenient=True, source=self)
                # What octoDNS understands otherwise would be written otherwise.
                understood = texts(record) == {one.value for one in entries}
            except Exception:  # noqa: BLE001 - octoDNS raises its own and Python's for values that it cannot read
                understood = False
            if understood:
                zone.add_record(record, lenient=True)
            else:
                self._unread[apex].add((name, kind))
        return True

    def supports(self, record: Any) -> bool:
        """Whether it can be written."""
        return record._type in self.holds

    def fit(self, job: Job, outcome: Merge) -> None:
        """Put nothing over what could not be read, nor a CNAME beside it; try to remove nothing that must stay."""
        for key in [change.key for change in outcome.changes if change.after is None and not self.traits.takes_back]:
            why = AgentError(
                "it can take back both addresses together only, so this one stands there still.",
                "Remove it on the provider's page.",
            )
            withhold(outcome, key, why, job.owned)
        unread = self._unread[job.zone]
        going = {key for key in job.owned if key not in outcome.owned}
        for key in going | {change.key for change in outcome.changes}:
            there = {kind for name, kind in unread if name == key.name}
            if key.type in there or "CNAME" in there or (there and key.type == "CNAME"):
                what = ", ".join(sorted(there))
                why = AgentError(
                    f"what stands there ({what}) cannot be understood, so nothing is put over it.",
                    "Look at it in the provider's own pages, and remove it if it is not needed.",
                )
                withhold(outcome, key, why, job.owned)

    def _include_change(self, change: Any) -> bool:
        """Leave out what differs in nothing but the TTL."""
        if change.existing is None or change.new is None:
            return True
        return texts(change.existing) != texts(change.new)

    def _apply(self, plan: Any) -> None:
        """Write a plan.

        :raises ProviderError: when the module refuses, or has lost what it should not have touched.
        """
        zone = plan.desired.name.rstrip(".")
        doomed: set[Entry] = set()
        with self._told(zone):
            for change in plan.changes:
                doomed |= self._change(zone, change)
            after = set(self._entries(zone))
            self._sessions[zone].cleanup()
        kept = {(one.place, one.value) for one in after}
        # The serial number of the SOA changes with every write.
        before = [one for one in self._before[zone] if one.type != "SOA" and one not in doomed]
        lost = [one for one in before if (one.place, one.value) not in kept]
        if lost:
            names = "; ".join(f"{one.name or '@'} {one.type} {one.value}"[:120] for one in lost)
            raise ProviderError(
                self.id,
                zone,
                f"after writing, records are missing that were not to be touched: {names}.",
                "Put them back in the provider's own pages, and do not use this module for this zone.",
            )

    def _change(self, zone: str, change: Any) -> set[Entry]:
        """Write one RRset.

        :returns: the records that had to go.
        """
        record = change.new or change.existing
        place = (record.name, record._type)
        wanted = texts(change.new) if change.new else set()
        there = [entry for entry in self._before[zone] if entry.place == place]
        gone = [entry for entry in there if entry.value not in wanted]
        new = sorted(wanted - {entry.value for entry in there})
        session = self._sessions[zone]
        self._call["ttl"] = max(int(record.ttl), self.traits.min_ttl)
        if hasattr(session, "replace_rrset"):
            contents = [str(entry.told["content"]) for entry in there if entry not in gone]
            contents += [self._content(record._type, value) for value in new]
            session.replace_rrset(record._type, record.name, self._call["ttl"], contents)
            return set(gone)
        if record._type == "CNAME":
            self._delete(session, zone, gone)
            self._create(session, zone, record, new)
        else:
            self._create(session, zone, record, new)
            self._delete(session, zone, gone)
        return set(gone)

    def _create(self, session: Any, zone: str, record: Any, values: list[str]) -> None:
        for value in values:
            content = self._content(record._type, value)
            self._call.pop("priority", None)
            if self.traits.priority_apart and record._type == "MX":
                priority, content = content.split(" ", 1)
                self._call["priority"] = int(priority)
            if session.create_record(record._type, self._name(zone, record.name), content) is False:
                raise OSError(f"it did not create {record.fqdn} {record._type}")

    def _delete(self, session: Any, zone: str, entries: list[Entry]) -> None:
        for entry in entries:
            if self.traits.delete_by_id:
                done = session.delete_record(identifier=entry.told["id"])
            else:
                name = self._name(zone, entry.name)
                done = session.delete_record(None, entry.type, name, str(entry.told["content"]))
            if done is False:
                raise OSError(f"it did not delete {name_of(zone, entry.name)} {entry.type}")

    def _name(self, zone: str, name: str) -> str:
        return self.traits.apex if not name and self.traits.apex else name_of(zone, name)

    def _content(self, kind: str, value: str) -> str:
        if kind == "TXT" and self.traits.chunks and len(value) > 255:
            return " ".join(f'"{value[start : start + 255]}"' for start in range(0, len(value), 255))
        return value.rstrip(".") if kind in TARGETS and not self.traits.dot else value


def name_of(zone: str, name: str) -> str:
    """The full name."""
    return f"{name}.{zone}" if name else zone


def unquoted(text: str) -> str:
    """A TXT value without its quotes and without its division into strings."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text.replace('" "', "")


def quoted_txt(text: str) -> str:
    """A TXT value in strings of at most 255 characters, for octoDNS to read: without the outer quotes."""
    text = text.replace("\\", "\\\\").replace('"', '\\"') if '"' in text else text
    return '" "'.join(text[start : start + 255] for start in range(0, len(text), 255)) if len(text) > 255 else text


def texts(record: Any) -> set[str]:
    """The values of an octoDNS record in our form."""
    values = list(record.values) if hasattr(record, "values") else [record.value]
    if record._type == "TXT":
        return {str(value).replace("\\;", ";") for value in values}
    return {
        canonical(record._type, value.to_rdata_text() if hasattr(value, "to_rdata_text") else str(value))
        for value in values
    }


def _priority(told: Mapping[str, Any]) -> int:
    """The preference of an MX record that stands beside its content."""
    apart = told.get("priority")
    if apart is None:
        apart = (told.get("options") or {}).get("mx", {}).get("priority", 0)
    return int(apart or 0)
