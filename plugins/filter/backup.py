"""Filters of role backup: what `hearth-backup` reports, told to a person."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# The programs of the box are no package on the controller.
sys.path.append(str(Path(__file__).resolve().parents[2] / "src"))
from hearthmail.backup import when
from hearthmail.backup.errors import UsageError

NAMED = 10


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return between.join(names[:NAMED]) + more


def rebuild_report(report: Mapping[str, Any], addresses: Sequence[str]) -> list[str]:
    """Tell what a rebuild brought back, from when, and what is missing.

    `report` is what `hearth-backup restore-all --json` printed; empty, when no backups are made of this site.
    `addresses` are the site's users.
    """
    if not report:
        return [
            "No backup is made of this site (backup_repository is not written). "
            "The server works, and its mailboxes are empty.",
            "Lost: all mail that the old box held, its TLS key, what its agent remembered of the DNS.",
        ]
    if not report["ok"]:
        return [
            f"Nothing came back: {report['error']}",
            "The server works, and its mailboxes are empty. Lost: all mail that the old box held, and its TLS key.",
        ]
    counts = report["messages_of"]
    begun = f": at the latest at {report['begun']}, when this restore began" if report.get("begun") else ""
    lines = []
    if report.get("already_done"):
        at = f", which began at {report['begun']}" if report.get("begun") else ""
        lines.append(
            f"Nothing was restored now: this box was restored already. What follows is told of that restore{at}."
        )
    lines += [
        f"Came back: {report['messages']} messages in {len(counts)} mailboxes, as they were at {report['time']} "
        f"({report['files']} files, {report['bytes'] / 1e6:.1f} MB, snapshot {report['snapshot'][:8]}).",
        f"Missing: what the old box accepted, and what programs changed, after {report['time']} and before it died"
        f"{begun}. How many messages that is, only their senders' servers know. "
        "What others sent after that waits at their servers and comes now.",
    ]
    if queue := report.get("queue"):
        waited = [
            f"{one['id']} from {one['sender'] or 'the mail system'} to {', '.join(one['recipients'])}" for one in queue
        ]
        lines.append(
            f"In the old box's queue waited then {len(queue)} messages; those that had not left before it died are "
            f"lost: {_some(waited, '; ')}."
        )
    if empty := sorted(set(addresses) - set(counts)):
        lines.append(f"Users of whom the backup holds no mailbox: {_some(empty)}.")
    if nobodys := sorted(set(counts) - set(addresses)):
        lines.append(f"Mailboxes that came back though no user in mail_users has them: {_some(nobodys)}.")
    if report.get("kept"):
        lines.append(f"Left as they were, because they held mail: {_some(report['kept'])}.")
    if report.get("incomplete"):
        lines.append("That backup was itself incomplete: its run had told so.")
    earlier = report.get("earlier") or {}
    if older := sorted(set(report.get("copy_failed") or {}) - set(earlier)):
        lines.append(f"Mailboxes as they were at a run before, for their copy had failed then: {_some(older)}.")
    if earlier:
        some = _some([f"{address} ({time})" for address, time in sorted(earlier.items())])
        lines.append(f"Mailboxes from an earlier backup, for the newest held less of them: {some}.")
    return lines


def is_backup_time(text: str) -> bool:
    """Tell whether `hearth-backup` will understand a point in time, e.g. `2026-11-23 08:00`."""
    try:
        when.parse(str(text))
    except UsageError:
        return False
    return True


class FilterModule:
    """What Ansible finds here."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name the filters."""
        return {"rebuild_report": rebuild_report, "is_backup_time": is_backup_time}
