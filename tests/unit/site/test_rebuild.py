"""What playbooks/rebuild.yml looks at before it changes anything."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from hearthmail.backup import restore, state, when
from hearthmail.backup.config import Box
from hearthmail.backup.errors import BackupError
from hearthmail.backup.when import Snapshot
from tests.unit.site.test_playbooks import PROJECT, run

PLAYS: list[dict[str, Any]] = yaml.safe_load((PROJECT / "playbooks/rebuild.yml").read_text(encoding="utf-8"))
LOOK = next(play for play in PLAYS if play["name"] == "Look whether this box may be rebuilt")


def found(box: Path) -> list[str]:
    """What the look for mail finds on a box."""
    (script,) = [task["ansible.builtin.shell"] for task in LOOK["tasks"] if "ansible.builtin.shell" in task]
    for folder in ("/var/lib", "/var/vmail"):
        script = script.replace(folder, f"{box}{folder}")
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()


def message(box: Path, domain: str) -> Path:
    path = box / f"var/vmail/{domain}/somebody/Maildir/new/one"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_mail_is_found_and_the_probe_s_own_is_none(tmp_path: Path) -> None:
    """A rebuild without a backup, broken off after the probe's first message, goes on."""
    assert found(tmp_path) == []
    message(tmp_path, "hearthmail.invalid")
    assert found(tmp_path) == []
    assert found(tmp_path) == []
    mail = message(tmp_path, "hearth.example")
    assert found(tmp_path) == [str(mail)]


def test_mitogen_does_not_rebuild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_STRATEGY", "mitogen_linear")
    assert "Type it again without ANSIBLE_STRATEGY" in look(tmp_path, None)


@pytest.mark.parametrize(
    ("stage", "begun"), [("restoring", True), ("placing", True), ("done", True), ("closed", False)]
)
def test_a_closed_restore_is_no_rebuild_that_was_begun(tmp_path: Path, stage: str, begun: bool) -> None:
    mail = message(tmp_path, "hearth.example")
    box = Box(tmp_path)
    box.make_base()
    state.write(box.journal, {"stage": stage, "snapshot": "done"})
    restore.load_journal(box.journal)
    assert (found(tmp_path)[0] == "begun") == begun
    assert found(tmp_path)[-1] == str(mail)


def look(tmp_path: Path, backup: dict[str, Any] | None, **extra: Any) -> str:
    """Run that play on this machine, without root; give what it said."""
    play = {**LOOK, "hosts": "localhost", "connection": "local", "become": False}
    play["vars"] = {**LOOK["vars"], "site": {"backup": backup}}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    done = run("-i", "localhost,", "-e", json.dumps(extra), str(tmp_path / "play.yml"))
    return f"{done.returncode}\n" + " ".join((done.stdout + done.stderr).split())


FOLDER = {"repository": "/nowhere/backup"}


def test_a_folder_without_backups_stops_it(tmp_path: Path) -> None:
    """Its disk is not mounted, or its name is mistyped: an empty server would take the mail in."""
    stopped = look(tmp_path, FOLDER)
    assert stopped.startswith("2"), stopped
    for words in ("no backups at /nowhere/backup", "mounted", "backup_repository", "-e rebuild_without_backup=true"):
        assert words in stopped
    assert look(tmp_path, FOLDER, rebuild_without_backup=True).startswith("0")
    (tmp_path / "config").touch()
    assert look(tmp_path, {"repository": str(tmp_path)}).startswith("0")


def test_what_only_restic_can_ask_and_no_backups_at_all_go_on(tmp_path: Path) -> None:
    assert look(tmp_path, {"repository": "rest:https://backup.example/hearth/"}).startswith("0")
    assert look(tmp_path, None).startswith("0")


@pytest.mark.parametrize("at", ["2026-11-23 08:00", "2026-11-23T08:00:00+09:00"])
def test_a_time(tmp_path: Path, at: str) -> None:
    assert look(tmp_path, {"repository": "rest:https://x.example/"}, at=at).startswith("0")


@pytest.mark.parametrize("at", ["yesterday", "2026-13-23 08:00", ""])
def test_what_is_no_time_stops_it(tmp_path: Path, at: str) -> None:
    stopped = look(tmp_path, {"repository": "rest:https://x.example/"}, at=at)
    assert stopped.startswith("2"), stopped
    assert f'at is "{at}"' in stopped
    assert '-e at="2026-11-23 08:00"' in stopped


def test_a_time_without_backups_stops_it(tmp_path: Path) -> None:
    assert "backup_repository is not written" in look(tmp_path, None, at="2026-11-23 08:00")


# What the role does with the answer of `hearth-backup restore-all` ---------------------------------------------------

MISSING = {"ok": False, "kind": "missing", "error": "There is no repository at rest:https://backup.example/."}


def restoring(tmp_path: Path, report: dict[str, Any], **given: Any) -> tuple[str, list[str]]:
    """Run the role's tasks with a `hearth-backup` that says this; give what Ansible said, and how it was called."""
    program = tmp_path / "hearth-backup"
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\ncat {tmp_path}/said\n')
    program.chmod(0o755)
    (tmp_path / "said").write_text(json.dumps(report))
    role = PROJECT / "roles/backup"
    inputs = {
        name: yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8"))[name]
        for name in ("backup_restore_at", "backup_restore_over_mail", "backup_restore_required")
    }
    constants = yaml.safe_load((role / "vars/main.yml").read_text(encoding="utf-8"))
    nothing = constants["__backup_nothing_to_restore"]
    internal = {"__backup_program": str(program), "__backup_nothing_to_restore": nothing}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {**inputs, **internal, **given},
        "tasks": [
            {"ansible.builtin.import_tasks": str(role / "tasks/restore.yml")},
            {"ansible.builtin.debug": {"msg": "went on with {{ __backup_report }}"}},
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    done = run("-i", "localhost,", str(tmp_path / "play.yml"))
    called = (tmp_path / "called").read_text().split()
    return f"{done.returncode}\n" + " ".join((done.stdout + done.stderr).split()), called


def test_without_a_backup_it_goes_on_only_when_told_so(tmp_path: Path) -> None:
    stopped, called = restoring(tmp_path, MISSING)
    assert stopped.startswith("2"), stopped
    assert "There is no repository at rest:https://backup.example/." in stopped
    assert "-e rebuild_without_backup=true" in stopped
    assert "--at" not in called
    assert restoring(tmp_path, MISSING, backup_restore_required=False)[0].startswith("0")
    other = {"ok": False, "kind": "password", "error": "The password does not open the repository."}
    stopped, _ = restoring(tmp_path, other, backup_restore_required=False)
    assert stopped.startswith("2"), stopped
    assert "rebuild_without_backup" not in stopped, "there is a backup"


def test_a_time_before_all_backups_makes_no_empty_server(tmp_path: Path) -> None:
    with pytest.raises(BackupError) as caught:
        when.choose([Snapshot("a", datetime(2026, 11, 23, tzinfo=UTC))], datetime(2020, 1, 1, tzinfo=UTC), "x")
    early = {"ok": False, "kind": caught.value.kind, "error": str(caught.value)}
    for required in (True, False):
        stopped, _ = restoring(tmp_path, early, backup_restore_required=required)
        assert stopped.startswith("2"), stopped
        assert "rebuild_without_backup" not in stopped


def test_the_time_goes_to_the_box(tmp_path: Path) -> None:
    said, called = restoring(tmp_path, {"ok": True}, backup_restore_at="2026-11-23 08:00")
    assert "went on with" in said
    assert called[-3:] == ["--at", "2026-11-23", "08:00"]


@pytest.mark.parametrize(("at", "flag"), [(None, None), ("2026-11-23 08:00", True)])
def test_what_is_typed_reaches_the_role(tmp_path: Path, at: str | None, flag: bool | None) -> None:
    names = ("backup_restore_at", "backup_restore_required")
    (given,) = [play["vars"] for play in PLAYS if "backup_restore" in play.get("vars", {})]
    shown = "; ".join(f"{{{{ {name} }}}}" for name in names)
    tasks = [{"ansible.builtin.debug": {"msg": f"<{shown}>"}}]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": given, "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    extra = {"at": at, "rebuild_without_backup": flag} if flag else {}
    done = run("-i", "localhost,", "-e", json.dumps(extra), str(tmp_path / "play.yml"))
    assert f"<{at or ''}; {not flag}>" in done.stdout, done.stdout


# The end ----------------------------------------------------------------------------------------------------------


def test_check_mode_tells_nothing_of_a_restore_that_was_not_made(tmp_path: Path) -> None:
    report = PLAYS[-1]["tasks"][0]
    task = {**report, "ansible.builtin.debug": {"msg": "told"}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    assert "told" in run("-i", "localhost,", str(tmp_path / "play.yml")).stdout
    assert "told" not in run("-i", "localhost,", "--check", str(tmp_path / "play.yml")).stdout


@pytest.mark.parametrize(("said", "changed"), [('{"ok": true, "closed": true}', 1), ("skipped, since it is away", 0)])
def test_the_restore_is_closed_at_the_end(tmp_path: Path, said: str, changed: int) -> None:
    last = PLAYS[-1]["tasks"][-1]
    command = last["ansible.builtin.command"]
    assert command["argv"][1] == "close-restore"
    assert command["removes"].endswith("backup/restore.json")
    task = {**last, "ansible.builtin.command": {"argv": ["echo", said]}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    done = run("-i", "localhost,", str(tmp_path / "play.yml"))
    assert done.returncode == 0, done.stdout
    assert f"changed={changed}" in done.stdout
