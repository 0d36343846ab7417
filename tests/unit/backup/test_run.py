"""Taking a backup, its state, checks, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hearthmail.backup import backup, fragments, processes, progress, stage, state
from hearthmail.backup.cli import FAILED, LATER
from hearthmail.backup.errors import BackupError, RefusedError, UsageError
from hearthmail.backup.restic import Restic
from tests.unit.backup.conftest import HOST, MAIL, SOURCES, World

CHECK_SERVICE = SOURCES.parent / "roles/backup/templates/etc/systemd/system/hearth-backup-check.service.j2"
VERSIONS = pytest.mark.parametrize("version", ["0.14", "0.18"])


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@VERSIONS
def test_a_backup(world: World, version: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.versions(version, "2.4.1")
    assert world.run("run", "--json") == 0
    report = answer(capsys)
    assert report["made_repository"] is True
    # Four messages, the scripts, three lists of UIDs or so; the key, the agent's state, two fragments, the owners.
    assert report["missing_paths"] == []
    names = {path.name for path in (world.path / "repository").rglob("*") if path.is_file()}
    assert {"one", "two:2,FS", "three:2,S", "four", "mail.pem", "ddns.json", "dovecot.json", "owners.json"} <= names
    assert not {"state.json", "staged.json", "repository.json"} & names
    saved = world.state
    assert (saved.error, saved.snapshot, saved.files) == (None, report["snapshot"], report["files"])
    assert saved.last_success is not None
    assert saved.last_success.endswith("+00:00")
    assert world.box.state.stat().st_mode & 0o777 == 0o644
    assert world.run("run") == 0
    called = world.calls("restic")[-1]
    assert called[called.index("--host") + 1] == HOST
    assert called[called.index("--tag") + 1] == "hearthmail"
    assert ("--group-by" in called) == (version == "0.18")
    assert [call[-1] for call in world.calls("restic") if "init" in call] == ["init"], "once"
    assert "secret-of-the-repository" not in str(world.calls("restic"))


def test_text_for_people(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.fragment("other", {"paths": ["/var/lib/nowhere"]})
    assert world.run("run") == 0
    said = capsys.readouterr().out
    assert "The repository was made" in said
    assert "nowhere" in said
    assert world.run("status") == 0
    assert "Last check: never" in capsys.readouterr().out
    assert world.run("snapshots") == 0
    assert "files" in capsys.readouterr().out


@pytest.mark.parametrize("forget", [True, False])
def test_forgetting(world: World, forget: bool) -> None:
    world.configure(forget=forget, retention={"hourly": 5, "daily": 0})
    assert world.run("run") == 0
    calls = [call for call in world.calls("restic") if "forget" in call]
    assert len(calls) == forget
    if forget:
        assert "--keep-hourly" in calls[0]
        assert "--keep-daily" not in calls[0]


def test_a_failing_forget_is_told_and_the_snapshot_counts(world: World) -> None:
    world.configure(forget=True)
    world.restic_fails(forget={"code": 1, "stderr": "server response: 403 Forbidden (403)"})
    assert world.run("run") == 1
    assert "could not be removed" in str(world.state.error)
    assert world.state.last_success


def test_files_that_could_not_be_read_fail_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"message_type": "error", "error": {"Op": "open"}, "during": "archival", "item": "/var/lib/x/gone"}
    assert world.run("run") == 0
    good = world.state
    world.restic_fails(backup={"code": 3, "stderr": json.dumps(said) + "\nWarning: at least one source file"})
    capsys.readouterr()
    assert world.run("run", "--json") == 1
    assert answer(capsys)["unread"] == ["/var/lib/x/gone"]
    assert "/var/lib/x/gone" in str(world.state.error)
    assert world.state.snapshot == good.snapshot, "the last good one stays named"


def test_a_backup_that_could_not_read_all_is_marked(world: World) -> None:
    world.restic_fails(backup={"code": 3, "stderr": '{"message_type": "error", "item": "/var/lib/x/gone"}'})
    assert world.run("run") == 1
    newest = world.restic.snapshots()[-1]
    assert "incomplete" in newest.tags
    world.restic_works()
    assert world.run("run") == 0
    assert "incomplete" not in world.restic.snapshots()[-1].tags


def test_a_mark_that_cannot_be_made_is_told_beside_the_rest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Restic.backup

    def once(self: Restic, paths: Any, exclude: Any, incomplete: bool, shown: Any) -> Any:
        if incomplete:
            raise BackupError("unreachable", "The line is down.", "")
        return real(self, paths, exclude, incomplete, shown)

    monkeypatch.setattr(Restic, "backup", once)
    world.restic_fails(backup={"code": 3, "stderr": '{"message_type": "error", "item": "/var/lib/x/gone"}'})
    assert world.run("run") == 1
    assert "/var/lib/x/gone" in str(world.state.error)
    assert "The line is down." in str(world.state.error)


def test_a_failing_command_fails_it_but_the_rest_is_saved(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.fragment("web", {"before": [["sh", "-c", "echo the dump broke >&2; exit 4"], ["no-such-program"]]})
    assert world.run("run", "--json") == 1
    report = answer(capsys)
    assert "the dump broke" in str(report["error"])
    assert "no-such-program" in str(report["error"])
    assert report["snapshot"]
    assert world.state.last_success is None
    call = next(call for call in world.calls("restic") if "backup" in call)
    assert "incomplete" in call


def test_a_mailbox_that_cannot_be_copied_is_named(world: World) -> None:
    world.doveadm_fails(**{"taro@hearth.example": [75]})
    assert world.run("run") == 1
    assert "taro@hearth.example" in str(world.state.error)


def test_a_mailbox_that_vanished_fails_it(world: World) -> None:
    assert world.run("run") == 0
    stage.remove(world.home("taro@hearth.example"))
    assert world.run("run") == 1
    assert "taro@hearth.example" in str(world.state.error)


def empty_taro(world: World) -> None:
    stage.remove(world.home("taro@hearth.example") / "Maildir")
    world.deliver("taro@hearth.example", "new")


def fill_taro(world: World) -> None:
    for number in range(30):
        world.deliver("taro@hearth.example", f"more{number}")


def let_pass(world: World, seconds: float) -> None:
    """Let what is written down of emptied mailboxes be older."""
    copies = state.read(world.box.copies)
    for one in copies["shrunk"].values():
        one["told"] = (datetime.fromisoformat(one["told"]) - timedelta(seconds=seconds)).isoformat()
    state.write(world.box.copies, copies)


def test_a_mailbox_that_was_emptied_is_told_for_a_day(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    fill_taro(world)
    assert world.run("run") == 0
    assert world.state.warnings == []
    # A newer one, which is not complete, and holds more mail.
    world.doveadm_fails(**{"hanako@hearth.example": [75]})
    world.deliver("hanako@hearth.example", "last")
    world.deliver("taro@hearth.example", "last")
    assert world.run("run") == 1
    world.doveadm_fails()
    newest = world.restic.snapshots()[-1].time
    empty_taro(world)
    capsys.readouterr()
    assert world.run("run") == 0
    (warning,) = world.state.warnings
    assert "taro@hearth.example: its copy held 32 messages, the mailbox held 1 at " in warning
    assert f'restore-user --user taro@hearth.example --at "{newest.isoformat()}"' in warning
    assert warning in capsys.readouterr().out
    assert world.run("status") == 0
    assert warning in capsys.readouterr().out
    assert world.run("run") == 0
    assert world.state.warnings == [warning]
    let_pass(world, 86000)
    assert world.run("run") == 0
    assert world.state.warnings == [warning]
    let_pass(world, 500)
    assert world.run("run") == 0
    assert world.state.warnings == []


def test_it_is_told_though_no_snapshot_came_of_that_run(world: World) -> None:
    fill_taro(world)
    assert world.run("run") == 0
    newest = world.restic.snapshots()[-1].time
    empty_taro(world)
    world.restic_fails(backup={"code": 1, "stderr": "dial tcp: connection refused"})
    assert world.run("run") == 1
    assert world.run("run") == 1
    world.restic_works()
    assert world.run("run") == 0
    (warning,) = world.state.warnings
    assert f'--at "{newest.isoformat()}"' in warning


def test_an_emptied_mailbox_that_is_in_no_backup(world: World) -> None:
    fill_taro(world)
    world.restic_fails(backup={"code": 1, "stderr": "dial tcp: connection refused"})
    assert world.run("run") == 1
    world.restic_works()
    empty_taro(world)
    assert world.run("run") == 0
    (warning,) = world.state.warnings
    assert "restore-user" not in warning
    assert "no backup is older" in warning


def test_mail_of_nobody_is_named(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.users("hanako@hearth.example")
    assert world.run("run") == 0
    said = capsys.readouterr().out
    assert "taro@hearth.example" in said
    assert "mail_users" in said
    assert world.run("run", "--json") == 0
    assert answer(capsys)["mail_without_user"] == ["taro@hearth.example"]


def test_a_path_that_is_not_there_is_told_unless_it_may_be(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    paths = ["/var/lib/nowhere", *fragments.MAY_BE_MISSING]
    world.fragment("other", {"paths": paths})
    assert world.run("run", "--json") == 0
    report = answer(capsys)
    assert [path.removeprefix(str(world.path)) for path in report["missing_paths"]] == sorted(paths)
    (warning,) = world.state.warnings
    assert warning == report["warnings"][0]
    assert "/var/lib/nowhere" in warning
    assert "backup.d/other.json" in warning
    world.write("/var/lib/nowhere", "x")
    assert world.run("run") == 0
    assert world.state.warnings == []


def test_a_key_of_a_newer_role_is_told_and_the_backup_made(world: World) -> None:
    """The role that writes a fragment comes before the program that reads it: no hour shall be without a backup."""
    world.write("/var/lib/kept", "x")
    world.fragment("other", {"paths": [str(world.box.at("/var/lib/kept"))], "exlude": [], "optional": ["/b"]})
    assert world.run("run") == 0
    assert world.state.error is None
    (warning,) = [one for one in world.state.warnings if "exlude" in one]
    assert "backup.d/other.json: `exlude`, `optional`" in warning
    assert "--tags backup" in warning


def test_a_misspelt_path_is_an_error(world: World) -> None:
    world.fragment("other", {"path": ["/a"]})
    assert world.run("run") == 1
    assert "other.json: it has no `paths`, and `path` is not known here" in str(world.state.error)


def test_a_broken_fragment_is_named_and_nothing_is_saved(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("/etc/hearthmail/backup.d/ddns.json", "{")
    assert world.run("run", "--json") == 1
    assert answer(capsys)["kind"] == "fragment"
    assert "ddns.json" in str(world.state.error)
    assert not (world.path / "repository").exists()


@VERSIONS
def test_a_repository_that_vanished_is_not_made_anew(world: World, version: str) -> None:
    world.versions(version, "2.4.1")
    assert world.run("run") == 0
    (world.path / "repository").rename(world.path / "unmounted")
    assert world.run("run") == 1
    assert "mounted" in str(world.state.error)
    assert not (world.path / "repository").exists()
    assert world.run("init") == 0
    assert world.run("run") == 0
    assert world.state.error is None


@VERSIONS
@pytest.mark.parametrize(
    ("code", "text", "kind", "named"),
    [
        (12, "Fatal: wrong password or no key found", "password", "backup_password"),
        (11, "repository is already locked by PID 1 on other", "locked", "half an hour"),
        (1, "Fatal: unable to open config file: dial tcp: connection refused", "unreachable", "Mail goes on"),
        (
            1,
            "Fatal: unable to open config file: unexpected HTTP response (401): 401 Unauthorized",
            "refused",
            "backup_env",
        ),
    ],
)
def test_refusals(
    world: World, version: str, code: int, text: str, kind: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.versions(version, "2.4.1")
    world.restic_fails(unlock={"code": code, "stderr": text})
    assert world.run("run", "--json") == 1
    assert answer(capsys)["kind"] == kind
    assert named in str(world.state.error)
    assert "init" not in str(world.calls("restic"))
    assert world.calls("doveadm") == [], "nothing is copied for nothing"


def test_a_full_repository(world: World) -> None:
    world.restic_fails(backup={"code": 1, "stderr": "Fatal: write: no space left on device"})
    assert world.run("run") == 1
    assert "no room left" in str(world.state.error)
    world.restic_works()
    assert world.run("run") == 0


def test_without_restic(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert world.run("run") == 1
    assert "apt install restic" in capsys.readouterr().err


def test_a_half_restored_box_takes_no_backup(world: World) -> None:
    state.write(world.box.journal, {"stage": "placing"})
    assert world.run("run") == 1
    assert "did not end" in str(world.state.error)


# The lock ---------------------------------------------------------------------------------------------------------


def test_only_one_at_a_time(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with state.locked(world.box.lock):
        assert world.run("run", "--json") == 1
        assert answer(capsys)["kind"] == "running"
        assert not world.box.state.exists(), "the other one's state is not touched"
        assert world.run("status", "--json") == 0
        assert answer(capsys)["running"] is True
    assert not state.is_locked(world.box.lock)
    assert world.run("run", "--wait", "1") == 0


def test_the_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = "import sys, time; from pathlib import Path; from hearthmail.backup import state\n"
    code += f"with state.locked(Path({str(path)!r})): print('held', flush=True); time.sleep(0.5)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={"PYTHONPATH": str(SOURCES)})
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(BackupError), state.locked(path):
        pass
    with state.locked(path, wait=10):
        pass
    holder.stdout.close()
    holder.wait()


def test_restic_that_outlives_us_holds_the_lock(tmp_path: Path) -> None:
    with state.locked(tmp_path / "lock") as lock:
        child = subprocess.Popen(["sleep", "30"], pass_fds=(lock,))
    try:
        assert state.is_locked(tmp_path / "lock")
    finally:
        child.kill()
        child.wait()
    assert not state.is_locked(tmp_path / "lock")


def test_what_a_fragment_starts_does_not_hold_the_lock(tmp_path: Path) -> None:
    with state.locked(tmp_path / "lock") as lock:
        assert processes.run_fragment_command(["sh", "-c", "sleep 30 & echo $! > " + str(tmp_path / "pid")], lock) == ""
    try:
        assert not state.is_locked(tmp_path / "lock")
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_program_that_goes_on_in_vain_is_killed() -> None:
    begun = time.monotonic()
    script = "echo it begins >&2; sleep 1; echo no use >&2; exec sleep 30"
    result = processes.run(["sh", "-c", script], is_hopeless=lambda line: line == "no use")
    assert time.monotonic() - begun < 20
    assert (result.code, result.err) == (-9, "it begins\nno use\n")


# Checks -----------------------------------------------------------------------------------------------------------

PACK = "ab" * 32
DAMAGE = {"code": 1, "stderr": f"pack {PACK} contains 1 errors: hash mismatch\nFatal: repository contains errors"}


def test_a_good_check(world: World) -> None:
    world.configure(forget=True)
    world.run("run")
    assert world.run("check") == 0
    assert world.state.last_check
    assert world.state.check_error is None
    called = [call for call in world.calls("restic") if "check" in call]
    assert called[0][-1] == "--read-data-subset=2%"
    assert world.calls("restic")[-1][-1] == "prune"


def test_each_part_is_read_once_in_a_year(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share in percent is a random one each time: 52 of 2 % read about 65 % of all."""
    world.configure(check_sample="1/52")
    world.run("run")
    sunday = 1_800_000_000.0
    read = []
    for week in range(52):
        monkeypatch.setattr(time, "time", lambda week=week: sunday + week * 7 * 86400)
        if week < 2:
            assert world.run("check") == 0
            read.append(world.calls("restic")[-1][-1].removeprefix("--read-data-subset="))
        else:
            read.append(backup.sample("1/52"))
    assert sorted(read) == sorted(f"{part}/52" for part in range(1, 53))
    assert backup.sample("2%") == "2%"


@VERSIONS
def test_damage_is_named(world: World, version: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.versions(version, "2.4.1")
    world.run("run")
    world.restic_fails(check=DAMAGE)
    capsys.readouterr()
    assert world.run("check", "--json") == 1
    report = answer(capsys)
    assert report["packs"] == [PACK]
    assert PACK in str(world.state.check_error)
    way_out = "check --repair" if version == "0.18" else "rebuild-index"
    assert way_out in str(world.state.check_error)
    assert world.state.error is None


def test_damage_is_healed(world: World) -> None:
    world.run("run")
    world.restic_fails(check=DAMAGE)
    assert world.run("check", "--repair") == 0
    done = [call[2:] for call in world.calls("restic") if {"repair", "backup", "check"} & set(call)]
    assert [call[:2] for call in done[1:]] == [
        ["check", "--read-data-subset=2%"],
        ["repair", "index"],
        ["repair", "packs"],
        ["backup", "--json"],
        ["repair", "snapshots"],
        ["check"],
    ]
    assert world.state.check_error is None


def test_an_old_restic_cannot_heal(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.versions("0.14", "2.3.19")
    world.run("run")
    world.restic_fails(check=DAMAGE)
    assert world.run("check", "--repair") == 1
    assert "cannot repair packs" in capsys.readouterr().out


def test_the_other_side_heals_what_we_may_not_delete(world: World) -> None:
    world.run("run")
    # Behind a proxy nobody asks whether it is there.
    proxy = {"HTTPS_PROXY": "http://proxy.example:3128"}
    world.configure(repository="s3:https://box:hidden@s3.example/mail", environment=proxy)
    world.restic_fails(check=DAMAGE)
    assert world.run("check", "--repair") == 1
    assert "on the other side" in str(world.state.check_error)
    assert "hidden" not in str(world.state.check_error)


def test_a_check_that_cannot_run_is_no_damage(world: World) -> None:
    world.run("run")
    world.restic_fails(check={"code": 1, "stderr": "dial tcp: connection refused"})
    assert world.run("check") == LATER
    assert "cannot be reached" in str(world.state.check_error)


def test_a_check_that_met_what_passes_is_tried_again(world: World) -> None:
    world.run("run")
    # Of another machine: `unlock` leaves it.
    world.restic_fails(check={"code": 11, "stderr": "unable to create lock in backend: repository is already locked"})
    assert world.run("check") == LATER
    assert "is locked by another process" in str(world.state.check_error)
    assert (world.state.check_again, world.state.last_check) == (True, None), "it did not come to an end"
    world.restic_works()
    with state.locked(world.box.lock):
        assert world.run("check") == LATER
        assert world.run("run") == 1, "it comes again in an hour anyway"
    assert world.run("check") == 0
    assert world.state.check_error is None
    assert world.state.last_check
    password = {"code": 12, "stderr": "Fatal: wrong password or no key found"}
    for stays in (password, {"code": 1, "stderr": "odd"}, DAMAGE):
        world.restic_fails(check=stays)
        assert world.run("check") == 1
        assert not world.state.check_again


def test_a_line_that_is_down_does_not_hide_damage(world: World) -> None:
    world.run("run")
    world.restic_fails(check=DAMAGE)
    assert world.run("check") == 1
    world.restic_fails(check={"code": 1, "stderr": "dial tcp: connection refused"})
    assert world.run("check") == LATER
    assert PACK in str(world.state.check_error)
    assert not world.state.check_again


def test_the_service_tries_again_after_that_code_alone() -> None:
    text = CHECK_SERVICE.read_text(encoding="utf-8")
    unit = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    # What systemd of Debian 12 takes in a oneshot service: systemd.service(5), "Restart=".
    assert (unit["Type"], unit["Restart"]) == ("oneshot", "on-failure")
    assert "RestartForceExitStatus" not in unit
    # All codes that the program ends with, but the one.
    ends = {FAILED, BackupError.exit_code, UsageError.exit_code, RefusedError.exit_code}
    assert set(map(int, unit["RestartPreventExitStatus"].split())) == ends
    assert LATER not in ends
    assert unit["RestartSec"] == "1h"


# Odds and ends ----------------------------------------------------------------------------------------------------


def test_state_of_others(tmp_path: Path) -> None:
    (tmp_path / "s").write_text('{"last_success": "x", "new_key": 1}')
    assert state.load(tmp_path / "s").last_success == "x"
    (tmp_path / "s").write_text("{")
    assert state.load(tmp_path / "s") == state.State()


def test_progress_in_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 101.0, 110.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    shown = progress.Progress("restore", active=True)
    shown.show(1, 10, 1, 10)
    shown.show(5, 10, 5_000_000, 10_000_000)
    assert capsys.readouterr().err == "restore: 5 of 10 files, 5 MB of 10 MB, 10 s left\n"


def test_our_own_command_is_this_very_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "hearth-backup"
    own.touch()
    monkeypatch.setattr(sys, "argv", [str(own)])
    assert processes.resolve(MAIL["before"][0]) == [str(own), "stage-mail"]
    assert processes.resolve(["other", "x"]) == ["other", "x"]


def test_usage(world: World) -> None:
    with pytest.raises(SystemExit) as caught:
        world.run("restore-user", "--user", "x")
    assert caught.value.code == 2


def test_progress_in_a_file_for_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0)
    far = []
    real = state.write

    def spy(path: Path, data: Any, mode: int = 0o600) -> None:
        real(path, data, mode)
        if path == world.box.progress:
            far.append(progress.read(path))

    monkeypatch.setattr(state, "write", spy)
    assert world.run("run") == 0
    assert {one["command"] for one in far} == {"run"}
    assert far[0]["text"] == "dovecot: hearth-backup stage-mail"
    assert any(one.get("files") == 1 and one["text"].startswith("1 of ") for one in far), far
    assert not world.box.progress.exists(), "it is gone with the run"
    # A run that was killed leaves its file; it is nobody's.
    real(world.box.progress, {**far[0], "pid": 2**22 + 1})
    assert progress.read(world.box.progress) == {}


def test_a_run_that_hangs_changes_no_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """restic goes on telling how far it is when nothing moves any more, and the probe takes a changed file for life."""
    monkeypatch.setattr(progress, "INTERVAL", 0)
    shown = progress.Progress("run", active=False, file=world.box.progress)

    def written(*numbers: float) -> int:
        files, done, left = numbers
        shown.show(int(files), 10, int(done), 100, left)
        return world.box.progress.stat().st_ino

    first = written(1, 10, 60)
    assert written(1, 10, 65) == first
    assert written(1, 11, 70) != first
    shown.line("66.67%  2 / 3 packs")
    packs = world.box.progress.stat().st_ino
    shown.line("66.67%  2 / 3 packs")
    assert world.box.progress.stat().st_ino == packs


def test_a_long_check_tells_how_far_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0)
    told = []
    monkeypatch.setattr(progress.Progress, "say", lambda _self, text, **_numbers: told.append(text))
    world.run("run")
    # As restic 0.14 prints it where nobody sits, with RESTIC_PROGRESS_FPS; Debian 13's does the same.
    lines = "load indexes\n[0:05] 33.33%  1 / 3 packs\n[1:02:03] 66.67%  2 / 3 packs\n[0:00]          0 packs"
    world.restic_fails(check={"code": 1, "stdout": lines, "stderr": "Fatal: repository contains errors"})
    assert world.run("check") == 1
    assert told[-3:] == ["33.33%  1 / 3 packs", "66.67%  2 / 3 packs", "0 packs"]
    assert "packs" not in str(world.state.check_error), "it is no damage"


def test_the_lock_says_since_when_it_is_held(world: World) -> None:
    world.box.lock.parent.mkdir(parents=True)
    world.box.lock.touch()
    os.utime(world.box.lock, (1e9, 1e9))
    with state.locked(world.box.lock):
        assert time.time() - world.box.lock.stat().st_mtime < 60


def test_a_fragments_command_leaves_the_file_to_its_parent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write(world.box.progress, {"command": "run", "pid": 1, "text": "x"})
    monkeypatch.setenv(processes.LOCK_HELD, "1")
    monkeypatch.setattr(progress, "INTERVAL", 0)
    assert world.run("stage-mail") == 0
    assert progress.read(world.box.progress)["text"] == "2 of 2 mailboxes copied"


def test_a_failed_run_tells_others_why(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.doveadm_fails(**{"hanako@hearth.example": [75]})
    assert world.run("run", "--json") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("hearth-backup: The backup lacks something.")
