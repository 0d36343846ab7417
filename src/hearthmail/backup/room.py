"""Room for the copies of all mail: they must not take what mail itself needs."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from hearthmail.backup.progress import size_text

# More than any disk: of inodes, where a file system makes them as it needs them.
_ENDLESS = 2**62
# Bytes of a block of nearly every disk.
_BLOCK = 4096
# Bytes of which a share of the disk is never more: what mail needs until a person has made room does not grow with it.
MOST = 5 * 2**30


@dataclass(frozen=True)
class Room:
    """Space on a disk.

    :param bytes: in whole blocks.
    :param files: inodes.
    """

    bytes: int = 0
    files: int = 0

    def __sub__(self, other: Room) -> Room:
        return Room(self.bytes - other.bytes, self.files - other.files)

    @property
    def is_short(self) -> bool:
        """Whether one of both is below zero."""
        return self.bytes < 0 or self.files < 0

    def holds(self, need: Room) -> bool:
        """Whether it is enough for something that grows so much; what does not grow finds room on a full disk."""
        return (need.bytes <= 0 and need.files <= 0) or not (self - need).is_short

    def __str__(self) -> str:
        size = size_text(max(0, self.bytes))
        return size if self.files >= _ENDLESS else f"{size} and {max(0, self.files):,} files"


def _unless_gone(error: OSError) -> None:
    # A mail program is at work.
    if not isinstance(error, FileNotFoundError):
        raise error


def used(tree: Path) -> Room:
    """What a tree takes; what is not there takes nothing.

    By the sizes of its files, in whole blocks. The blocks that they have (`st_blocks`) are fewer where the disk
    compresses: mail and its copy, on different disks, would never be equal.

    :raises OSError: a part of it cannot be read.
    """
    size = files = 0
    for folder, names, others in os.walk(tree, onerror=_unless_gone):
        for name in (*names, *others):
            try:
                seen = os.lstat(os.path.join(folder, name))  # noqa: PTH118 # of each message: a Path costs more than lstat
            except FileNotFoundError:
                # A mail program is at work.
                continue
            # A folder keeps the size that it had when it was fullest.
            blocks = 1 if stat.S_ISDIR(seen.st_mode) else -(-seen.st_size // _BLOCK)
            size, files = size + blocks * _BLOCK, files + 1
    return Room(size, files)


def spare(folder: Path, percent: float, least: int) -> Room:
    """What may be written to the disk of a folder; below zero where less is free than shall stay so.

    :param percent: of the disk, at most `MOST`, and of its inodes, that stay free.
    :param least: bytes that stay free at least.
    """
    disk = os.statvfs(folder)
    kept = max(min(int(disk.f_blocks * disk.f_frsize * percent / 100), MOST), least)
    # btrfs and others say 0.
    files = disk.f_favail - int(disk.f_files * percent / 100) if disk.f_files else _ENDLESS
    return Room(disk.f_bavail * disk.f_frsize - kept, files)
