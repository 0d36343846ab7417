"""Processes that are there and do nothing: stopped by a signal, or waiting for a disk that does not answer.

The message on its way does not see all of them. With Postfix's or Dovecot's master stopped, the processes that it has
started go on until they are idle for a minute or two; pickup (mail of the box itself), tlsmgr, smtp and bounce are not
on the way of that message; Dovecot's log and stats block the others only when their pipes are full. So every process
of the units that are looked after is looked at: some sixty small files.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hearthmail.probe.box import Units
from hearthmail.probe.finding import RED, RESTART, WAKE, Finding
from hearthmail.probe.mailqueue import hours

# Where systemd's own tree may lie: control groups v2; v1 beside it; v1 alone.
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"))
PROC = Path("/proc")
# States of proc(5). A process under a debugger is `t`, not `T`: a person is at work on it, and it is left alone.
STOPPED, WAITS_FOR_DISK = "T", "D"
# Seconds until a stopped process is looked at once more.
PAUSE = 3
# Seconds without one change of context after which waiting for a disk is a hang; the kernel's own measure
# (hung_task_timeout_secs).
STALLED = 120.0
# Processes that are named in a message.
NAMED = 5


@dataclass(frozen=True)
class Process:
    """A process of a unit.

    :param started: with the number it tells a process from a later one of the same number.
    :param switches: how often it has left the processor; only read of one that waits for a disk.
    """

    unit: str
    pid: int
    name: str
    state: str
    started: int
    switches: int = 0

    @property
    def key(self) -> str:
        """Stays the same as long as it has not moved."""
        return f"{self.pid}:{self.started}:{self.switches}"


def _read_process(unit: str, pid: str, proc: Path) -> Process:
    """Read /proc/PID/stat (proc(5)).

    :raises OSError, ValueError: it has ended meanwhile.
    """
    text = (proc / pid / "stat").read_text(encoding="utf-8", errors="replace")
    # The name stands in brackets and may hold brackets and blanks.
    name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 1 :].split()
    one = Process(unit, int(pid), name, fields[0], int(fields[19]))
    if one.state == WAITS_FOR_DISK:
        status = (proc / pid / "status").read_text(encoding="utf-8", errors="replace")
        one = replace(one, switches=sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status))))
    return one


def processes(units: Units, cgroups: Sequence[Path] = CGROUPS, proc: Path = PROC) -> Iterator[Process]:
    """All processes of units, as systemd has put them into control groups."""
    for unit, seen in units.items():
        group = seen.get("ControlGroup", "").lstrip("/")
        # Without one the unit has no process; the root group would be all of the machine.
        if not group:
            continue
        tree = next((one for one in cgroups if (one / group).is_dir()), None)
        for listing in sorted((tree / group).rglob("cgroup.procs")) if tree else ():
            try:
                pids = listing.read_text(encoding="ascii").split()
            except OSError:
                continue
            for pid in pids:
                try:
                    yield _read_process(unit, pid, proc)
                except (OSError, ValueError, IndexError):
                    continue


def _names(found: Iterable[Process]) -> str:
    every = [f"{one.name} ({one.pid})" for one in found]
    more = f" and {len(every) - NAMED} more" if len(every) > NAMED else ""
    return ", ".join(every[:NAMED]) + more


@dataclass(frozen=True)
class Look:
    """What the processes of all units do.

    :param stopped: by unit; those that were stopped in two looks.
    :param waiting: those that wait for a disk.
    :param running: by unit and name, how many there are.
    """

    stopped: Mapping[str, tuple[Process, ...]]
    waiting: tuple[Process, ...] = ()
    running: Mapping[tuple[str, str], int] = field(default_factory=dict)


def look(units: Units, pause: float = PAUSE, cgroups: Sequence[Path] = CGROUPS, proc: Path = PROC) -> Look:
    """Look at all processes; once more, a moment later, when one is stopped."""
    every = list(processes(units, cgroups, proc))
    stopped = [one for one in every if one.state == STOPPED]
    if stopped:
        time.sleep(pause)
        still = set(processes(units, cgroups, proc))
        stopped = [one for one in stopped if one in still]
    by_unit: dict[str, tuple[Process, ...]] = {}
    for one in stopped:
        by_unit[one.unit] = (*by_unit.get(one.unit, ()), one)
    waiting = tuple(one for one in every if one.state == WAITS_FOR_DISK)
    return Look(by_unit, waiting, Counter((one.unit, one.name) for one in every))


def judge_stopped(seen: Look) -> list[Finding]:
    """Name the stopped ones. Nothing is said of units that have none."""
    return [
        Finding(
            f"processes of {unit}",
            RED,
            f"stopped by a signal: {_names(found)}",
            f"who sends SIGSTOP? systemctl kill -s CONT {unit} wakes them",
            unit,
            (WAKE, RESTART),
        )
        for unit, found in seen.stopped.items()
    ]


def remember(seen: Look, before: Mapping[str, float], now: float) -> dict[str, float]:
    """Since when those that wait for a disk have not moved, by their key."""
    return {one.key: min(before.get(one.key, now), now) for one in seen.waiting}


def judge_waiting(seen: Look, since: Mapping[str, float], now: float) -> list[Finding]:
    """Name those that have waited for a disk for long. No restart helps: not even SIGKILL reaches them."""
    found = []
    long = [one for one in seen.waiting if now - since.get(one.key, now) >= STALLED]
    for unit in dict.fromkeys(one.unit for one in long):
        stuck = [one for one in long if one.unit == unit]
        waits = hours(now - min(since[one.key] for one in stuck))
        reason = f"waits for a disk for {waits}: {_names(stuck)}"
        found.append(Finding(f"disk under {unit}", RED, reason, "dmesg -T | tail -50; is a disk dying or away?", unit))
    return found
