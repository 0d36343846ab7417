"""Taking a backup, and caring for the repository."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hearthmail.backup import fragments, place, restic_errors, shrunk, state
from hearthmail.backup.config import Box, Config
from hearthmail.backup.errors import PASSING, BackupError
from hearthmail.backup.processes import run_fragment_command
from hearthmail.backup.progress import Progress
from hearthmail.backup.restic import Restic, packs_in
from hearthmail.backup.restore import close, is_unfinished
from hearthmail.backup.stage import remove

# Names in a message; the report has all.
SHOWN = 5
# Seconds from one check to the next.
WEEK = 7 * 86400


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _fingerprint(config: Config) -> str:
    """The repository, without its password in clear."""
    return hashlib.sha256(config.repository.encode()).hexdigest()


def is_known(box: Box, config: Config) -> bool:
    """Whether this box has used the repository before."""
    return state.read(box.repository).get("known") == _fingerprint(config)


def _remember(box: Box, config: Config) -> None:
    if not is_known(box, config):
        state.write(box.repository, {"known": _fingerprint(config)})


def open_repository(box: Box, config: Config, restic: Restic) -> bool:
    """Remove stale locks, and make the repository if there is none.

    One that this box has used before is not made anew: then a disk is not mounted, or something took the backups away.

    :returns: whether it was made now.
    """
    try:
        restic.unlock()
    except BackupError as error:
        if error.kind != "missing" or is_known(box, config):
            raise
        restic.init()
        _remember(box, config)
        return True
    _remember(box, config)
    return False


def init(box: Box, config: Config, restic: Restic) -> dict[str, Any]:
    """Make the repository, whatever was known of it."""
    box.make_base()
    restic.init()
    _remember(box, config)
    return {"ok": True, "repository": config.shown_repository}


def run(box: Box, config: Config, restic: Restic, lock: int, progress: Progress) -> dict[str, Any]:
    """Take a backup and write down how it went.

    :returns: the report; `ok` is False when something is missing from the snapshot.
    :raises BackupError: when there is no snapshot.
    """
    box.make_base()
    remembered = state.load(box.state)
    begun = time.monotonic()
    remembered.last_attempt = state.now_text()
    state.save(box.state, remembered)
    try:
        report = _back_up(box, config, restic, lock, progress)
    except BackupError as error:
        remembered.error = str(error)
        remembered.seconds = round(time.monotonic() - begun, 1)
        state.save(box.state, remembered)
        raise
    report["seconds"] = remembered.seconds = round(time.monotonic() - begun, 1)
    remembered.error, remembered.warnings = report["error"], report["warnings"]
    if report["complete"]:
        remembered.last_success = state.now_text()
        remembered.snapshot = report["snapshot"]
        remembered.files, remembered.bytes = report["files"], report["bytes"]
        shrunk.mark_told(box)
    state.save(box.state, remembered)
    if report["complete"]:
        # A restore that ended here: the box is at work since, whether its playbook came to its end or not.
        close(box)
    return report


def _back_up(box: Box, config: Config, restic: Restic, lock: int, progress: Progress) -> dict[str, Any]:
    if is_unfinished(box):
        raise BackupError(
            "restore_unfinished",
            "A restore of this box began and did not end.",
            "Type it again (playbooks/rebuild.yml, or `hearth-backup restore-all`): "
            "a backup now would be one of half a box.",
        )
    kept = fragments.read(box.fragments)
    made = open_repository(box, config, restic)
    failed = _prepare(kept, lock, progress)
    shrunk.add_backups(box, restic)
    state.write(box.owners, place.names_of_owners())
    about = [str(box.fragments), str(box.owners), *([str(box.copies)] if box.copies.exists() else [])]
    paths = [*about, *(str(box.at(path)) for path in fragments.paths(kept))]
    present = [path for path in dict.fromkeys(paths) if os.path.lexists(path)]
    # What a restore would have to leave alone, and what can be made anew.
    own = [
        box.journal,
        box.state,
        box.repository,
        box.staged,
        box.restored,
        box.scratch,
        box.at(config.restore_directory),
    ]
    exclude = [*fragments.excludes(kept), *map(str, own), f"{box.staging}/*/*/index"]
    progress.say(f"sending to {config.shown_repository}")
    outcome = restic.backup(present, exclude, bool(failed), progress)
    problems = [f"{command} failed: {why}" for command, why in failed.items()]
    if outcome.unread:
        problems.append(f"{len(outcome.unread)} files could not be read: {_some(outcome.unread)}")
        if not failed:
            try:
                # The newest one shall say that it lacks something. To mark this one would need the right to delete.
                outcome = replace(restic.backup(present, exclude, True, progress), unread=outcome.unread)
            except BackupError as refused:
                problems.append(f"that could not be noted in the repository: {refused}")
    error = ""
    if problems:
        error = (
            f"The backup lacks something. {'; '.join(problems)}. What could be read is in the snapshot; mend the cause "
            "and run `hearth-backup run`."
        )
    copies = state.read(box.copies)
    report = {
        "complete": not problems,
        "snapshot": outcome.snapshot,
        "made_repository": made,
        "files": outcome.summary.get("total_files_processed", 0),
        "bytes": outcome.summary.get("total_bytes_processed", 0),
        "files_new": outcome.summary.get("files_new", 0),
        "files_changed": outcome.summary.get("files_changed", 0),
        "data_added": outcome.summary.get("data_added", 0),
        "missing_paths": sorted(set(paths) - set(present)),
        "unread": outcome.unread,
        "failed_commands": failed,
        "mail_without_user": copies.get("without_user", []),
        "warnings": [*_unknown(box, kept), *_missing(box, kept), *shrunk.lines(box)],
        "forgotten": 0,
    }
    if config.forget:
        try:
            report["forgotten"] = restic.forget()
        except BackupError as refused:
            # The snapshot is there all the same.
            error = f"{error} Old backups could not be removed: {refused}".strip()
    return {"ok": not error, "error": config.mask(error) or None, **report}


def _unknown(box: Box, kept: list[fragments.Fragment]) -> list[str]:
    """What a role may want kept in a way that this program does not know: silence would lose it."""
    return [
        f"{box.fragments / one.name}.json: `{'`, `'.join(one.unknown)}` is not known here, so it has no effect. "
        "A newer role wrote it: run the playbook with --tags backup; or it is misspelt."
        for one in kept
        if one.unknown
    ]


def _missing(box: Box, kept: list[fragments.Fragment]) -> list[str]:
    """What is not kept although it should be there: the run is good all the same, but somebody has to look."""
    return [
        f"{path} is not there, so it is not kept. Is its disk mounted? Role {one.name} wants it kept "
        f"({box.fragments.name}/{one.name}.json)."
        for one in kept
        for path in one.paths
        if path not in fragments.MAY_BE_MISSING and not os.path.lexists(box.at(path))
    ]


def _prepare(kept: list[fragments.Fragment], lock: int, progress: Progress) -> dict[str, str]:
    """Run what makes consistent copies.

    The backup fails when one does, but is taken: one broken mailbox must not keep all others from being saved.

    :returns: the commands that failed, and why.
    """
    failed = {}
    for fragment in kept:
        for argv in fragment.before:
            progress.say(f"{fragment.name}: {' '.join(argv)}")
            problem = run_fragment_command(argv, lock)
            if problem:
                failed[f"{fragment.name}: {' '.join(argv)}"] = problem
    return failed


# Care -------------------------------------------------------------------------------------------------------------


def check(box: Box, config: Config, restic: Restic, lock: int, progress: Progress, repair: bool) -> dict[str, Any]:
    """Check the repository and a sample of its data; write down how it went.

    :param repair: heal what can be healed.
    """
    box.make_base()
    try:
        restic.unlock()
        report = _check(config, restic)
        if repair and report["damaged"] and _may_repair(config, restic):
            report = _repair(box, config, restic, lock, progress, report)
        if report["ok"] and config.forget:
            # Frees the room of what `forget` removed: too slow for every hour.
            restic.call("prune")
    except BackupError as error:
        _write_check(box, str(error), error.kind in PASSING)
        raise
    _write_check(box, report["error"])
    return report


def _write_check(box: Box, error: str | None, again: bool = False) -> None:
    remembered = state.load(box.state)
    if again and remembered.check_error and not remembered.check_again:
        # What the check before has found is still so.
        return
    remembered.check_error, remembered.check_again = error, again
    if not again:
        remembered.last_check = state.now_text()
    state.save(box.state, remembered)


def sample(share: str) -> str:
    """What of the data this week's check reads, in restic's notation.

    :param share: `2%`, a random one each time; or `1/52`, the parts of which come one after the other, a week each. A
        check that is tried again reads the same.
    """
    _, slash, parts = share.partition("/")
    return f"{int(time.time() // WEEK) % int(parts) + 1}/{parts}" if slash else share


def _check(config: Config, restic: Restic, part: str | None = None) -> dict[str, Any]:
    result = restic.check(sample(config.check_sample) if part is None else part)
    said = restic_errors.plain(f"{result.out}\n{result.err}")
    if result.code == 0:
        return {"ok": True, "damaged": False, "packs": [], "error": None, "healed": []}
    packs = packs_in(said)
    # Looked at first: what a check says about damage can hold any number and word.
    ended = any(words in said.lower() for words in ("repository contains errors", "loadindex returned errors"))
    if not (ended or packs or restic_errors.kind_of(restic.version, result.code, result.err) == "damaged"):
        raise restic.error(result)
    index = any(word in said.lower() for word in ("loadindex", "index is damaged", "rebuild-index", "repair index"))
    lines = [line.strip() for line in said.splitlines() if "error" in line.lower() or "pack" in line.lower()]
    damage = [f"pack {pack}" for pack in packs] + (["the index"] if index and not packs else [])
    found = _some(damage) or (lines[-1] if lines else f"exit code {result.code}")
    return {
        "ok": False,
        "damaged": True,
        "packs": packs,
        "lines": lines[-20:],
        "error": f"The repository {config.shown_repository} is damaged: {found}. {_way_out(config, restic, packs)}",
        "healed": [],
    }


def _may_repair(config: Config, restic: Restic) -> bool:
    """Whether this restic can, and this box may delete what is broken."""
    return restic.version >= (0, 16) and (config.forget or config.is_local)


def _way_out(config: Config, restic: Restic, packs: list[str]) -> str:
    if not (config.forget or config.is_local):
        if restic.version >= (0, 16):
            commands = [f"restic repair packs {' '.join(packs)}"] if packs else []
            return (
                "This box may not delete there: on the other side, with the password, run "
                f"`{'; '.join(['restic repair index', *commands])}`, then here `hearth-backup run`, "
                "then there `restic repair snapshots --forget`."
            )
    elif restic.version >= (0, 16):
        return "`hearth-backup check --repair` takes out what is broken and backs it up again from this box."
    moved = " and ".join(f"data/{pack[:2]}/{pack}" for pack in packs[:SHOWN]) or "the damaged file"
    return (
        f"restic {restic.version[0]}.{restic.version[1]} cannot repair packs. Move {moved} out of the repository, run "
        "`restic rebuild-index` there, then `hearth-backup run`: what this box still has is saved again. Old "
        "backups lack what was only in there; a newer restic (Debian 13) can mend them: `restic repair snapshots`."
    )


def _repair(
    box: Box, config: Config, restic: Restic, lock: int, progress: Progress, report: dict[str, Any]
) -> dict[str, Any]:
    """Heal: index, packs, then a backup, which brings back what this box still has, and snapshots last.

    In this order because `repair snapshots` takes out of them what a new backup would have healed (restic's advice).
    """
    box.damaged.mkdir(mode=0o700, exist_ok=True)
    folder = box.damaged / datetime.now(UTC).strftime("%Y%m%d-%H%M%S.%f")
    folder.mkdir(mode=0o700)
    healed = []
    # `repair packs` leaves copies of the broken packs in the folder where it runs.
    restic.call("repair", "index", folder=folder)
    healed.append("index")
    if report["packs"]:
        restic.call("repair", "packs", *report["packs"], folder=folder)
        healed.append("packs")
    taken = run(box, config, restic, lock, progress)
    healed.append(f"new backup {taken['snapshot']}")
    forget = ["--forget"] if config.forget or config.is_local else []
    restic.call("repair", "snapshots", *forget, folder=folder)
    healed.append("snapshots")
    # The data of a pack is read again by the next check; what was broken is out now.
    after = _check(config, restic, part="")
    if after["ok"] and not any(folder.iterdir()):
        remove(folder)
    return {**after, "packs": report["packs"], "damaged": True, "healed": healed}
