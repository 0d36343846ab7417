"""Maildirs on the disk: what changed, how many messages, names of folders."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

# Where Dovecot keeps a Maildir's UIDs, keywords and subscriptions.
_CONTROL = ("dovecot-uidlist", "dovecot-keywords", "subscriptions")
# What of a home is copied beside the Maildir.
SIEVE = ("sieve", ".dovecot.sieve")
# Nanoseconds: a change right after a look may leave the same time, as clocks of file systems are coarse.
MARGIN = 2_000_000_000


def folders(maildir: Path) -> Iterator[Path]:
    """The Maildir itself (INBOX) and its folders (Maildir++)."""
    if not maildir.is_dir():
        return
    yield maildir
    with os.scandir(maildir) as entries:
        names = sorted(one.name for one in entries if one.name.startswith(".") and one.is_dir(follow_symlinks=False))
    for name in names:
        if (maildir / name / "cur").is_dir():
            yield maildir / name


def messages(maildir: Path) -> Iterator[Path]:
    """The files of all messages."""
    for folder in folders(maildir):
        for part in ("new", "cur"):
            try:
                with os.scandir(folder / part) as entries:
                    for one in entries:
                        if not one.name.startswith("."):
                            yield Path(one.path)
            except (FileNotFoundError, NotADirectoryError):
                continue


def count(maildir: Path) -> int:
    """How many messages there are in all folders."""
    return sum(1 for _ in messages(maildir))


def has_mail(maildir: Path) -> bool:
    """Whether there is any message."""
    return next(messages(maildir), None) is not None


def fingerprint(home: Path) -> tuple[str, int]:
    """How a mailbox looks now: every delivery, flag, move and script changes it.

    Flags are file names in cur/, so the times of the directories tell. All times count, not the newest alone: after
    the clock went back, a change may be older than what was there.

    :returns: a hash of all times, and the newest one in nanoseconds.
    """
    maildir = home / "Maildir"
    paths = [part for folder in folders(maildir) for part in _parts(folder)]
    for name in SIEVE:
        paths.append(home / name)
        if (home / name).is_dir() and not (home / name).is_symlink():
            paths += sorted((home / name).rglob("*"))
    hashed = hashlib.sha256()
    newest = 0
    for path in paths:
        try:
            seen = path.lstat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            continue
        hashed.update(f"{path.relative_to(home)}\0{seen}\n".encode("utf-8", "surrogateescape"))
        newest = max(newest, seen)
    return hashed.hexdigest(), newest


def _parts(folder: Path) -> Iterator[Path]:
    yield folder
    for name in ("new", "cur", *_CONTROL):
        yield folder / name


def is_settled(newest: int, now: int) -> bool:
    """Whether a fingerprint can be trusted to tell later changes: nothing changed shortly before it was taken."""
    return newest < now - MARGIN


def mutf7(name: str) -> str:
    """A folder's name as IMAP and Maildir++ write it (modified UTF-7, RFC 3501 5.1.3)."""
    out, run = [], ""

    def flush() -> str:
        coded = base64.b64encode(run.encode("utf-16-be")).decode("ascii").rstrip("=").replace("/", ",")
        return f"&{coded}-" if run else ""

    for letter in name:
        if " " <= letter <= "~":
            out.append(flush())
            run = ""
            out.append("&-" if letter == "&" else letter)
        else:
            run += letter
    out.append(flush())
    return "".join(out)


def folder_directory(name: str) -> str:
    """The directory in a Maildir that holds a folder: `Work/2026` lies in `.Work.2026`; INBOX is empty."""
    return "" if name.upper() == "INBOX" else "." + mutf7(name).replace("/", ".")
