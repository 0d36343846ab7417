"""The command `hearth-backup`.

Exit codes: 0 good, 1 failed, 2 not understood, 3 refused: it would have touched mail; of `check` also 75: it met what
passes by itself, and says so to the service, which tries again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any, NoReturn

from hearthmail.backup import backup, config, restore, stage, state, text
from hearthmail.backup.config import Box
from hearthmail.backup.errors import PASSING, BackupError
from hearthmail.backup.processes import LOCK_HELD
from hearthmail.backup.progress import Progress
from hearthmail.backup.progress import read as read_progress
from hearthmail.backup.restic import Restic

GOOD, FAILED = 0, 1
# EX_TEMPFAIL of sysexits.h. hearth-backup-check.service names all the others: systemd starts it again after this one.
LATER = 75


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hearth-backup",
        description="Takes backups with restic; brings a mailbox or the whole box back.",
        epilog="Exit codes: 0 good, 1 failed, 2 not understood, 3 refused, as it would have touched mail; of check "
        "also 75: it could not begin or go on, later it can.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, explanation: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=explanation, description=explanation)
        added.add_argument("--json", action="store_true", help="answer as JSON")
        added.add_argument("--progress", action="store_true", help="show progress, though this is no terminal")
        added.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait for another run to end")
        return added

    command("run", "take a backup now")
    check = command("check", "check the repository, and read a sample of its data")
    check.add_argument("--repair", action="store_true", help="heal what can be healed")
    command("unlock", "remove the locks of processes that have died")
    command("init", "make the repository: a new, empty one")
    forget = command("forget", "remove old backups as the retention says")
    forget.add_argument("--prune", action="store_true", help="also free their room")
    command("snapshots", "list the backups of this box")
    command("status", "how the backups went; asks nobody")
    user = command("restore-user", "bring one mailbox or folder back, into a new folder")
    user.add_argument("--user", required=True, help="e.g. hanako@hearth.example")
    user.add_argument("--folder", help="only this one, e.g. Work/2026")
    user.add_argument("--at", required=True, help='as it was then, e.g. "2026-11-23 08:00"')
    user.add_argument("--into", help="name of the new folder (default: Restored and the time)")
    whole = command("restore-all", "bring the whole box back; may be killed and typed again")
    whole.add_argument("--at", help="as it was then (default: the newest backup)")
    whole.add_argument("--target", help="restore to here first; best on the mail's file system")
    whole.add_argument("--over-mail", action="store_true", help="go on though some mailboxes hold mail: they stay")
    whole.add_argument("--again", action="store_true", help="begin anew after one that ended")
    command("close-restore", "the restored box is at work: what is typed now is another restore (rebuild.yml runs it)")
    command("stage-mail", "copy all mail consistently for a backup (a fragment runs it)")
    command("place-mail", "move restored mail to its place (a fragment runs it)")
    return parser


@contextmanager
def _locked(box: Box, wait: float) -> Iterator[int]:
    if os.environ.get(LOCK_HELD):
        # Our parent holds it for us, and waits for us.
        yield -1
        return
    with state.locked(box.lock, wait) as lock:
        yield lock


def _status(box: Box, as_json: bool) -> int:
    remembered, running = state.load(box.state), state.is_locked(box.lock)
    unfinished = restore.is_unfinished(box)
    far = read_progress(box.progress) if running else {}
    said = {**asdict(remembered), "running": running, "progress": far, "restore_unfinished": unfinished}
    _print(said, text.status_lines(remembered, running, far, unfinished), as_json)
    return FAILED if remembered.error or remembered.check_error or unfinished else GOOD


def _print(report: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        for line in lines:
            print(line)


def _run(arguments: argparse.Namespace, box: Box) -> int:
    if arguments.command == "close-restore":
        # Without the lock: a backup that runs by now changes nothing of it. Without the configuration: backups may
        # have been switched off since.
        closed = restore.close(box)
        said = "The restore is closed." if closed else "There is no restore to close."
        _print({"ok": True, "closed": closed}, [said], arguments.json)
        return GOOD
    settings = config.load(box)
    if arguments.command == "snapshots":
        found = Restic(box, settings).snapshots()
        listed = [{"id": one.id, "time": one.time.isoformat(), "files": one.files, "tags": one.tags} for one in found]
        _print({"ok": True, "snapshots": listed}, text.snapshot_lines(found), arguments.json)
        return GOOD
    typed = time.time()
    with _locked(box, arguments.wait) as lock:
        progress = Progress(arguments.command, True if arguments.progress else None, file=box.progress)
        try:
            restic = Restic(box, settings, None if lock < 0 else lock, progress)
            report, lines = _work(arguments, box, settings, restic, lock, progress, typed)
        finally:
            # Our parent's file goes with our parent.
            if lock >= 0:
                progress.end()
    _print(report, lines, arguments.json)
    if report["ok"]:
        return GOOD
    if arguments.json:
        # The last line of the errors is what others tell of us.
        print(f"hearth-backup: {report.get('error') or '; '.join(report.get('problems', []))}", file=sys.stderr)
    return FAILED


def _work(
    arguments: argparse.Namespace,
    box: Box,
    settings: config.Config,
    restic: Restic,
    lock: int,
    progress: Progress,
    typed: float,
) -> tuple[dict[str, Any], Iterable[str]]:
    command = arguments.command
    report: dict[str, Any]
    if command == "run":
        report = backup.run(box, settings, restic, lock, progress)
        return report, text.run_lines(report)
    if command == "check":
        report = backup.check(box, settings, restic, lock, progress, arguments.repair)
        return report, text.check_lines(report)
    if command == "unlock":
        restic.unlock()
        return {"ok": True}, ["Stale locks are removed, if there were any."]
    if command == "init":
        report = backup.init(box, settings, restic)
        return report, [f"The repository {report['repository']} was made."]
    if command == "forget":
        count = restic.forget(arguments.prune)
        return {"ok": True, "forgotten": count}, [f"{count} old snapshots were removed."]
    if command == "restore-user":
        report = restore.restore_user(
            box, settings, restic, arguments.user, arguments.folder, arguments.at, arguments.into, progress, typed
        )
        return report, text.user_lines(report)
    if command == "restore-all":
        report = restore.restore_all(
            box,
            settings,
            restic,
            lock,
            progress,
            at=arguments.at,
            target=arguments.target,
            over_mail=arguments.over_mail,
            again=arguments.again,
        )
        return report, text.all_lines(report)
    if command == "stage-mail":
        report = stage.stage_mail(box, settings, progress=progress).as_json()
        done = f"{report['copied']} mailboxes copied, {report['unchanged']} unchanged."
    else:
        report = restore.place_mail(box, settings, progress).as_json()
        done = f"{report['placed']} mailboxes placed, {len(report['kept'])} left as they are."
    failures = [f"{address}: {why}" for address, why in report["failed"].items()]
    # The last lines of the errors are what `run` tells of us.
    for failure in failures[:3]:
        print(failure, file=sys.stderr)
    return report, [done, *failures]


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(FAILED)


def main(argv: list[str] | None = None, box: Box | None = None) -> int:
    """Run one command; the result is the exit code."""
    arguments = _parser().parse_args(argv)
    box = box or Box()
    # So that what we started is ended with us.
    signal.signal(signal.SIGTERM, _end)
    try:
        if arguments.command == "status":
            return _status(box, arguments.json)
        return _run(arguments, box)
    except BackupError as error:
        problem = error
    except OSError as error:
        problem = BackupError("system", f"{error}.", "Is there room on the disk? It has to run as root.")
    if arguments.json:
        said = {"ok": False, "kind": problem.kind, "error": str(problem)}
        print(json.dumps(said, indent=1))
    print(f"hearth-backup: {problem}", file=sys.stderr)
    # A backup comes every hour anyway; the next check would be a week away.
    return LATER if arguments.command == "check" and problem.kind in PASSING else problem.exit_code


if __name__ == "__main__":
    sys.exit(main())
