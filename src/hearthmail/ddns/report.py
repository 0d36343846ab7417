"""The outcome of a run, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hearthmail.ddns.address import Found
from hearthmail.ddns.changes import Addresses
from hearthmail.ddns.errors import AgentError
from hearthmail.ddns.merge import Change, Conflict
from hearthmail.ddns.records import Key

# Exit codes, the same for all commands. NOT_YET is the answer of `ready` alone.
OK, ERROR, CHANGES, CONFLICT, NOT_YET = 0, 1, 2, 3, 4


def clock_time(at: float) -> str:
    """An instant of the Unix clock, for a person."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass
class ZoneReport:
    """What happened, or would happen, in one zone.

    :param manual: the provider is a person, who has to enter the changes.
    :param still_wrong: what the authoritative servers answered otherwise until the time was up.
    :param lagging: what they answer otherwise although the provider holds it right.
    :param withheld: what the provider cannot write as things stand, by its place.
    :param reads: whether the provider could be asked what it holds: see `hearthmail.ddns.providers.spec`.
    :param held_until: when a write that the limits hold back is allowed, in seconds of the Unix clock.
    """

    zone: str
    provider: str
    changes: list[Change] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    written: bool = False
    manual: bool = False
    error: AgentError | None = None
    still_wrong: list[str] = field(default_factory=list)
    seconds: float = 0
    lagging: list[str] = field(default_factory=list)
    withheld: Mapping[Key, AgentError] = field(default_factory=dict)
    reads: bool = True
    held_until: float | None = None

    @property
    def blocked(self) -> set[Key]:
        """The places where something keeps us from writing: what stands there is not what we want."""
        return {conflict.key for conflict in self.conflicts} | set(self.withheld)


@dataclass
class Report:
    """The outcome of a run.

    :param repeated: the exit code of an earlier run that met the same difference: it is not told twice.
    :param retry_at: when something that had to wait can be done (a write held back, a provider that was out of
        reach), in seconds of the Unix clock; None: nothing waits.
    :param moved: the box's published addresses before and after; None: the run publishes nothing.
    """

    zones: list[ZoneReport] = field(default_factory=list)
    found: Found | None = None
    notes: list[str] = field(default_factory=list)
    errors: list[AgentError] = field(default_factory=list)
    planned_only: bool = False
    repeated: int = OK
    retry_at: float | None = None
    moved: tuple[Addresses, Addresses] | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was written, or would be."""
        return any(zone.written or (self.planned_only and zone.changes) for zone in self.zones)

    @property
    def exit_code(self) -> int:
        """An error outranks a conflict, which outranks changes that are only planned."""
        if self.errors or any(zone.error for zone in self.zones):
            return ERROR
        if any(zone.conflicts for zone in self.zones):
            return CONFLICT
        return CHANGES if self.planned_only and self.changed else self.repeated
