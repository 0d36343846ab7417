"""What all programs of the box share: writing a small file so that a reader, or a loss of power, finds it whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file at one stroke: the old one is there until the new one is whole and on the disk.

    :raises OSError: the disk is full, or not ours. The old file stays, and nothing else is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as new:
        try:
            new.write(text)
            new.flush()
            os.fchmod(new.fileno(), mode)
            os.fsync(new.fileno())
            Path(new.name).replace(path)
            _sync_folder(path.parent)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def _sync_folder(folder: Path) -> None:
    """Have the disk know the new name too: a rename alone may be lost with the power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
