"""What the one-file program has to do for itself: it unpacks into a folder of its own for each build."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

# Seconds after which an older build's folder goes; a process of that build may still be running before.
AGE = 24 * 3600


def forget_old_builds(module_file: str) -> None:
    """Remove the folders of older builds beside ours. Does nothing when we do not run from the one file.

    :param module_file: `__file__` of any of our modules: <cache>/<program>_<build>/site-packages/hearthmail/...
    """
    parents = Path(module_file).parents
    ours = next((path.parent for path in parents if path.name == "site-packages"), None)
    if ours is None or "_" not in ours.name:
        return
    program = ours.name.rsplit("_", 1)[0]
    for other in ours.parent.glob(f"{program}_*"):
        try:
            old = other != ours and time.time() - other.stat().st_mtime > AGE
        except OSError:
            continue
        if old:
            shutil.rmtree(other, ignore_errors=True)
