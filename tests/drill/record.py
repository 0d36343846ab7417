"""The figures of the drills: `build/drills.json`, a list of fault, sent, arrived, doubled, repeated, seconds."""

from __future__ import annotations

import json
import os

from tests.drill.stream import Count
from tests.flow import lab

# `make drill` runs the long form; `make test` and `molecule test` one of each kind of fault.
LONG = os.environ.get("HEARTH_DRILL") == "long"
FILE = lab.BUILD / "drills.json"
NUMBERS = lab.BUILD / "drill-numbers.json"


def write(fault: str, count: Count, seconds: float) -> None:
    """Put the figures of one drill into the file; an older run of the same drill is replaced."""
    entries = [entry for entry in _read() if entry["fault"] != fault]
    entries.append(
        {
            "fault": fault,
            "sent": count.sent,
            "arrived": count.arrived,
            "lost": len(count.missing),
            "doubled": len(count.doubled),
            "repeated": len(count.repeated),
            "seconds": round(seconds, 1),
        }
    )
    FILE.write_text(json.dumps(entries, indent=1) + "\n")


def number(what: str, value: float) -> None:
    """Put one measured number into `build/drill-numbers.json`, by its words."""
    numbers = {**_numbers(), what: round(value, 2)}
    NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n")


def _numbers() -> dict[str, float]:
    return dict(json.loads(NUMBERS.read_text())) if NUMBERS.exists() else {}


def _read() -> list[dict[str, object]]:
    return list(json.loads(FILE.read_text())) if FILE.exists() else []


def lines() -> list[str]:
    """Give all figures as the lines of a table."""
    shown = [f"{'fault':44}{'sent':>7}{'arrived':>9}{'lost':>6}{'doubled':>9}{'sent again':>12}{'seconds':>9}"]
    for entry in _read():
        cells = (("sent", 7), ("arrived", 9), ("lost", 6), ("doubled", 9), ("repeated", 12), ("seconds", 9))
        shown.append(f"{entry['fault']:44}" + "".join(f"{entry[key]:>{width}}" for key, width in cells))
    return shown + [f"{what:76}{value:>12}" for what, value in _numbers().items()]
