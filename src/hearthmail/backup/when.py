"""Points in time and the snapshots that belong to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from hearthmail.backup.errors import BackupError, UsageError


@dataclass(frozen=True)
class Snapshot:
    """One backup in the repository.

    :param files: how many it holds, and their bytes; None where restic (before 0.17) does not tell.
    """

    id: str
    time: datetime
    tags: tuple[str, ...] = ()
    files: int | None = None
    bytes: int | None = None

    @property
    def short(self) -> str:
        """The beginning of its name, as restic shows it."""
        return self.id[:8]


def local_text(time: datetime) -> str:
    """A time as the clock on this box shows it."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M")


def parse(text: str) -> datetime:
    """Read a point in time, e.g. `2026-11-23 08:00`; without a zone it is this box's.

    :raises UsageError: when it is none.
    """
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time.", 'Write it as "2026-11-23 08:00".') from error


def choose(snapshots: Iterable[Snapshot], at: datetime | None, hostname: str) -> Snapshot:
    """Take the newest snapshot that is not newer than a point in time.

    :param at: None: the newest of all.
    :raises BackupError: `no_snapshot` when there is none at all, `none_before` when there are only newer ones; says
        which there are.
    """
    every = sorted(snapshots, key=lambda one: one.time)
    if not every:
        raise BackupError(
            "no_snapshot",
            f"The repository holds no backup of {hostname}.",
            "Is it the right repository, and the host's name the same as before (mail_hostname)?",
        )
    fitting = [one for one in every if at is None or one.time <= at]
    if not fitting:
        raise BackupError(
            "none_before",
            f"There is no backup from before {local_text(at) if at else 'now'}.",
            f"The oldest is of {local_text(every[0].time)}, the newest of {local_text(every[-1].time)}.",
        )
    return fitting[-1]
