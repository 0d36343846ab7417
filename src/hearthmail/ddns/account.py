"""The account under which the agent works: what talks to the world need not be root.

Root reads the configuration with the credentials; then the process becomes `hearth-ddns`, to which the state belongs.
So a command that root types and the resident service leave files which the other one can read and replace.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

ACCOUNT = "hearth-ddns"


def become(folder: Path, account: str = ACCOUNT) -> bool:
    """Give the state's folder to the agent's account and become it; for good.

    Nothing happens where we are not root, or the account does not exist (a controller, a test).

    :param folder: where the state lies.
    :returns: whether we have become it.
    :raises OSError: when the folder cannot be given away.
    """
    if os.geteuid() != 0:
        return False
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (folder, *folder.iterdir()):
        # Never through a link: the folder is not root's, but what is linked to may be.
        with contextlib.suppress(FileNotFoundError):  # the service replaces its files meanwhile
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    return True
