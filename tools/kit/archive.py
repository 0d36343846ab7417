"""Many files as one, in memory: a tar file, because every Debian can open one."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import KitError


@dataclass(frozen=True)
class File:
    """A file of a kit."""

    content: bytes
    executable: bool = False


def pack(files: Mapping[str, File]) -> bytes:
    """Make a tar file of files by name. They will be their owner's alone, whoever opens it by `tar x`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, file in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(file.content)
            entry.mode = 0o700 if file.executable else 0o600
            entry.mtime = int(time.time())
            tar.addfile(entry, io.BytesIO(file.content))
    return packed.getvalue()


def unpack(packed: bytes) -> dict[str, File]:
    """Give the files of a tar file by name.

    :raises KitError: it is none, or has something else than files in it.
    """
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is None:
                    raise KitError(f"This is no recovery kit: {entry.name} in it is no file")
                files[entry.name] = File(content.read(), bool(entry.mode & 0o100))
    except tarfile.TarError as error:
        raise KitError(f"This is no recovery kit: it opens, but {error}") from error
    return files
