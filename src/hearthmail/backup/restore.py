"""Bringing back: one mailbox into a new folder, or the whole box."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from hearthmail.backup import dovecot, fragments, maildir, place, state, when
from hearthmail.backup.config import Box, Config
from hearthmail.backup.errors import BackupError, RefusedError, UsageError
from hearthmail.backup.place import Step, no_step
from hearthmail.backup.processes import run, run_fragment_command
from hearthmail.backup.progress import Progress
from hearthmail.backup.restic import INCOMPLETE, Restic, escape
from hearthmail.backup.stage import remove
from hearthmail.backup.when import Snapshot

RESTORING, PLACING, DONE, CLOSED = "restoring", "placing", "done", "closed"
# Marks the folder to which the box is restored first.
OWN = ".hearth-restore"


# One mailbox ------------------------------------------------------------------------------------------------------


def restore_user(
    box: Box,
    config: Config,
    restic: Restic,
    address: str,
    folder: str | None,
    at: str,
    into: str | None,
    progress: Progress,
    typed: float | None = None,
) -> dict[str, Any]:
    """Bring one mailbox, or one folder of it, back as it was, into a new folder.

    :param folder: None: all folders.
    :param at: the point in time, e.g. `2026-11-23 08:00`.
    :param into: the new folder's name; else `Restored <at>`.
    :param typed: when it was typed (UNIX time), if it may have waited for another run since then. If that was the
        same command, it has done all there was to do: who lost the line types it again.
    :raises RefusedError: when that folder is there already.
    """
    user = dovecot.user(address)
    moment = when.parse(at)
    parent = into or f"Restored {when.local_text(moment)}"
    if "." in parent or not parent.strip("/"):
        raise UsageError(f"A folder cannot be called {parent!r}.", "Give another name by --into, without a dot.")
    release = dovecot.version()
    asked = {"user": user.address, "folder": folder, "at": moment.isoformat(), "into": parent}
    before = state.read(box.restored)
    if typed is not None and before.get("asked") == asked and before["ended"] >= typed:
        return {**before["report"], "already_done": True}
    _refuse_existing(user.address, parent)
    snapshot = when.choose(restic.snapshots(), moment, config.hostname)
    staged = box.staging / user.place / "Maildir"
    include = [str(staged)]
    failed = None
    if folder is not None:
        directory = maildir.folder_directory(folder)
        # INBOX is the Maildir itself, and all others lie in it.
        parts = [directory] if directory else ["cur", "new", "dovecot-uidlist", "dovecot-keywords"]
        include = [str(staged / part) for part in parts]
    box.make_base()
    box.scratch.mkdir(mode=0o711, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=box.scratch, prefix="mailbox-") as scratch:
        raw = Path(scratch) / "raw"
        progress.say(f"fetching from snapshot {snapshot.short}, of {when.local_text(snapshot.time)}")
        restic.restore(snapshot, raw, [escape(path) for path in (*include, str(box.copies))], progress)
        if INCOMPLETE in snapshot.tags:
            copies = state.read(raw / box.copies.relative_to("/"))
            failed = (_failed(copies) or {}).get(user.address) or copies.get("all")
        found = raw / staged.relative_to("/")
        if not any((raw / Path(path).relative_to("/")).exists() for path in include):
            what = f"no folder {folder!r} of {user.address}" if folder else f"no mailbox of {user.address}"
            raise BackupError(
                "not_in_backup",
                f"The backup of {when.local_text(snapshot.time)} holds {what}.",
                "Look at the spelling (folders: `Work/2026`), or choose another time: `hearth-backup snapshots`.",
            )
        source = Path(scratch) / "Maildir"
        found.rename(source)
        for part in ("cur", "new", "tmp"):
            (source / part).mkdir(mode=0o700, exist_ok=True)
        _give(Path(scratch), source, box.at(config.mail_directory))
        expected = maildir.count(source)
        progress.say(f"{expected:,} messages go into the folder {parent!r}")
        result = run(dovecot.import_command(release, user.address, source, parent), folder=Path("/"))
    if result.code != 0:
        raise BackupError(
            "import",
            f"Dovecot did not take the mail of {user.address} in: {result.last_words}.",
            "Nothing that was there has changed. Does the user exist, and does Dovecot run? "
            f"Delete the folder {parent!r} if it is there, and type the command again.",
        )
    arrived = dovecot.counted(run(dovecot.count_command(user.address, parent), folder=Path("/")).out)
    if arrived != expected:
        raise BackupError(
            "import",
            f"{arrived} of {expected} messages of {user.address} are in the folder {parent!r}.",
            "Nothing that was there has changed. Look into Dovecot's log, delete that folder and try again.",
        )
    report = {
        "ok": True,
        "user": user.address,
        "folder": folder,
        "into": parent,
        "messages": expected,
        "snapshot": snapshot.id,
        "time": snapshot.time.isoformat(),
        "copy_failed": failed,
    }
    state.write(box.restored, {"asked": asked, "ended": time.time(), "report": report})
    return report


def _refuse_existing(address: str, parent: str) -> None:
    result = run(dovecot.list_command(address, parent), folder=Path("/"))
    if result.code != 0:
        raise BackupError(
            "user",
            f"Dovecot does not know {address}: {result.last_words}.",
            "Is the address right, and does Dovecot run?",
        )
    if result.out.strip():
        raise RefusedError(
            "folder_exists",
            f"{address} has a folder {parent!r} already.",
            "Delete or rename it, or give another name by --into.",
        )


def _give(scratch: Path, source: Path, mail: Path) -> None:
    """Let doveadm, which works as the mail's owner, read and index the restored Maildir."""
    scratch.chmod(0o711)
    owner = mail.stat()
    for path in [source, *source.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


# The whole box ----------------------------------------------------------------------------------------------------


@dataclass
class Journal:
    """How far a restore of the whole box has come.

    :param stage: empty (not begun), `restoring`, `placing`, `done`; `closed` when the box is at work again: what is
        typed then is another restore.
    :param at: the point in time that was asked for; None: the newest backup.
    :param begun: when it began, by this box's clock: the old box was dead by then.
    :param done: the steps of placing that are finished.
    :param copy_failed: whose copy had failed before that backup, and why: theirs is from a run before.
    :param earlier: who got a mailbox from an earlier backup, for that one held more, and its time.
    :param expected: messages of each mailbox in the backup.
    """

    stage: str = ""
    snapshot: str = ""
    time: str = ""
    target: str = ""
    incomplete: bool = False
    files: int = 0
    bytes: int = 0
    copy_failed: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, str] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    at: str | None = None
    begun: str = ""


def load_journal(path: Path) -> Journal:
    """Read the journal; without one nothing has begun.

    :raises BackupError: when it is there and broken.
    """
    if not path.exists():
        return Journal()
    try:
        return Journal(**state.read(path))
    except TypeError as error:
        raise BackupError("journal", f"{path} is broken: {error}.", "Remove it, and type the command again.") from error


def is_unfinished(box: Box) -> bool:
    """Whether a restore of the whole box began and did not end."""
    return load_journal(box.journal).stage in (RESTORING, PLACING)


def close(box: Box) -> bool:
    """Close the restore that has ended: the box is at work, and what is typed from now on is another one.

    :returns: whether there was one to close.
    :raises BackupError: when it has not ended.
    """
    journal = load_journal(box.journal)
    if journal.stage in (RESTORING, PLACING):
        raise BackupError(
            "restore_unfinished",
            "A restore of this box began and did not end.",
            "Type it again (playbooks/rebuild.yml, or `hearth-backup restore-all`).",
        )
    if journal.stage != DONE:
        return False
    journal.stage = CLOSED
    _save(box, journal)
    return True


def place_mail(box: Box, config: Config, progress: Progress | None = None) -> place.Placed:
    """Move restored mail to its place: the fragment's command after a restore.

    :raises RefusedError: without a restore: then the staging is the last backup's copy, not what was restored.
    """
    if load_journal(box.journal).stage != PLACING:
        raise RefusedError(
            "no_restore", "No restore of this box is under way.", "`hearth-backup restore-all` runs this by itself."
        )
    return place.place_mail(box, config, progress=progress)


def restore_all(
    box: Box,
    config: Config,
    restic: Restic,
    lock: int,
    progress: Progress,
    at: str | None = None,
    target: str | None = None,
    over_mail: bool = False,
    again: bool = False,
    step: Step = no_step,
) -> dict[str, Any]:
    """Bring the whole box back from its newest backup. It may be killed anywhere and run again.

    :param at: a point in time instead. Another one than that of a restore which has begun begins anew.
    :param target: where it is restored to before it is put in its place: best on the mail's file system.
    :param over_mail: go on though there is mail here. Who has mail keeps it, and gets nothing restored over it.
    :param again: begin anew after a restore that ended.
    :raises RefusedError: when there is mail here.
    """
    box.make_base()
    journal = load_journal(box.journal)
    if journal.stage == CLOSED or (at is not None and not _is_same_time(at, journal.at)):
        journal = Journal()
    if journal.stage == DONE and not again:
        return {**journal.report, "already_done": True}
    if journal.stage in ("", DONE, RESTORING):
        if not over_mail:
            _refuse_mail(box, config)
        if journal.stage != RESTORING or target is not None:
            journal = _begin(box, config, restic, at, target)
        _restore(box, restic, journal, progress, step)
    step("placing")
    problems = _place(box, config, journal, lock, progress, step)
    report = _report(box, config, journal, problems)
    if problems:
        return report
    shutil.rmtree(journal.target, ignore_errors=True)
    step("cleaned")
    journal.stage, journal.report = DONE, report
    _save(box, journal)
    return report


def _is_same_time(typed: str, before: str | None) -> bool:
    return before is not None and when.parse(typed) == when.parse(before)


def _save(box: Box, journal: Journal) -> None:
    state.write(box.journal, asdict(journal))


def _refuse_mail(box: Box, config: Config) -> None:
    holders = place.mailboxes_with_mail(box.at(config.mail_directory))
    if holders:
        some = ", ".join(holders[:3]) + (f" and {len(holders) - 3} more" if len(holders) > 3 else "")
        raise RefusedError(
            "holds_mail",
            f"This box holds mail already: {some}.",
            "A rebuild is for a bare box; one mailbox comes back by `restore-user`. If you mean it: --over-mail. "
            "Mailboxes that hold mail are left as they are then, and the others are restored.",
        )


def _begin(box: Box, config: Config, restic: Restic, at: str | None, target: str | None) -> Journal:
    snapshot = when.choose(restic.snapshots(), when.parse(at) if at else None, config.hostname)
    folder = box.at(target or config.restore_directory)
    if folder.exists() and any(folder.iterdir()) and not (folder / OWN).exists():
        raise RefusedError("target", f"{folder} is not empty.", "Choose an empty folder (--target).")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    # So that the next run knows this folder as its own.
    (folder / OWN).touch()
    _empty(folder)
    journal = Journal(
        RESTORING,
        snapshot.id,
        snapshot.time.isoformat(),
        str(folder),
        incomplete=INCOMPLETE in snapshot.tags,
        at=at,
        begun=state.now_text(),
    )
    _save(box, journal)
    return journal


def _empty(folder: Path) -> None:
    for child in folder.iterdir() if folder.is_dir() else ():
        if child.name != OWN:
            remove(child)


def _restored(box: Box, journal: Journal, path: Path) -> Path:
    """Where a path of the box lies in what was restored."""
    return Path(journal.target) / path.relative_to("/")


def _restore(box: Box, restic: Restic, journal: Journal, progress: Progress, step: Step) -> None:
    target = Path(journal.target)
    if restic.version < (0, 17) or journal.incomplete:
        # It cannot go on with what is there, or mailboxes of another backup may be there: begin with an empty folder.
        _empty(target)
    step("restoring")
    snapshot = Snapshot(journal.snapshot, datetime.fromisoformat(journal.time))
    progress.say(f"fetching snapshot {snapshot.short}, of {when.local_text(snapshot.time)}")
    restic.restore(snapshot, target, (), progress)
    step("restored")
    if journal.incomplete:
        _supplement(box, restic, journal, progress)
        step("supplemented")
    progress.say("counting what came")
    # Before anything is moved. A run that dies here restores again, and so begins with the old numbers.
    owners = state.read(_restored(box, journal, box.owners))
    place.renumber(target, place.renumbering(owners, place.names_of_owners()))
    journal.files, journal.bytes = _measure(target)
    journal.expected = {
        address: maildir.count(home / "Maildir")
        for address, home in place.homes(_restored(box, journal, box.staging))
        if (home / "Maildir").is_dir()
    }
    journal.stage = PLACING
    step("counted")
    os.sync()
    _save(box, journal)


def _failed(copies: dict[str, Any]) -> dict[str, str] | None:
    """Whose copy had failed before a snapshot; None: nobody knows, so anyone's may have."""
    failed = copies.get("failed")
    return failed if isinstance(failed, dict) else None


def _supplement(box: Box, restic: Restic, journal: Journal, progress: Progress) -> None:
    """Look into earlier backups for the mailboxes of those whose copy had failed.

    In general the newest one holds their copy of the run before, and that stays. It may hold less, or nothing: after a
    rebuild the first copy is made anew, and one that breaks off may have emptied a folder. Then the newest one whose
    copy was good is taken.
    """
    failed = _failed(state.read(_restored(box, journal, box.copies)))
    journal.copy_failed, journal.earlier = failed or {}, {}
    wanted = set(failed) if failed is not None else None
    scratch = Path(journal.target) / ".hearth-earlier"
    moment = datetime.fromisoformat(journal.time)
    for snapshot in reversed([one for one in restic.snapshots() if one.time < moment]):
        if wanted is not None and not wanted:
            return
        remove(scratch)
        good = wanted
        if INCOMPLETE in snapshot.tags:
            restic.restore(snapshot, scratch, [escape(str(box.copies))], progress)
            then = _failed(state.read(scratch / box.copies.relative_to("/")))
            good = set() if wanted is None or then is None else wanted - set(then)
            if not good:
                continue
        progress.say(f"looking into the backup of {when.local_text(snapshot.time)}")
        places = [box.staging / dovecot.user(one).place for one in sorted(good)] if good is not None else [box.staging]
        restic.restore(snapshot, scratch, [escape(str(path)) for path in places], progress)
        for address, home in list(place.homes(scratch / box.staging.relative_to("/"))):
            _take_if_more(box, journal, address, home, snapshot)
            if wanted is not None:
                wanted.discard(address)
        if wanted is None:
            break
    remove(scratch)


def _take_if_more(box: Box, journal: Journal, address: str, home: Path, snapshot: Snapshot) -> None:
    """Put an earlier copy of a mailbox in the place of the one that was restored, if it holds more messages."""
    here = _restored(box, journal, box.staging / dovecot.user(address).place)
    if maildir.count(home / "Maildir") <= maildir.count(here / "Maildir"):
        return
    remove(here)
    here.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    home.rename(here)
    journal.earlier[address] = snapshot.time.isoformat()


def _measure(tree: Path) -> tuple[int, int]:
    files = size = 0
    for folder, _names, names in os.walk(tree):
        for name in names:
            if name == OWN:
                continue
            files += 1
            size += (Path(folder) / name).lstat().st_size
    return files, size


def _place(box: Box, config: Config, journal: Journal, lock: int, progress: Progress, step: Step) -> list[str]:
    """Put everything in its place as the restored fragments say.

    :returns: what did not work.
    """
    kept = fragments.read(_restored(box, journal, box.fragments))
    problems: list[str] = []

    def once(name: str, work: Callable[[], str]) -> None:
        if name in journal.done:
            return
        problem = work()
        if problem:
            problems.append(problem)
            return
        step(f"did {name}")
        journal.done.append(name)
        _save(box, journal)
        step(f"wrote {name}")

    for path in fragments.paths(kept):
        progress.say(f"placing {path}")
        once(f"place {path}", partial(_place_path, box, journal, Path(path), step))
    os.sync()
    if problems:
        # A command may need what could not be placed.
        return problems
    for fragment in kept:
        for argv in fragment.after_restore:
            progress.say(f"{fragment.name}: {' '.join(argv)}")

            once(f"run {fragment.name} {' '.join(argv)}", partial(_run_after, fragment.name, argv, lock))
    return problems


def _run_after(name: str, argv: tuple[str, ...], lock: int) -> str:
    problem = run_fragment_command(argv, lock)
    return f"{name}: {' '.join(argv)} failed: {problem}" if problem else ""


def _place_path(box: Box, journal: Journal, path: Path, step: Step) -> str:
    target = box.at(path)
    source = _restored(box, journal, target)
    if not place.is_pending(source):
        return ""
    try:
        if target == box.staging:
            place.replace(source, target, step)
        else:
            place.merge(source, target, step)
    except OSError as error:
        return f"{path} could not be put in its place: {error}"
    return ""


def _report(box: Box, config: Config, journal: Journal, problems: list[str]) -> dict[str, Any]:
    """What came back, from when, and what is missing."""
    mail = box.at(config.mail_directory)
    users = dovecot.read_users(box.at(config.users_file))
    addresses = [user.address for user in users] if users is not None else []
    # What is still in the staging was left there, unless placing broke off.
    staged = [] if problems else list(place.homes(box.staging))
    kept = [address for address, home in staged if place.is_pending(home / "Maildir")]
    counts = {
        address: maildir.count(mail / dovecot.user(address).place / "Maildir") for address in sorted(journal.expected)
    }
    fewer = {
        address: {"restored": counts[address], "in_backup": number}
        for address, number in journal.expected.items()
        if counts[address] < number and address not in kept and not problems
    }
    if fewer:
        problems = [f"{len(fewer)} mailboxes have fewer messages than the backup: {', '.join(sorted(fewer)[:5])}"]
    return {
        "ok": not problems,
        "stage": journal.stage if problems else DONE,
        "snapshot": journal.snapshot,
        "time": journal.time,
        "begun": journal.begun,
        "incomplete": journal.incomplete,
        "copy_failed": journal.copy_failed,
        "earlier": journal.earlier,
        "files": journal.files,
        "bytes": journal.bytes,
        "messages": sum(counts.values()),
        "messages_of": counts,
        "kept": kept,
        "fewer": fewer,
        "users_without_mail": sorted(set(addresses) - set(journal.expected)),
        "mail_without_user": sorted(set(journal.expected) - set(addresses)) if users is not None else [],
        "queue": waited(box.queue),
        "problems": problems,
    }


def waited(listing: Path) -> list[dict[str, Any]]:
    """Read what waited in the queue of the old box: id, sender and recipients of each message, but for the probe's.

    The listing is that of `postqueue -j`, an object a line. What had not left by the old box's death has died with it.
    """
    found = []
    for line in listing.read_text(encoding="utf-8", errors="replace").splitlines() if listing.is_file() else ():
        try:
            data = json.loads(line)
            recipients = [str(one["address"]) for one in data["recipients"]]
            message = {"id": str(data["queue_id"]), "sender": str(data["sender"]), "recipients": recipients}
        except (ValueError, TypeError, KeyError):
            # The disk was full while it was written.
            continue
        if not all(map(dovecot.is_nobodys, recipients)):
            found.append(message)
    return found
