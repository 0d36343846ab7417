"""Whether the machine that holds the repository is there at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from hearthmail.backup.errors import BackupError

# Seconds. A machine far away, or one that wakes up, answers in two or three.
PATIENCE = 20.0
_PORTS = {"http": 80, "https": 443}


def address(repository: str, environment: Mapping[str, str] | None = None) -> tuple[str, int] | None:
    """Host and port of a repository behind a web server; None for all others.

    SFTP may have its host's name from SSH's own configuration, and a proxy asks in our place: they are not asked.

    :param environment: restic's own, beside ours; it may name a proxy.
    """
    kind, _, url = repository.partition(":")
    if kind == "s3" and "://" not in url:
        # `s3:host/bucket`, and `s3://host/bucket`.
        url = f"https://{url.lstrip('/')}"
    parts = urlsplit(url)
    if kind not in ("rest", "s3") or not parts.hostname or parts.scheme not in _PORTS:
        return None
    known = {**os.environ, **(environment or {})}
    if any(name.lower() == f"{parts.scheme}_proxy" and value for name, value in known.items()):
        return None
    return parts.hostname, parts.port or _PORTS[parts.scheme]


def must_answer(
    repository: str, shown: str, environment: Mapping[str, str] | None = None, patience: float = PATIENCE
) -> None:
    """See whether the repository's machine takes a connection: restic itself tries again for a quarter of an hour.

    :param shown: its name without a password.
    :raises BackupError: `unreachable`.
    """
    where = address(repository, environment)
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
