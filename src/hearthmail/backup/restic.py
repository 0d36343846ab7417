"""The command restic: Debian 12 has 0.14, Debian 13 has 0.18.

Repository and credentials go by the environment: the list of processes is open to all.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hearthmail.backup import restic_errors
from hearthmail.backup.config import Box, Config
from hearthmail.backup.errors import BackupError
from hearthmail.backup.processes import Result, run
from hearthmail.backup.progress import INTERVAL, Progress
from hearthmail.backup.reach import must_answer
from hearthmail.backup.when import Snapshot

TAG = "hearthmail"
# Of a snapshot that lacks something: a command before it failed, or files could not be read.
INCOMPLETE = "incomplete"
# How far a command is, in what it prints beside JSON: `[0:05] 33.33%  1 / 3 packs`, `[1:02:03]          7 packs`.
_FAR = re.compile(r"\[(?:\d+:)?\d+:\d\d\]\s+([\d.]+% .*|\d+ .*)")


@dataclass
class Outcome:
    """What a backup brought.

    :param unread: what could not be read, or went away while it was.
    """

    summary: dict[str, Any] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    @property
    def snapshot(self) -> str | None:
        """The snapshot's name."""
        return self.summary.get("snapshot_id") or None


def escape(path: str) -> str:
    """A path as a pattern that fits only itself."""
    return re.sub(r"([\\*?\[])", r"\\\1", path)


def packs_in(text: str) -> list[str]:
    """The names of packs in what a check said, each once, in order.

    Sources: internal/checker (0.14), internal/repository/check.go and cmd_check.go (0.18) of restic.
    """
    # Files are `<data/NAME>`; in "decrypting blob <data/NAME> from PACK" NAME is the blob's.
    found = re.findall(
        r"\bpack ([0-9a-f]{8,64})\b|pack id does not match, want ([0-9a-f]{8,64})|(?<!blob )<data/([0-9a-f]{8,64})>",
        text.lower(),
    )
    named = [next(filter(None, groups)) for groups in found]
    for ids in re.findall(r"repair packs((?: [0-9a-f]{64})+)", text):
        named += ids.split()
    every = list(dict.fromkeys(named))
    # A short name is dropped where the whole one is known.
    return [one for one in every if not any(other != one and other.startswith(one) for other in every)]


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict):
            yield data


class Restic:
    """restic with this box's repository.

    :param lock: descriptor of our lock, which every restic inherits.
    :param progress: is told what restic says of how far it is; a check, and freeing room, take hours.
    """

    def __init__(self, box: Box, config: Config, lock: int | None = None, progress: Progress | None = None) -> None:
        self.box = box
        self.config = config
        self.keep_open = () if lock is None else (lock,)
        self.progress = progress or Progress("restic", active=False)
        self._version: tuple[int, int] | None = None
        self._reached = False

    @property
    def version(self) -> tuple[int, int]:
        """Its version, e.g. (0, 14).

        :raises BackupError: when it is not installed.
        """
        if self._version is None:
            match = re.search(r"restic (\d+)\.(\d+)", self._start(["version"]).out)
            # An unknown one is taken for the oldest: it has the fewest features.
            self._version = (int(match[1]), int(match[2])) if match else (0, 14)
        return self._version

    def _start(self, argv: Sequence[str], folder: Path | None = None, each_line: Any = None) -> Result:
        if not self._reached and argv[0] != "version":
            must_answer(self.config.repository, self.config.shown_repository, self.config.environment)
            self._reached = True
        options = [part for option in self.config.options for part in ("-o", option)]
        environment = {
            "RESTIC_REPOSITORY": self.config.repository,
            "RESTIC_PASSWORD_FILE": str(self.box.at(self.config.password_file)),
            "RESTIC_CACHE_DIR": str(self.box.cache),
            "RESTIC_PROGRESS_FPS": str(1 / INTERVAL),
            **self.config.environment,
        }
        try:
            return run(
                ["restic", *options, *argv],
                environment=environment,
                keep_open=self.keep_open,
                folder=folder,
                each_line=each_line or self._look,
                is_hopeless=restic_errors.is_hopeless,
            )
        except FileNotFoundError as error:
            raise BackupError(
                "not_installed",
                "restic is not installed.",
                "Run the playbook (--tags backup), or `apt install restic`.",
            ) from error

    def _look(self, line: str) -> bool:
        """Tell how far it is; such a line is no part of what the command says."""
        found = _FAR.match(line)
        if found:
            self.progress.line(found[1].strip())
        return found is not None

    def error(self, result: Result, restoring: bool = False) -> BackupError:
        """What a failed command means."""
        text = self.config.mask(f"{result.out}\n{result.err}" if not result.err.strip() else result.err)
        return restic_errors.explain(
            self.version, result.code, text, self.config.shown_repository, self.config.is_local, restoring
        )

    def call(self, *argv: str, folder: Path | None = None) -> str:
        """Run a command.

        :returns: its output.
        :raises BackupError: when it fails.
        """
        result = self._start([*self._patience(), *argv], folder)
        if result.code != 0:
            raise self.error(result)
        return result.out

    def _patience(self) -> list[str]:
        return ["--retry-lock", "2m"] if self.version >= (0, 16) else []

    def init(self) -> None:
        """Make the repository.

        :raises BackupError: when it is there, too.
        """
        self.call("init")

    def unlock(self) -> None:
        """Remove stale locks. restic judges: its process on this host has died, or it is older than 30 minutes."""
        self.call("unlock")

    def backup(self, paths: Sequence[str], exclude: Sequence[str], incomplete: bool, progress: Progress) -> Outcome:
        """Take a snapshot.

        :param incomplete: mark it as one that lacks something.
        :raises BackupError: when there is no snapshot at all.
        """
        outcome = Outcome()

        def look(line: str) -> bool:
            data = next(_json_lines(line), {})
            if data.get("message_type") == "status":
                progress.show(
                    data.get("files_done", 0),
                    data.get("total_files", 0),
                    data.get("bytes_done", 0),
                    data.get("total_bytes", 0),
                    data.get("seconds_remaining"),
                )
            elif data.get("message_type") == "summary":
                outcome.summary = data
            return bool(data)

        argv = ["backup", "--json", "--host", self.config.hostname, "--tag", TAG]
        if incomplete:
            argv += ["--tag", INCOMPLETE]
        if self.version >= (0, 16):
            # The snapshot before is the one to compare with, though a role has brought another path since.
            argv += ["--group-by", "host"]
        argv += [part for pattern in exclude for part in ("--exclude", pattern)]
        result = self._start([*self._patience(), *argv, "--", *paths], each_line=look)
        if result.code not in (0, 3):
            raise self.error(result)
        if result.code == 3:
            items = [str(one["item"]) for one in _json_lines(result.err) if one.get("item")]
            outcome.unread = list(dict.fromkeys(items)) or [result.last_words]
        return outcome

    def snapshots(self) -> list[Snapshot]:
        """All backups of this box, oldest first."""
        said = self.call("snapshots", "--json", "--host", self.config.hostname, "--tag", TAG)
        found = []
        for one in json.loads(said or "[]") or []:
            summary = one.get("summary") or {}
            found.append(
                Snapshot(
                    one["id"],
                    datetime.fromisoformat(one["time"]),
                    tuple(one.get("tags") or ()),
                    summary.get("total_files_processed"),
                    summary.get("total_bytes_processed"),
                )
            )
        return sorted(found, key=lambda one: one.time)

    def size(self, snapshot: Snapshot) -> tuple[int, int]:
        """Files and bytes of a snapshot."""
        if snapshot.files is not None and snapshot.bytes is not None:
            return snapshot.files, snapshot.bytes
        said = json.loads(self.call("stats", "--json", "--mode", "restore-size", snapshot.id))
        return int(said.get("total_file_count", 0)), int(said.get("total_size", 0))

    def forget(self, prune: bool = False) -> int:
        """Remove snapshots that are older than the retention asks for.

        :param prune: also free the room of what no snapshot holds any more.
        :returns: how many.
        """
        argv = ["forget", "--json", "--host", self.config.hostname, "--tag", TAG, "--group-by", "host"]
        for name, count in self.config.retention.items():
            argv += [f"--keep-{name}", str(count)] if count else []
        said = self.call(*argv)
        start = said.find("[")
        groups = json.loads(said[start : said.rfind("]") + 1]) if start >= 0 else []
        if prune:
            self.call("prune")
        return sum(len(group.get("remove") or ()) for group in groups)

    def check(self, sample: str) -> Result:
        """Check the repository and read a sample of its data. A failed one is a value, not an exception."""
        reading = [f"--read-data-subset={sample}"] if sample else []
        result = self._start([*self._patience(), "check", *reading])
        return Result(result.code, self.config.mask(result.out), self.config.mask(result.err))

    def restore(self, snapshot: Snapshot, target: Path, include: Sequence[str], progress: Progress) -> None:
        """Write a snapshot, or parts of it, under a folder.

        From 0.17 on a second run goes on where the first one ended; before, it writes everything again.

        :raises BackupError: when anything of it could not be restored.
        """
        watched = progress.wanted and not include and self.version < (0, 16)
        files, size = self.size(snapshot) if watched else (0, 0)

        def look(line: str) -> bool:
            data = next(_json_lines(line), {})
            if data.get("message_type") == "status":
                done = int(data.get("bytes_restored", 0)) + int(data.get("bytes_skipped", 0))
                count = int(data.get("files_restored", 0)) + int(data.get("files_skipped", 0))
                progress.show(count, int(data.get("total_files", 0)), done, int(data.get("total_bytes", 0)))
            return bool(data)

        argv = [*self._patience(), "restore", snapshot.id, "--target", str(target)]
        argv += [part for pattern in include for part in ("--include", pattern)]
        if self.version >= (0, 17):
            argv += ["--overwrite", "if-changed"]
        target.mkdir(parents=True, exist_ok=True, mode=0o711)
        if self.version >= (0, 16):
            result = self._start([*argv, "--json"], each_line=look)
        else:
            with _watched(target, files, size, progress):
                result = self._start(argv)
        if result.code != 0:
            raise self.error(result, restoring=True)


@contextmanager
def _watched(target: Path, files: int, size: int, progress: Progress) -> Iterator[None]:
    """Show how a folder's file system fills: restic 0.14 says nothing while it restores."""
    begin = os.statvfs(target)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            now = os.statvfs(target)
            used = max(0, (begin.f_bfree - now.f_bfree) * now.f_frsize)
            progress.show(max(0, begin.f_ffree - now.f_ffree), files, min(used, size) if size else used, size)

    thread = threading.Thread(target=watch, daemon=True)
    if progress.wanted:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if progress.wanted:
            thread.join()
