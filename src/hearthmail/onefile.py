"""What the one-file program has to do for itself: it unpacks into a folder of its own for each build."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

# Seconds after which an older build's folder goes; a process of that build may still be running before.
AGE = 24 * 3600


def _folder(module_file: str) -> Path | None:
    """Where the program is unpacked; None when we do not run from the one file."""
    parents = Path(module_file).parents
    ours = next((path.parent for path in parents if path.name == "site-packages"), None)
    return ours if ours is not None and "_" in ours.name else None


def let_all_read(module_file: str) -> None:
    """Let every account read the unpacked program: root, who unpacked it, may have had a umask that keeps others out.

    :param module_file: as for `forget_old_builds`.
    """
    ours = _folder(module_file)
    if ours is None or os.geteuid() != 0:
        return
    checked = ((ours.parent, 0o005), (ours, 0o005), (Path(module_file), 0o004))
    if all(path.stat().st_mode & bits == bits for path, bits in checked):
        return
    for path in (ours.parent, ours, *ours.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def forget_old_builds(module_file: str) -> None:
    """Remove the folders of older builds beside ours. Does nothing when we do not run from the one file.

    :param module_file: `__file__` of any of our modules: <cache>/<program>_<build>/site-packages/hearthmail/...
    """
    ours = _folder(module_file)
    if ours is None:
        return
    program = ours.name.rsplit("_", 1)[0]
    for other in ours.parent.glob(f"{program}_*"):
        try:
            old = other != ours and time.time() - other.stat().st_mtime > AGE
        except OSError:
            continue
        if old:
            shutil.rmtree(other, ignore_errors=True)
