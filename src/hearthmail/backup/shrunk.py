"""Mailboxes that lost most of their mail, which may not have been meant: told until somebody can have seen it.

They stand in `copies.json`: `stage-mail` writes them there, since it alone sees the copy that was, and `run` adds what
it knows of the backups. Each is `before` and `now`, messages; `seen`, when; `at`, the newest backup before that, None
where there is none; `told`, when a whole backup has told it. Times are ISO 8601.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hearthmail.backup import state
from hearthmail.backup.config import Box
from hearthmail.backup.errors import BackupError
from hearthmail.backup.restic import Restic

Shrunk = dict[str, dict[str, Any]]

# After a backup that is whole; until then it is told anyway.
TOLD_FOR = timedelta(days=1)


def load(box: Box) -> Shrunk:
    """Read who is to be told."""
    found = state.read(box.copies).get("shrunk")
    # Before, it was a pair of numbers.
    return {address: one for address, one in (found or {}).items() if isinstance(one, dict)}


def carried(box: Box) -> Shrunk:
    """Read who is still to be told."""
    limit = datetime.now(UTC) - TOLD_FOR
    return {
        address: one
        for address, one in load(box).items()
        if "told" not in one or datetime.fromisoformat(one["told"]) > limit
    }


def note(found: Shrunk, address: str, before: int, now: int) -> None:
    """Add a mailbox. What it held before it shrank the first time is what is missed."""
    first = found.get(address, {"before": before, "seen": datetime.now(UTC).isoformat()})
    found[address] = {name: value for name, value in {**first, "now": now}.items() if name != "told"}


def drop_returned(found: Shrunk, address: str, now: int) -> None:
    """Take a mailbox out that holds most of its mail again."""
    if address in found and now >= found[address]["before"] / 2:
        del found[address]


def add_backups(box: Box, restic: Restic) -> None:
    """Write down the newest backup that is older than each: the mail is in it."""
    found = load(box)
    undated = [one for one in found.values() if "at" not in one]
    if not undated:
        return
    try:
        times = [one.time for one in restic.snapshots()]
    except BackupError:
        # The next run asks again.
        return
    for one in undated:
        older = [time for time in times if time < datetime.fromisoformat(one["seen"])]
        one["at"] = max(older).isoformat() if older else None
    _save(box, found)


def mark_told(box: Box) -> None:
    """Write down that a whole backup has told them."""
    found = load(box)
    untold = [one for one in found.values() if "told" not in one]
    for one in untold:
        one["told"] = state.now_text()
    if untold:
        _save(box, found)


def _save(box: Box, found: Shrunk) -> None:
    state.write(box.copies, {**state.read(box.copies), "shrunk": found})


def lines(box: Box) -> list[str]:
    """Tell who it is, and how the mail comes back."""
    return [
        f"{address}: its copy held {one['before']} messages, the mailbox held {one['now']} at {one['seen'][:16]}Z. "
        f"If that was not meant (is the mail's disk mounted?): {_way_out(address, one)}"
        for address, one in load(box).items()
    ]


def _way_out(address: str, one: dict[str, Any]) -> str:
    if "at" not in one:
        return "older backups hold them, see `hearth-backup snapshots`"
    if one["at"] is None:
        return "no backup is older"
    return f'older backups hold them: `hearth-backup restore-user --user {address} --at "{one["at"]}"`'
