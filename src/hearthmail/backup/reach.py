"""Whether the machine that holds the repository is there at all."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from hearthmail.backup.errors import BackupError

# Seconds. A machine far away, or one that wakes up, answers in two or three.
PATIENCE = 20.0
_PORTS = {"http": 80, "https": 443}


def address(repository: str) -> tuple[str, int] | None:
    """Host and port of a repository behind restic's rest-server; None for all others.

    SFTP may have its host's name from SSH's own configuration, and S3 from a proxy: they are not asked.
    """
    kind, _, url = repository.partition(":")
    parts = urlsplit(url)
    if kind != "rest" or not parts.hostname or parts.scheme not in _PORTS:
        return None
    return parts.hostname, parts.port or _PORTS[parts.scheme]


def must_answer(repository: str, shown: str, patience: float = PATIENCE) -> None:
    """See whether the repository's machine takes a connection: restic itself tries again for a quarter of an hour.

    :param shown: its name without a password.
    :raises BackupError: `unreachable`.
    """
    where = address(repository)
    if where is None:
        return
    try:
        socket.create_connection(where, patience).close()
    except OSError as error:
        raise BackupError(
            "unreachable",
            f"The repository {shown} cannot be reached: {error.strerror or error}.",
            "See that its machine and the way to it are up. Mail goes on; the next run tries again.",
        ) from error
