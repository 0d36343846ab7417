"""The machine: room, time, units, locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from hearthmail.probe.commands import run
from hearthmail.probe.config import Config, Room
from hearthmail.probe.finding import GREEN, RED, YELLOW, Finding

# Its time says since when it is held.
BACKUP_LOCK = Path("/run/hearthmail/backup.lock")
# Written anew whenever a run has moved: every few seconds, but for the copy of a single very large mailbox.
BACKUP_PROGRESS = Path("/run/hearthmail/backup.progress")
# Seconds without a change after which a backup hangs. It may be cut off: the next one begins where it was.
BACKUP_HANGS = 2 * 3600
# Held by apt, dpkg and unattended-upgrades while they work.
APT_LOCKS = (Path("/var/lib/dpkg/lock-frontend"), Path("/var/lib/dpkg/lock"), Path("/var/lib/apt/lists/lock"))


# Of a larger disk, shares are those of one with so many bytes: what mail needs until a person has made room does not
# grow with it. So the backups reckon too (`backup_reserve_percent`: at most 5 GiB).
LARGE = 100 * 2**30
# Postfix holds up to 100 sessions (default_process_limit), and each wants a file.
FEW_INODES = 100
# Then it is worth beginning again.
ENOUGH_INODES = 1000


def check_room(config: Config, closed: Sequence[str] = ()) -> list[Finding]:
    """Judge each file system once, by the part that knows it best: the last one that names it.

    :param closed: units that were stopped for want of inodes.
    """
    known: dict[int, Room] = {}
    found = []
    for room in config.room:
        try:
            device = Path(room.path).stat().st_dev
        except OSError as error:
            found.append(Finding(f"room {room.path}", RED, f"cannot be looked at: {error.strerror}", "mount"))
            continue
        before = known.get(device)
        known[device] = Room(
            before.path if before else room.path,
            max(room.red_bytes, before.red_bytes if before else 0),
            room.unit or (before.unit if before else ""),
        )
    return found + [
        judge_room(config, room, os.statvfs(room.path), room.unit in closed and bool(room.unit))
        for room in known.values()
    ]


def judge_room(config: Config, room: Room, seen: os.statvfs_result, closed: bool = False) -> Finding:
    """Judge free space and inodes, as far as they are free for programs without root's rights.

    Without inodes Postfix neither takes a message nor refuses it: its `cleanup` tries again without end. The sender
    gives up after some minutes and sends once more later; when there is room, both copies arrive. So it is stopped:
    whoever comes is refused at once, and comes again.
    """
    part = f"room {room.path}"
    free = seen.f_bavail * seen.f_frsize
    space = 100 * seen.f_bavail / seen.f_blocks if seen.f_blocks else 100.0
    # btrfs and others make inodes as they need them, and say 0.
    inodes = 100 * seen.f_favail / seen.f_files if seen.f_files else 100.0
    reason = f"{space:.0f} % free ({free / 2**30:.1f} GiB), {inodes:.0f} % of the inodes"
    todo = f"make room: du -xh --max-depth=2 {room.path} | sort -h | tail; df -i {room.path}"
    least = min(space * max(1.0, seen.f_blocks * seen.f_frsize / LARGE), inodes)
    if room.unit and seen.f_files and seen.f_favail < (ENOUGH_INODES if closed else FEW_INODES):
        reason += f"; {room.unit} is stopped until there are {ENOUGH_INODES}: senders try again"
        return Finding(part, RED, reason, todo, no_room=True, close=room.unit)
    if least < config.room_red or free < room.red_bytes:
        if least >= config.room_red:
            reason += f"; below {room.red_bytes / 2**20:.0f} MiB no mail is accepted"
        return Finding(part, RED, reason, todo, no_room=True)
    if least < config.room_yellow:
        return Finding(part, YELLOW, reason, todo)
    return Finding(part, GREEN, reason)


def check_time() -> Finding:
    """Is the clock kept right?"""
    done = run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"])
    if done.out.strip() == "yes":
        return Finding("time", GREEN, "the clock is synchronised")
    container = run(["systemd-detect-virt", "--container"])
    if container.code == 0:
        return Finding("time", GREEN, f"a container ({container.out.strip()}): the machine below has the clock")
    if done.code:
        return Finding("time", YELLOW, f"cannot be asked: {done.said}", "timedatectl", known=False)
    return Finding(
        "time", RED, "the clock is not synchronised", "timedatectl timesync-status; is UDP 123 open outward?"
    )


Units = dict[str, dict[str, str]]


def parse_units(text: str) -> Units:
    """Read `systemctl show`: blocks of Key=Value, one for each unit."""
    blocks = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n"))
    return {block["Id"]: block for block in blocks if "Id" in block}


def read_units(units: Iterable[str]) -> Units:
    """Ask systemd about units, all in one call; empty when it does not answer."""
    properties = "--property=Id,ActiveState,Result,NRestarts,ControlGroup"
    done = run(["systemctl", "show", properties, *units])
    return {} if done.code else parse_units(done.out)


def _posix_lock_held(path: Path) -> bool:
    """Ask whether another process holds an fcntl lock, without taking it: apt would fail if it came just then."""
    # struct flock: l_type, l_whence, l_start, l_len, l_pid (fcntl(2)), in the platform's own alignment.
    layout = "hhqqi"
    question = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with path.open("rb") as file:
        # Padding at the end, which C has and struct has not.
        answer = fcntl.fcntl(file, fcntl.F_GETLK, question + b"\0" * 8)
    return bool(struct.unpack_from(layout, answer)[0] != fcntl.F_UNLCK)


def _flock_held(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno == errno.EWOULDBLOCK
    return False


def backup_runs(lock: Path = BACKUP_LOCK, progress: Path = BACKUP_PROGRESS) -> bool:
    """Whether a backup, a check of the backups or a restore is at work; one that hangs is not."""
    moved = 0.0
    for file in (lock, progress):
        with contextlib.suppress(OSError):
            moved = max(moved, file.stat().st_mtime)
    try:
        return _flock_held(lock) and time.time() - moved < BACKUP_HANGS
    except OSError:
        return False


def busy(backup: Path = BACKUP_LOCK, apt: Sequence[Path] = APT_LOCKS, progress: Path = BACKUP_PROGRESS) -> str:
    """Name what must not be cut off by a reboot; empty when there is nothing."""
    if backup_runs(backup, progress):
        return "a backup or restore is running"
    for path in apt:
        with contextlib.suppress(OSError):
            if _posix_lock_held(path):
                return "apt is at work"
    return ""
