"""A provider and name servers in memory: octoDNS works as on the box, only the far end is a dictionary."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from octodns.provider.base import BaseProvider
from octodns.record import Record

from hearthmail.ddns import publish, state
from hearthmail.ddns.address import Found
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.config import parse
from hearthmail.ddns.errors import WaitError
from hearthmail.ddns.records import Key, RRset
from hearthmail.ddns.state import Ipv6Proof

ZONE = "hearth.example"
CONFIG = {
    "hostname": "mail.hearth.example",
    "domains": [{"name": ZONE, "dns": "lab"}],
    "providers": {"lab": {"type": "powerdns", "url": "http://127.0.0.1:1", "api_key": "x"}},
    "address": {"allow_documentation": True},
}
MX_AND_SPF = [
    {"zone": ZONE, "name": "", "type": "MX", "ttl": 3600, "values": ["10 mail.hearth.example."]},
    {"zone": ZONE, "name": "", "type": "TXT", "ttl": 3600, "values": ["v=spf1 mx -all"]},
]


class MemoryProvider(BaseProvider):
    """Zones as {zone: {(name, type): {"ttl", "values"}}}, in octoDNS' own terms."""

    SUPPORTS_GEO = False
    SUPPORTS_DYNAMIC = False
    SUPPORTS_ROOT_NS = True
    SUPPORTS = frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TLSA", "TXT"})

    def __init__(self, zones: dict[str, dict[tuple[str, str], dict[str, Any]]]) -> None:
        self.log = logging.getLogger("MemoryProvider")
        super().__init__("memory")
        self.zones = zones
        self.applied: list[Any] = []
        self.applied_at: list[float] = []
        self.now: Callable[[], float] = lambda: 0

    def populate(self, zone: Any, target: bool = False, lenient: bool = False) -> bool:
        held = self.zones.get(zone.name)
        for (name, rdtype), data in (held or {}).items():
            record = Record.new(zone, name, {"type": rdtype, **data}, source=self, lenient=True)
            zone.add_record(record, lenient=True)
        return held is not None

    def _apply(self, plan: Any) -> None:
        self.applied.append(plan)
        self.applied_at.append(self.now())
        for change in plan.changes:
            place = (change.record.name, change.record._type)
            if change.new is None:
                del self.zones[plan.desired.name][place]
            else:
                self.zones[plan.desired.name][place] = change.new.data


@dataclass
class World:
    """Everything the agent touches, under the test's hand."""

    path: Path
    zones: dict[str, dict[tuple[str, str], dict[str, Any]]] = field(default_factory=lambda: {f"{ZONE}.": {}})
    ipv4: str | None = "198.51.100.10"
    ipv6: str | None = None
    source: str = "router"
    clock: float = 1000.0
    questions: int = 0
    reads: int = 0
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    ahead: dict[str, Any] = field(default_factory=lambda: {"postfix": MX_AND_SPF})
    down: bool = False
    # Seconds for which the provider wants nothing more, as it says to the next question.
    patience: float = 0
    servers: tuple[str, ...] = ("192.0.2.53",)
    chance: Callable[[], float] = lambda: 0.5
    tries: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.provider = MemoryProvider(self.zones)
        self.provider.now = lambda: self.clock

    @property
    def zone(self) -> dict[tuple[str, str], dict[str, Any]]:
        return self.zones[f"{ZONE}."]

    @property
    def writes(self) -> int:
        return len(self.provider.applied)

    @property
    def state(self) -> state.State | None:
        return state.load(self.path / "ddns.json")

    def values(self, name: str, rdtype: str) -> set[str]:
        found = self.question("", Key(ZONE, name, rdtype))
        return set(found.values) if found else set()

    def question(self, _server: str, key: Key) -> RRset | None:
        from octodns.zone import Zone

        self.questions += 1
        zone = Zone(f"{key.zone}.", [])
        self.provider.populate(zone)
        return publish.snapshot(zone).get(key, RRset(key, 0, frozenset()))

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def look(self, *_args: Any) -> Found:
        proof = Ipv6Proof(self.ipv6 or "", shown=bool(self.ipv6))
        problem = "" if self.ipv4 else "The public IPv4 address is not known."
        return Found(self.ipv4, self.source if self.ipv4 else "", problem, self.ipv6, "", proof, 0.0)

    def make(self, _config: Any) -> MemoryProvider:
        self.reads += 1
        self.tries.append(self.clock)
        if self.down:
            raise ConnectionError("connection refused")
        if self.patience:
            seconds, self.patience = self.patience, 0
            raise WaitError("lab", ZONE, "911", "Wait.", seconds)
        return self.provider

    def agent(self) -> Agent:
        return Agent(
            parse(self.config),
            self.path / "records.d",
            self.path / "ddns.json",
            self.ahead,
            look=self.look,
            make=self.make,
            find_servers=lambda _zone, _configured: list(self.servers),
            question=self.question,
            now=lambda: self.clock,
            clock=lambda: self.clock,
            sleep=self.sleep,
            chance=lambda: self.chance(),
        )


def work_here(
    jobs: Any, write: bool, stop: bool, make: Callable[..., Any], permit: publish.Permit, **_rest: Any
) -> list[publish.Done]:
    """`publish.work_limited` without a process of its own."""
    return list(publish.work(jobs, write, stop, make, permit))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """An empty zone. The jobs run in this process: a child's changes to the dictionary would be lost."""

    monkeypatch.setattr(publish, "work_limited", work_here)
    return World(tmp_path)
