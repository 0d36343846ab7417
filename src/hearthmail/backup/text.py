"""Reports as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from hearthmail.backup.progress import seconds_text, size_text
from hearthmail.backup.state import State
from hearthmail.backup.when import Snapshot, local_text

# Mailboxes that are listed one by one.
LISTED = 30


def _time(text: str | None) -> str:
    return local_text(datetime.fromisoformat(text)) if text else "never"


def run_lines(report: dict[str, Any]) -> Iterator[str]:
    """What a backup brought."""
    if report["made_repository"]:
        yield "The repository was made: it is new and was empty."
    yield (
        f"Snapshot {str(report['snapshot'])[:8]}: {report['files']} files, {size_text(report['bytes'])}; "
        f"{report['files_new']} new, {report['files_changed']} changed, {size_text(report['data_added'])} added, "
        f"in {seconds_text(report['seconds'])}."
    )
    if report["forgotten"]:
        yield f"{report['forgotten']} old snapshots were removed."
    for path in report["missing_paths"]:
        yield f"Not there, so not kept: {path}"
    if report["mail_without_user"]:
        names = ", ".join(report["mail_without_user"])
        yield f"Not kept, for they are not in `mail_users`: {names}. Add them, or delete their mail."
    for warning in report["warnings"]:
        yield f"LOOK: {warning}"
    if report["error"]:
        yield f"FAILED: {report['error']}"


def check_lines(report: dict[str, Any]) -> Iterator[str]:
    """What a check found."""
    for pack in report["packs"]:
        yield f"Damaged: pack {pack}"
    if report["healed"]:
        yield f"Repaired: {', '.join(report['healed'])}."
    yield "The repository is whole." if report["ok"] else f"FAILED: {report['error']}"


def snapshot_lines(snapshots: list[Snapshot]) -> Iterator[str]:
    """The list of backups."""
    for one in snapshots:
        files = "" if one.files is None else f"  {one.files} files"
        yield f"{one.short}  {local_text(one.time)}{files}{'  incomplete' if 'incomplete' in one.tags else ''}"
    if not snapshots:
        yield "There is no backup yet."


def status_lines(state: State, running: bool, progress: dict[str, Any], unfinished: bool) -> Iterator[str]:
    """How the backups went."""
    yield f"Last good backup: {_time(state.last_success)}, {state.files} files, {size_text(state.bytes)}"
    yield f"Last attempt: {_time(state.last_attempt)}, {seconds_text(state.seconds)}"
    yield f"Last check: {_time(state.last_check)}"
    if running:
        yield "A backup or restore is running now."
    if progress:
        yield f"{progress['command']}: {progress['text']}"
    if unfinished:
        yield "A restore of the whole box began and did not end: type it again."
    for warning in state.warnings:
        yield f"LOOK: {warning}"
    for error in (state.error, state.check_error):
        if error:
            yield f"FAILED: {error}"


def user_lines(report: dict[str, Any]) -> Iterator[str]:
    """What came back of one mailbox."""
    if report.get("already_done"):
        yield "The same command was at work already, and has ended; nothing more was done."
    if report["copy_failed"]:
        yield f"The copy of that hour had failed ({report['copy_failed']}): what came back is that of a run before."
    what = f"folder {report['folder']} of {report['user']}" if report["folder"] else report["user"]
    yield (
        f"{report['messages']} messages of {what}, as they were at {_time(report['time'])} "
        f"(snapshot {report['snapshot'][:8]}), are in the new folder {report['into']!r}."
    )


def queue_lines(queue: list[dict[str, Any]]) -> Iterator[str]:
    """What waited in the old box's queue."""
    if queue:
        yield f"{len(queue)} messages waited in its queue at that time. What had not left before it died is lost:"
    for one in queue[:LISTED]:
        yield f"  {one['id']} from {one['sender'] or 'the mail system'} to {', '.join(one['recipients'])}"
    if queue[LISTED:]:
        yield f"  ... and {len(queue) - LISTED} more (--json lists all)"


def all_lines(report: dict[str, Any]) -> Iterator[str]:
    """What came back of the box, from when, and what is missing."""
    if report.get("already_done"):
        yield "This box was restored already; nothing was done. (--again begins anew.)"
    yield (
        f"Restored from the backup of {_time(report['time'])} (snapshot {report['snapshot'][:8]}): "
        f"{report['files']} files, {size_text(report['bytes'])}, {report['messages']} messages "
        f"in {len(report['messages_of'])} mailboxes."
    )
    begun = f"; that was before {_time(report['begun'])}, when this restore began" if report.get("begun") else ""
    yield f"Lost: what was accepted after {_time(report['time'])} and before the box died{begun}."
    yield from queue_lines(report.get("queue", []))
    if report["incomplete"]:
        yield "That backup was marked incomplete: a command before it had failed, or files could not be read."
    for address, why in list(report["copy_failed"].items())[:LISTED]:
        if address not in report["earlier"]:
            yield f"{address}: its copy had failed then ({why}); what came back is the copy of a run before."
    for address, time in list(report["earlier"].items())[:LISTED]:
        yield (
            f"{address}: restored as it was at {_time(time)}, for the newest backup held less of it. "
            f'What that one holds: `hearth-backup restore-user --user {address} --at "{report["time"]}"`'
        )
    for number, (address, count) in enumerate(report["messages_of"].items()):
        if number == LISTED:
            yield f"  ... and {len(report['messages_of']) - LISTED} more (--json lists all)"
            break
        yield f"  {address}: {count} messages"
    for address in report["kept"]:
        yield f'Left as it is, for it holds mail: {address}. `hearth-backup restore-user --user {address} --at "..."`'
    for address in report["users_without_mail"][:LISTED]:
        yield f"A user without mail in the backup: {address}"
    for address in report["mail_without_user"][:LISTED]:
        yield f"Mail without a user: {address}. Add it to `mail_users`, or nobody can read it."
    for problem in report["problems"]:
        yield f"FAILED: {problem}"
    if report["problems"]:
        yield "Mend the cause and type the command again: it goes on where it ended."
