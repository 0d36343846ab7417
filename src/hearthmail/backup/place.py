"""Putting what was restored in its place.

Every step is one rename, or ends with one, so that it can be killed anywhere and run again. `step` is called between
any two steps; the tests let it fail there.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearthmail.backup import dovecot, maildir
from hearthmail.backup.config import Box, Config
from hearthmail.backup.progress import Progress
from hearthmail.backup.stage import copy_owned, remove

Step = Callable[[str], None]
# Ends the name of what was copied to its place on another file system.
MARK = ".hearth-placed"


def no_step(_name: str) -> None:
    """Nothing happens between two steps."""


def rename(source: Path, target: Path) -> None:
    """Rename; the tests put another file system's refusal here."""
    source.rename(target)


def _placed(source: Path) -> Path:
    return source.with_name(f"{source.name}{MARK}")


def _incoming(target: Path) -> Path:
    return target.with_name(f".{target.name}.hearth-new")


def is_pending(source: Path) -> bool:
    """Whether there is still something to do for `put`."""
    return os.path.lexists(source) or os.path.lexists(_placed(source))


def put(source: Path, target: Path, step: Step = no_step) -> None:
    """Move a tree or file to where nothing, or an empty folder, is; over file systems too.

    Over file systems: copy beside the target, mark the source as copied, rename into place, remove the source.
    """
    marked, new = _placed(source), _incoming(target)
    if not os.path.lexists(marked):
        try:
            rename(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            remove(new)
            copy_owned(source, new)
            # Nothing of the source goes before its copy is on the disk.
            _to_disk(new)
            step("copied")
            source.rename(marked)
            step("marked")
        else:
            return
    if os.path.lexists(new):
        new.rename(target)
        step("renamed")
    remove(marked)


def _to_disk(path: Path) -> None:
    if path.is_symlink() or path.is_dir():
        os.sync()
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _make_parents(target: Path, source: Path) -> None:
    """Make the folders above a target, as they were above the source."""
    missing = []
    for above, before in zip(target.parents, source.parents, strict=False):
        if above.exists():
            break
        missing.append((above, before))
    for above, before in reversed(missing):
        seen = before.stat()
        above.mkdir(mode=seen.st_mode & 0o7777)
        os.chown(above, seen.st_uid, seen.st_gid)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def merge(source: Path, target: Path, step: Step = no_step) -> None:
    """Put a tree over what may be there: what was restored wins, what only the target has stays."""
    _make_parents(target, source)
    both = _is_folder(source) and _is_folder(target) and not os.path.lexists(_placed(source))
    if both and any(target.iterdir()):
        for child in sorted(source.iterdir()):
            # The mark of an interrupted `put` stands behind the name.
            name = child.name.removesuffix(MARK)
            merge(child.with_name(name), target / name, step)
        seen = source.stat()
        os.chown(target, seen.st_uid, seen.st_gid)
        target.chmod(seen.st_mode & 0o7777)
        step(f"merged {target}")
        source.rmdir()
        return
    if _is_folder(target) != _is_folder(source) and os.path.lexists(target) and os.path.lexists(source):
        # A link has become a folder or the other way round: the one that is here is kept aside.
        aside = target.with_name(f"{target.name}.before-restore")
        remove(aside)
        target.rename(aside)
        step(f"moved {target} aside")
    put(source, target, step)
    step(f"put {target}")


def replace(source: Path, target: Path, step: Step = no_step) -> None:
    """Put a tree in the place of another one, which is removed: it can be made anew."""
    _make_parents(target, source)
    if not os.path.lexists(_placed(source)):
        remove(target)
        step(f"removed {target}")
    put(source, target, step)
    step(f"put {target}")


def names_of_owners() -> dict[str, dict[str, str]]:
    """The names behind the numbers of users and groups on this box."""
    return {
        "users": {str(one.pw_uid): one.pw_name for one in pwd.getpwall()},
        "groups": {str(one.gr_gid): one.gr_name for one in grp.getgrall()},
    }


def renumbering(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, dict[int, int]]:
    """Numbers that belong to another name on this box than on the one before: old to new."""
    changed: dict[str, dict[int, int]] = {}
    for kind in ("users", "groups"):
        numbers = {name: int(number) for number, name in now.get(kind, {}).items()}
        changed[kind] = {
            int(number): numbers[name]
            for number, name in before.get(kind, {}).items()
            if name in numbers and numbers[name] != int(number)
        }
    return changed


def renumber(tree: Path, changed: Mapping[str, Mapping[int, int]]) -> None:
    """Give a tree to the users and groups of the same names on this box."""
    if not changed["users"] and not changed["groups"]:
        return
    for folder, names, files in os.walk(tree):
        for name in (*names, *files):
            path = Path(folder) / name
            seen = path.lstat()
            uid = changed["users"].get(seen.st_uid, seen.st_uid)
            gid = changed["groups"].get(seen.st_gid, seen.st_gid)
            if (uid, gid) != (seen.st_uid, seen.st_gid):
                os.chown(path, uid, gid, follow_symlinks=False)
                if not path.is_symlink():
                    path.chmod(seen.st_mode & 0o7777)


# Mail -----------------------------------------------------------------------------------------------------------


@dataclass
class Placed:
    """What `place-mail` did.

    :param kept: users who have mail here already: theirs stays, what was restored stays in the staging.
    """

    placed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As it is printed."""
        return {"ok": not self.failed, "placed": len(self.placed), "kept": self.kept, "failed": self.failed}


def homes(tree: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of each mailbox below a folder <domain>/<local part>."""
    for home in sorted(tree.glob("*/*")):
        if home.is_dir():
            yield f"{home.name}@{home.parent.name}", home


def mailboxes_with_mail(tree: Path) -> list[str]:
    """Who has any message; the probe's own do not count."""
    return [
        address
        for address, home in homes(tree)
        if not dovecot.is_nobodys(address) and maildir.has_mail(home / "Maildir")
    ]


def _chown_tree(tree: Path, uid: int, gid: int) -> None:
    seen = tree.lstat()
    if (seen.st_uid, seen.st_gid) == (uid, gid):
        return
    for path in [*tree.rglob("*"), tree]:
        os.chown(path, uid, gid, follow_symlinks=False)


def place_home(staged: Path, live: Path, owner: tuple[int, int], step: Step = no_step) -> bool:
    """Move one restored mailbox to its place, with the list of its UIDs and the scripts.

    An empty Maildir that is there (a login made it) makes room; what comes into it in that moment is moved along.

    :returns: False when there is mail already: nothing was changed.
    """
    source, target, aside = staged / "Maildir", live / "Maildir", live / ".Maildir.before-restore"
    if is_pending(source):
        if os.path.lexists(source):
            if maildir.has_mail(target):
                return False
            _chown_tree(source, *owner)
        for folder in (live.parent, live):
            if not folder.exists():
                folder.mkdir(mode=0o700)
            os.chown(folder, *owner)
        step("home")
        # Otherwise it is the restored one already, and only the source is left to be removed.
        if os.path.lexists(source) or os.path.lexists(_incoming(target)):
            if target.is_dir():
                if aside.exists():
                    # From an interrupted run; both are without mail, or `strays` below finds it.
                    strays(target, aside)
                    remove(target)
                else:
                    target.rename(aside)
                step("aside")
            # They belong to the Maildir that was here.
            remove(live / "index")
            step("index")
        put(source, target, step)
        step("put")
    if aside.is_dir() and target.is_dir():
        strays(aside, target)
        step("strays")
        remove(aside)
    for name in maildir.SIEVE:
        script = staged / name
        if os.path.lexists(live / name) and not os.path.lexists(_placed(script)):
            continue
        if is_pending(script):
            if os.path.lexists(script):
                _chown_tree(script, *owner)
            put(script, live / name, step)
            step(name)
    remove(staged)
    return True


def strays(source: Path, target: Path) -> None:
    """Move messages to another Maildir's INBOX, as new ones. Their names are unique anywhere (maildir(5))."""
    for message in list(maildir.messages(source)):
        (target / "new").mkdir(mode=0o700, exist_ok=True)
        message.rename(target / "new" / message.name.split(":", 1)[0])


def place_mail(box: Box, config: Config, step: Step = no_step, progress: Progress | None = None) -> Placed:
    """Move all restored mailboxes to their places. Runs again safely; never touches mail that is there."""
    mail = box.at(config.mail_directory)
    report = Placed()
    if not box.staging.is_dir():
        return report
    mail.mkdir(mode=0o700, exist_ok=True)
    seen = mail.stat()
    shown = progress or Progress("place-mail", active=False)
    waiting = list(homes(box.staging))
    for number, (address, staged) in enumerate(waiting):
        shown.count(number, len(waiting), "mailboxes placed")
        live = mail / staged.relative_to(box.staging)
        try:
            done = place_home(staged, live, (seen.st_uid, seen.st_gid), step)
        except OSError as error:
            report.failed[address] = str(error)
            continue
        (report.placed if done else report.kept).append(address)
    os.sync()
    return report
