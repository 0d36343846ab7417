"""A consistent copy of all mail, made by Dovecot: `<base>/mail/<domain>/<local part>/`.

restic over live Maildirs misses files that move from new/ to cur/ while it reads. `doveadm backup` does not.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hearthmail.backup import dovecot, maildir, room, shrunk, state
from hearthmail.backup.config import Box, Config
from hearthmail.backup.dovecot import User
from hearthmail.backup.errors import BackupError
from hearthmail.backup.processes import run
from hearthmail.backup.progress import Progress, size_text
from hearthmail.backup.room import Room

# At a time: mail must not wait for us.
AT_ONCE = 2
TRIES = 5
# Seconds for which mailboxes wait for a Dovecot that is away: systemd, the probe or a person starts it anew.
PATIENCE = 60.0
# Seconds between two looks at whether it is back.
PAUSE = 1.0
# Messages that a mailbox may lose between two copies, however many it held, and nothing is said.
MANY_LOST = 20
# Of all copies, until they have been made.
UNENDED = "the copying did not end"
# Users after which what was done is written down.
SAVE_EVERY = 200


@dataclass
class Report:
    """What staging did.

    :param failed: users and why.
    :param shrunk: who had lost more than half of the messages since the last copy, this time or lately.
    :param without_user: whose mail is here although they are in no file, and no copy of it is made or kept.
    """

    copied: list[str] = field(default_factory=list)
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    shrunk: shrunk.Shrunk = field(default_factory=dict)
    without_user: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As it is printed."""
        return {
            "ok": not self.failed,
            "copied": len(self.copied),
            "unchanged": self.unchanged,
            "removed": self.removed,
            "failed": self.failed,
            **self.told(),
        }

    def told(self) -> dict[str, Any]:
        """What the report of the whole backup says too, where there is something to say."""
        said = {"shrunk": self.shrunk, "without_user": self.without_user}
        return {name: value for name, value in said.items() if value}


def copy_owned(source: Path, target: Path) -> None:
    """Copy a file, link or tree with owners, modes and times. The target must not exist."""
    if source.is_symlink() or not source.is_dir():
        shutil.copy2(source, target, follow_symlinks=False)
    else:
        shutil.copytree(source, target, symlinks=True)
    pairs = [(source, target)]
    if source.is_dir() and not source.is_symlink():
        pairs += [(path, target / path.relative_to(source)) for path in source.rglob("*")]
    for old, new in pairs:
        seen = old.lstat()
        os.chown(new, seen.st_uid, seen.st_gid, follow_symlinks=False)
        if not new.is_symlink():
            # chown takes set-id bits away.
            new.chmod(seen.st_mode & 0o7777)


def remove(path: Path) -> None:
    """Remove a file, link or tree, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy_sieve(home: Path, staged: Path) -> None:
    """Copy the scripts as they are; the copy is whole or the one before."""
    for name in maildir.SIEVE:
        source, target, new = home / name, staged / name, staged / f".new-{name}"
        remove(new)
        if os.path.lexists(source):
            copy_owned(source, new)
        remove(target)
        if os.path.lexists(new):
            new.rename(target)


def _make_home(staging: Path, user: User, live: Path) -> Path:
    """Make the folder of a user's copy, owned as the live one: doveadm works as that owner."""
    staged = staging / user.place
    for folder in (staging, staged.parent):
        folder.mkdir(mode=0o711, exist_ok=True)
    staged.mkdir(mode=0o700, exist_ok=True)
    owner = live.stat()
    os.chown(staged, owner.st_uid, owner.st_gid)
    return staged


class Patience:
    """Waits for a Dovecot that is away: all mailboxes together no longer than `PATIENCE`, until it is there again."""

    def __init__(self, progress: Progress) -> None:
        """Have found it there."""
        self._progress = progress
        self._away_since: float | None = None

    def is_left(self, away: bool) -> bool:
        """Tell whether to try again what Dovecot has just not answered; after a pause.

        :param away: whether it did not; where it did, the next time that it is away has all patience again.
        """
        if not away:
            self._away_since = None
            return False
        now = time.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        if now - self._away_since > PATIENCE:
            return False
        self._progress.say("waiting for Dovecot, which does not answer")
        time.sleep(PAUSE)
        return True


def stage_user(release: tuple[int, int], user: User, live: Path, staging: Path, patience: Patience) -> None:
    """Copy one mailbox.

    :raises BackupError: when doveadm cannot.
    """
    staged = _make_home(staging, user, live)
    argv = dovecot.backup_command(release, user.address, staged / "Maildir", staged / "index")
    for attempt in range(TRIES):
        # doveadm gives up root's rights and must be able to return to where it began.
        result = run(argv, folder=Path("/"))
        while patience.is_left(away=dovecot.is_away(result)):
            result = run(argv, folder=Path("/"))
        if result.code == 0:
            break
        if result.code != dovecot.CHANGED:
            raise BackupError("stage", f"doveadm backup: {result.last_words}", "")
        time.sleep(0.2 * attempt)
    else:
        raise BackupError("stage", f"the mailbox changed during each of {TRIES} copies", "")
    copy_sieve(live, staged)


def gone(staging: Path, mail: Path, users: Iterable[User]) -> list[Path]:
    """Copies of users who are in no file any more, and whose mail is gone as well."""
    known = {user.place for user in users}
    return [
        home
        for home in sorted(staging.glob("*/*"))
        if home.is_dir() and home.relative_to(staging) not in known and not (mail / home.relative_to(staging)).exists()
    ]


def without_user(staging: Path, mail: Path, users: Iterable[User]) -> list[str]:
    """Who has mail here, is in no file, and has no copy: after a rebuild it has been moved to its place."""
    known = {user.place for user in users}
    return [
        f"{home.name}@{home.parent.name}"
        for home in sorted(mail.glob("*/*"))
        if home.relative_to(mail) not in known
        and not dovecot.is_nobodys(home.parent.name)
        and not (staging / home.relative_to(mail) / "Maildir").is_dir()
        and maildir.has_mail(home / "Maildir")
    ]


def stage_mail(
    box: Box, config: Config, now: Callable[[], int] = time.time_ns, progress: Progress | None = None
) -> Report:
    """Bring the copy of every mailbox up to date.

    One that fails leaves the copy before, which the snapshot then holds: who that is, is written down for a restore.

    :raises BackupError: when there are no users or no mail to look at: then nothing is removed.
    """
    report = Report(shrunk=shrunk.carried(box))
    # What stands here if we are killed.
    _write_copies(box, {"all": UNENDED, **report.told()})
    try:
        _stage_mail(box, config, now, progress or Progress("stage-mail", active=False), report)
    except BackupError as error:
        _write_copies(box, {"all": str(error), **report.told()})
        raise
    _write_copies(box, {"failed": report.failed, **report.told()})
    return report


def _write_copies(box: Box, said: dict[str, Any]) -> None:
    box.make_base()
    state.write(box.copies, said)


def _stage_mail(box: Box, config: Config, now: Callable[[], int], progress: Progress, report: Report) -> None:
    mail, users_file = box.at(config.mail_directory), box.at(config.users_file)
    users = dovecot.read_users(users_file)
    if users is None:
        raise BackupError("stage", f"{users_file} is missing.", "Run the playbook: role dovecot writes it.")
    if not mail.is_dir():
        raise BackupError("stage", f"{mail} is missing.", "Is its disk mounted?")
    box.make_base()
    box.staging.mkdir(mode=0o711, exist_ok=True)
    seen_before = state.read(box.staged)
    vanished = _vanished(users, mail, box.staging)
    report.failed |= vanished
    todo = _changed(users, mail, box, seen_before, report, now)
    for one in todo:
        seen_before.pop(one.user.address, None)
    if todo:
        fitting = _with_room(todo, mail, box, config, report)
        _note_shrunk(fitting, report)
        # The copies become equal to their mailboxes: if we are killed then, this is all that tells of it.
        _write_copies(box, {"all": UNENDED, **report.told()})
        _stage_all(dovecot.version(), fitting, mail, box, config, seen_before, report, progress)
    # Where a mailbox has vanished, the others may have done so with it: then no copy goes.
    for home in gone(box.staging, mail, users) if not vanished else ():
        remove(home)
        address = f"{home.name}@{home.parent.name}"
        report.removed.append(address)
        seen_before.pop(address, None)
    if todo or report.removed:
        state.write(box.staged, seen_before)
    report.without_user = without_user(box.staging, mail, users)


@dataclass(frozen=True)
class _Todo:
    """A mailbox that is to be copied.

    :param looks: as what it was seen before the copy; empty where that is not to be trusted.
    :param need: what the copy grows by.
    :param is_first: there is no copy of it yet.
    :param messages: that the copy held before, and that the mailbox holds.
    """

    user: User
    looks: str
    need: Room = field(default_factory=Room)
    is_first: bool = False
    messages: tuple[int, int] = (0, 0)

    @property
    def has_shrunk(self) -> bool:
        """Whether it has lost most of its messages: where a disk is not mounted, Dovecot makes an empty mailbox."""
        before, now = self.messages
        return now < before / 2 and before - now >= MANY_LOST


def _note_shrunk(todo: Iterable[_Todo], report: Report) -> None:
    for one in todo:
        shrunk.drop_returned(report.shrunk, one.user.address, one.messages[1])
        if one.has_shrunk:
            shrunk.note(report.shrunk, one.user.address, *one.messages)


def _vanished(users: Iterable[User], mail: Path, staging: Path) -> dict[str, str]:
    """Who has a copy and no mailbox any more, and what to do: the copy must not pass for the mail of today."""
    return {
        user.address: (
            f"{mail / user.place}/Maildir is gone: is its disk mounted? The copy stays as it was. "
            f"If it was deleted on purpose: rm -r {staging / user.place}"
        )
        for user in users
        if (staging / user.place / "Maildir").is_dir() and not (mail / user.place / "Maildir").is_dir()
    }


def _changed(
    users: Iterable[User], mail: Path, box: Box, seen: dict[str, Any], report: Report, now: Callable[[], int]
) -> list[_Todo]:
    """Whose mailbox looks other than at its last copy."""
    todo = []
    for user in users:
        live, staged = mail / user.place, box.staging / user.place
        if not (live / "Maildir").is_dir():
            continue
        # Looked at before the copy: what changes during it makes the next run copy again.
        looks, newest = maildir.fingerprint(live)
        if seen.get(user.address) == looks and (staged / "Maildir").is_dir():
            report.unchanged += 1
        else:
            todo.append(_Todo(user, looks if maildir.is_settled(newest, now()) else ""))
    return todo


def _spare(box: Box, config: Config) -> Room:
    return room.spare(box.staging, config.reserve_percent, config.reserve_bytes)


def _with_room(todo: Iterable[_Todo], mail: Path, box: Box, config: Config, report: Report) -> list[_Todo]:
    """Take those whose copies find room beside mail; the largest that do not have failed.

    What a copy will take is what the mailbox takes more than its copy now: the sizes of the same messages.
    """
    measured = []
    for one in todo:
        live, copy = mail / one.user.place / "Maildir", box.staging / one.user.place / "Maildir"
        try:
            need = room.used(live) - room.used(copy)
        except OSError as error:
            # One mailbox that the disk no longer gives; the others are copied all the same.
            report.failed[one.user.address] = str(error)
            continue
        messages = (maildir.count(copy), maildir.count(live))
        measured.append(replace(one, need=need, is_first=not copy.is_dir(), messages=messages))
    left = spare = _spare(box, config)
    for one in sorted(measured, key=lambda one: one.need.bytes):
        if left.holds(one.need):
            left -= Room(max(0, one.need.bytes), max(0, one.need.files))
        else:
            report.failed[one.user.address] = (
                f"there is no room for its copy: it needs {one.need} more, and all copies together may take {spare} "
                f"more on the disk of {box.staging}, as {_reserve(config)} of it stay free for mail. "
                f"Make room there, or mount a larger disk at {box.base}"
            )
    return [one for one in measured if one.user.address not in report.failed]


def _reserve(config: Config) -> str:
    return (
        f"{config.reserve_percent:g} % (backup_reserve_percent), at most {size_text(room.MOST)}, and "
        f"at least {size_text(config.reserve_bytes)} (backup_reserve_bytes),"
    )


def _stage_all(
    release: tuple[int, int],
    todo: list[_Todo],
    mail: Path,
    box: Box,
    config: Config,
    seen: dict[str, Any],
    report: Report,
    progress: Progress,
) -> None:
    patience = Patience(progress)

    def work(one: _Todo) -> str:
        # Mail that comes in, and whatever else writes there, was not reckoned with.
        if not _spare(box, config).holds(one.need):
            return f"the disk of {box.staging} has filled up meanwhile: {_reserve(config)} stay free for mail"
        try:
            stage_user(release, one.user, mail / one.user.place, box.staging, patience)
        except (BackupError, OSError) as error:
            # A mailbox may go away meanwhile; the others are copied all the same.
            if one.is_first and _spare(box, config).is_short:
                # Half a copy of no use that takes mail's room. Not an older one: that is the last good one.
                remove(box.staging / one.user.place)
            return str(error)
        return ""

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for number, (one, problem) in enumerate(zip(todo, pool.map(work, todo), strict=True), 1):
            progress.count(number, len(todo), "mailboxes copied")
            if problem:
                report.failed[one.user.address] = problem
                continue
            report.copied.append(one.user.address)
            if one.looks:
                seen[one.user.address] = one.looks
            if number % SAVE_EVERY == 0:
                state.write(box.staged, seen)
    finally:
        # When we are being ended, those that wait are not begun.
        pool.shutdown(cancel_futures=True)
