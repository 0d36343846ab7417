"""The status: as a value, which is written to a file after each round, and as lines for a person."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hearthmail.probe.finding import GREEN, LEVELS, RED, Finding, worst
from hearthmail.probe.letters import clock, day
from hearthmail.probe.memory import Memory

# Readable by all: it holds no secret.
STATUS_FILE = "status.json"
# Seconds after which the last round is too long ago.
STALE = 180


def as_value(findings: Sequence[Finding], memory: Memory, now: float, busy: str) -> dict[str, Any]:
    """What `status --json` shows."""
    parts = [
        {
            **{name: asdict(finding)[name] for name in ("part", "level", "reason", "todo")},
            "since": memory.faults[finding.part].since if finding.part in memory.faults else None,
        }
        for finding in findings
    ]
    return {
        "level": worst(findings),
        "at": now,
        "busy": busy,
        "parts": parts,
        "notes": [asdict(note) for note in memory.notes],
        "letters": [letter.subject for letter in memory.letters],
    }


def read(path: Path, now: float) -> dict[str, Any]:
    """The last round's status, red when it is too old or missing."""
    try:
        status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        at = float(status["at"])
        lines(status)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        reason, status = "no round has been made yet", {"at": 0, "parts": [], "notes": [], "letters": [], "busy": ""}
    else:
        if -STALE < now - at <= STALE:
            return status
        reason = f"the last round was at {day(at)}: what follows is as it was then"
    stopped = Finding("probe", RED, reason, "systemctl status hearth-probe.timer; journalctl -u hearth-probe -n 20")
    return {**status, "level": RED, "parts": [{**asdict(stopped), "since": None}, *status["parts"]]}


def part_lines(parts: Iterable[dict[str, Any]]) -> list[str]:
    """One line for each part, the worst first; below it what to do."""
    ordered = sorted(parts, key=lambda one: -LEVELS.index(one["level"]))
    width = max((len(str(one["part"])) for one in ordered), default=0)
    shown = []
    for one in ordered:
        since = f" (since {day(one['since'])})" if one.get("since") and one["level"] == RED else ""
        shown.append(f"{one['level']:<6}  {one['part']:<{width}}  {one['reason']}{since}")
        if one["todo"] and one["level"] != GREEN:
            shown.append(f"{'':<6}  {'':<{width}}  -> {one['todo']}")
    return shown


def lines(status: dict[str, Any]) -> list[str]:
    """The status for a person."""
    shown = part_lines(status["parts"])
    if status["busy"]:
        shown.append(f"No reboot now: {status['busy']}.")
    if status["notes"]:
        shown.append("Mended within the last day:")
        shown += [f"  {clock(note['at'])} {note['text']}" for note in status["notes"]]
    shown += [f"Not told yet, the mail could not be sent: {subject}" for subject in status["letters"]]
    return shown


def exit_code(level: str) -> int:
    """0 green, 1 yellow, 2 red."""
    return LEVELS.index(level)
