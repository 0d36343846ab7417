"""Room for the copies of all mail: they must not take what mail itself needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hearthmail.backup.progress import size_text

# More than any disk: of inodes, where a file system makes them as it needs them.
_ENDLESS = 2**62
# Bytes of a block in `st_blocks` (stat(2)), whatever the file system's own are.
_BLOCK = 512


@dataclass(frozen=True)
class Room:
    """Space on a disk.

    :param bytes: as the disk counts them, in whole blocks.
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
        return f"{size_text(max(0, self.bytes))} and {max(0, self.files):,} files"


def used(tree: Path) -> Room:
    """What a tree takes; what is not there takes nothing."""
    size = files = 0
    for folder, names, others in os.walk(tree):
        for name in (*names, *others):
            try:
                seen = os.lstat(os.path.join(folder, name))  # noqa: PTH118 # of each message: a Path costs more than lstat
            except FileNotFoundError:
                # A mail program is at work.
                continue
            size, files = size + seen.st_blocks * _BLOCK, files + 1
    return Room(size, files)


def spare(folder: Path, percent: float, least: int) -> Room:
    """What may be written to the disk of a folder; below zero where less is free than shall stay so.

    :param percent: of the disk and of its inodes, that stay free.
    :param least: bytes that stay free at least.
    """
    disk = os.statvfs(folder)
    kept = max(int(disk.f_blocks * disk.f_frsize * percent / 100), least)
    # btrfs and others say 0.
    files = disk.f_favail - int(disk.f_files * percent / 100) if disk.f_files else _ENDLESS
    return Room(disk.f_bavail * disk.f_frsize - kept, files)
