"""The whole box: brought back, killed at every step, and never over mail that is there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hearthmail.backup import place, restore, stage, state
from hearthmail.backup.errors import RefusedError
from hearthmail.backup.place import Step, no_step
from tests.unit.backup.conftest import HOST, MAIL, TLS, Killed, World

HANAKO, TARO = "hanako@hearth.example", "taro@hearth.example"


def bare(world: World) -> None:
    """The box dies; another one comes, set up from the inventory."""
    for path in ("/var", "/etc/hearthmail/tls", "/etc/hearthmail/backup.d", "/imports"):
        shutil.rmtree(world.box.at(path), ignore_errors=True)
    world.box.at("/var/vmail").mkdir(parents=True)
    world.write("/etc/hearthmail/tls/mail.pem", "another key")
    world.write("/etc/hearthmail/tls/new.pem", "only here")


@pytest.fixture
def saved(world: World) -> World:
    """A box whose backup is good; then it is bare."""
    assert world.run("run") == 0
    (world.path / "expected.json").write_text(json.dumps(world.mail()))
    bare(world)
    return world


def expected(world: World) -> dict[str, str]:
    found: dict[str, str] = json.loads((world.path / "expected.json").read_text())
    return found


def check_all_back(world: World) -> None:
    assert world.mail() == expected(world)
    assert world.box.at("/etc/hearthmail/tls/mail.pem").read_text() == "the key"
    assert world.box.at("/etc/hearthmail/tls/mail.pem").stat().st_mode & 0o777 == 0o600
    assert world.box.at("/etc/hearthmail/tls/new.pem").read_text() == "only here"
    assert world.box.at("/var/lib/hearthmail/ddns.json").read_text() == "{}"
    assert (world.home(HANAKO) / ".dovecot.sieve").readlink() == Path("sieve/main.sieve")
    left = [path.name for path in world.path.rglob("*") if "hearth-" in path.name or "before-restore" in path.name]
    assert left == []


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("version", ["0.14", "0.18"])
def test_everything_comes_back(saved: World, version: str, capsys: pytest.CaptureFixture[str]) -> None:
    saved.versions(version, "2.4.1")
    saved.users(HANAKO, "new@hearth.example")
    capsys.readouterr()
    assert saved.run("restore-all", "--json") == 0
    report = answer(capsys)
    check_all_back(saved)
    assert report["stage"] == "done"
    assert report["messages_of"] == {HANAKO: 3, TARO: 1}
    assert report["users_without_mail"] == ["new@hearth.example"]
    assert report["mail_without_user"] == [TARO]
    assert report["files"] > 8
    assert not saved.box.at("/var/lib/hearthmail/restore").exists()
    # The next backup and the one after work as ever.
    assert saved.run("run") == 0
    assert saved.state.error is None


def test_typed_again_it_does_nothing(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert saved.run("restore-all") == 0
    saved.deliver(HANAKO, "since")
    mail = saved.mail()
    capsys.readouterr()
    assert saved.run("restore-all", "--json") == 0
    assert answer(capsys)["already_done"] is True
    assert saved.mail() == mail
    assert saved.run("restore-all", "--again") == 3
    assert saved.mail() == mail


def test_once_closed_a_restore_begins_anew(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A box that was rebuilt months ago is a box like any other: it holds mail, and its report is an old one."""
    assert saved.run("close-restore") == 0, "nothing has begun, nothing to close"
    assert not saved.box.journal.exists()
    assert saved.run("restore-all") == 0
    with state.locked(saved.box.lock):
        assert saved.run("close-restore", "--json") == 0, "the first backup may run by now"
    assert saved.run("close-restore") == 0
    assert saved.run("restore-all") == 3
    bare(saved)
    (saved.box.journal.parent).mkdir(parents=True)
    state.write(saved.box.journal, {"stage": "closed"})
    capsys.readouterr()
    assert saved.run("restore-all", "--json") == 0
    assert "already_done" not in answer(capsys)
    check_all_back(saved)


def test_a_backup_closes_a_restore_that_ended(saved: World) -> None:
    """The box is at work by then. Later the mail's disk dies: that restore must not pass for the one that is needed."""
    for role, what in (("dovecot", MAIL), ("tls", TLS)):
        saved.fragment(role, what)
    assert saved.run("restore-all") == 0
    saved.restic_fails(backup={"code": 1, "stderr": "dial tcp: connection refused"})
    assert saved.run("run") == 1
    assert restore.load_journal(saved.box.journal).stage == restore.DONE
    saved.restic_works()
    assert saved.run("run") == 0
    assert restore.load_journal(saved.box.journal).stage == restore.CLOSED
    stage.remove(saved.box.at("/var/vmail"))
    saved.box.at("/var/vmail").mkdir()
    assert saved.run("restore-all") == 0
    assert saved.mail() == expected(saved)


def test_it_is_closed_though_backups_were_switched_off(saved: World) -> None:
    state.write(saved.box.journal, {"stage": "done"})
    saved.box.config.unlink()
    assert saved.run("close-restore") == 0
    assert restore.load_journal(saved.box.journal).stage == restore.CLOSED


def test_the_same_time_spelled_otherwise_goes_on(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert saved.run("restore-all", "--at", "2100-11-23 08:00Z") == 0
    capsys.readouterr()
    assert saved.run("restore-all", "--at", "2100-11-23T09:00:00+01:00") == 0
    assert "already" in capsys.readouterr().out


def test_a_time_before_all_backups_is_not_without_backups(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert saved.run("restore-all", "--at", "2020-01-01", "--json") == 1
    assert answer(capsys)["kind"] == "none_before"


def test_an_unfinished_restore_is_not_closed(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    state.write(saved.box.journal, {"stage": "placing"})
    assert saved.run("close-restore") == 1
    assert "did not end" in capsys.readouterr().err
    assert restore.is_unfinished(saved.box)


def test_text_for_people(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert saved.run("restore-all", "--progress") == 0
    said = capsys.readouterr()
    assert "4 messages in 2 mailboxes" in said.out
    assert f"{HANAKO}: 3 messages" in said.out
    assert "Lost: what was accepted after" in said.out
    assert "placing /etc/hearthmail/tls" in said.err


def other_file_system(_source: Path, _target: Path) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def kill_at(number: int) -> Step:
    left = [number]

    def step(name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed(name)

    return step


# Not all four: the version is a matter of what restic is asked, the file system of the moves after it.
@pytest.mark.parametrize(("across", "version"), [(False, "0.14"), (True, "0.18")])
def test_killed_between_any_two_steps(
    world: World, across: bool, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.run("run") == 0
    (world.path / "expected.json").write_text(json.dumps(world.mail()))
    world.versions(version, "2.4.1")
    steps: list[Step] = [no_step]

    def in_process(argv: Sequence[str], _lock: int) -> str:
        assert argv == ("hearth-backup", "place-mail")
        return str(place.place_mail(world.box, world.config, steps[0]).failed or "")

    monkeypatch.setattr(restore, "run_fragment_command", in_process)
    if across:
        monkeypatch.setattr(place, "rename", other_file_system)

    def attempt(step: Step) -> dict[str, Any]:
        steps[0] = step
        return restore.restore_all(world.box, world.config, world.restic, 0, world.quiet, step=step)

    died = []
    for number in range(200):
        bare(world)
        try:
            attempt(kill_at(number))
        except Killed as killed:
            died.append(str(killed))
        else:
            break
        assert restore.is_unfinished(world.box)
        report = attempt(no_step)
        assert report["ok"], (died[-1], report)
        assert report["kept"] == [], died[-1]
        assert report["messages_of"] == {HANAKO: 3, TARO: 1}, died[-1]
        check_all_back(world)
    assert {"restoring", "restored", "counted", "placing", "home", "index", "cleaned"} <= set(died)
    assert ("marked" in died) == across
    assert len(died) > 20


def test_killed_again_and_again(saved: World, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Step] = [no_step]
    monkeypatch.setattr(
        restore,
        "run_fragment_command",
        lambda _argv, _lock: str(place.place_mail(saved.box, saved.config, steps[0]).failed or ""),
    )
    monkeypatch.setattr(place, "rename", other_file_system)
    for number in range(0, 200, 3):
        steps[0] = kill_at(number)
        try:
            report = restore.restore_all(saved.box, saved.config, saved.restic, 0, saved.quiet, step=steps[0])
        except Killed:
            continue
        break
    assert report["ok"]
    check_all_back(saved)


# Mail that is there -----------------------------------------------------------------------------------------------


def test_a_box_with_mail_is_refused(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    saved.deliver(TARO, "since")
    mail = saved.mail()
    capsys.readouterr()
    assert saved.run("restore-all", "--json") == 3
    report = answer(capsys)
    assert report["kind"] == "holds_mail"
    assert "--over-mail" in report["error"]
    assert saved.mail() == mail
    assert not saved.box.journal.exists()


def test_the_probe_s_own_message_is_no_mail(saved: World) -> None:
    """A rebuild broke off when the probe had run: the second try must not stop at its message."""
    saved.deliver("hearth-probe@hearthmail.invalid", "probe")
    assert saved.run("restore-all") == 0


def test_over_mail_leaves_it_as_it_is(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    saved.deliver(TARO, "since")
    capsys.readouterr()
    assert saved.run("restore-all", "--over-mail", "--json") == 0
    report = answer(capsys)
    assert report["kept"] == [TARO]
    assert [path.name for path in (saved.home(TARO) / "Maildir/new").iterdir()] == ["since"]
    assert len(saved.mail()) > 4
    assert (saved.home(HANAKO) / "Maildir/new/one").is_file()


def test_an_empty_mailbox_makes_room(saved: World) -> None:
    for part in ("cur", "new", "tmp", ".Drafts/cur"):
        (saved.home(HANAKO) / "Maildir" / part).mkdir(parents=True)
    (saved.home(HANAKO) / "Maildir/dovecot-uidlist").write_text("3 V999 N1\n")
    (saved.home(HANAKO) / "index").mkdir()
    assert saved.run("restore-all") == 0
    check_all_back(saved)
    assert not (saved.home(HANAKO) / "index").exists(), "it belonged to the empty one"


def test_what_comes_while_it_makes_room_is_kept(tmp_path: Path) -> None:
    staged, live = tmp_path / "staged", tmp_path / "vmail/d/u"
    for base, name in ((staged, "old"), (live, "")):
        for part in ("new", "cur", "tmp"):
            (base / "Maildir" / part).mkdir(parents=True)
        if name:
            (base / "Maildir/new" / name).write_text("x")

    def deliver(step: str) -> None:
        if step == "aside":
            (live / ".Maildir.before-restore/new/stray").write_text("y")

    assert place.place_home(staged, live, (os.getuid(), os.getgid()), deliver)
    assert {path.name for path in (live / "Maildir/new").iterdir()} == {"old", "stray"}
    assert not (live / ".Maildir.before-restore").exists()


def test_place_mail_by_hand_is_refused(saved: World) -> None:
    """The staging of a running box is the last backup's copy: it would bring back what was deleted since."""
    assert saved.run("restore-all") == 0
    assert saved.run("run") == 0
    (saved.home(TARO) / "Maildir/new/four").unlink()
    assert saved.run("place-mail") == 3
    assert list((saved.home(TARO) / "Maildir/new").iterdir()) == []


# What goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.14", "0.18"])
def test_without_a_repository(world: World, version: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.versions(version, "2.4.1")
    bare(world)
    assert world.run("restore-all", "--json") == 1
    assert answer(capsys)["kind"] == "missing"
    assert not (world.path / "repository").exists(), "a restore makes none"


def test_without_a_backup_of_this_box(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    saved.configure(hostname="other.example")
    capsys.readouterr()
    assert saved.run("restore-all", "--json") == 1
    assert answer(capsys)["kind"] == "no_snapshot"
    assert HOST not in saved.config.hostname


def test_a_command_that_fails_is_run_again(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.fragment("web", {"after_restore": [["sh", "-c", "test -e $FAKES/ready || { echo not ready >&2; exit 1; }"]]})
    assert world.run("run") == 0
    (world.path / "expected.json").write_text(json.dumps(world.mail()))
    bare(world)
    assert world.run("restore-all") == 1
    assert "not ready" in capsys.readouterr().out
    assert world.run("run") == 1, "no backup of a half restored box"
    (world.fakes / "ready").touch()
    assert world.run("restore-all") == 0
    check_all_back(world)


def test_a_disk_that_is_full(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    saved.restic_fails(restore={"code": 1, "stderr": "write /x: no space left on device"})
    capsys.readouterr()
    assert saved.run("restore-all", "--json") == 1
    assert answer(capsys)["kind"] == "full"
    saved.restic_works()
    assert saved.run("restore-all") == 0
    check_all_back(saved)


def test_a_target_that_holds_other_things(saved: World) -> None:
    saved.write("/srv/photos/one.jpg", "x")
    assert saved.run("restore-all", "--target", "/srv/photos") == 3
    assert saved.box.at("/srv/photos/one.jpg").exists()
    assert saved.run("restore-all", "--target", "/srv/empty") == 0
    check_all_back(saved)


def test_an_earlier_time(world: World) -> None:
    (world.fakes / "restic.time").write_text("2026-11-23T07:00:00Z")
    assert world.run("run") == 0
    (world.path / "expected.json").write_text(json.dumps(world.mail()))
    world.deliver(HANAKO, "late")
    (world.fakes / "restic.time").write_text("2026-11-23T09:00:00Z")
    assert world.run("run") == 0
    bare(world)
    assert world.run("restore-all", "--at", "2026-11-23 08:00Z") == 0
    check_all_back(world)


def test_another_time_than_the_one_before_begins_anew(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """site.yml was typed on the bare box: the newest backup is an empty one, and a rebuild has taken it."""
    backup_at(world, 7)
    (world.path / "expected.json").write_text(json.dumps(world.mail()))
    bare(world)
    for role, what in (("dovecot", MAIL), ("tls", TLS)):
        world.fragment(role, what)
    backup_at(world, 9)
    bare(world)
    assert world.run("restore-all") == 0
    assert world.mail() == {}
    capsys.readouterr()
    time = "2026-11-23 08:00Z"
    assert world.run("restore-all", "--at", time, "--json") == 0
    report = answer(capsys)
    assert (report["time"], report.get("already_done")) == ("2026-11-23T07:00:00+00:00", None)
    assert world.mail() == expected(world)
    assert world.run("restore-all", "--at", time) == 0, "typed again it goes on"
    assert "already" in capsys.readouterr().out
    assert world.run("restore-all", "--at", "2026-11-23 10:00Z") == 3, "there is mail now"


def test_the_same_time_typed_again_goes_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    backup_at(world, 7)
    backup_at(world, 9)
    (world.path / "expected.json").write_text(json.dumps(world.mail()))
    bare(world)
    time = "2026-11-23 08:00Z"

    def step(name: str) -> None:
        if name == "put":
            raise Killed(name)

    def in_process(_argv: Sequence[str], _lock: int) -> str:
        return str(place.place_mail(world.box, world.config, step).failed or "")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(restore, "run_fragment_command", in_process)
        with pytest.raises(Killed):
            restore.restore_all(world.box, world.config, world.restic, 0, world.quiet, at=time)
    capsys.readouterr()
    assert world.run("restore-all", "--at", time, "--json") == 0, "mail that it has placed itself is no hindrance"
    assert answer(capsys)["time"] == "2026-11-23T07:00:00+00:00"
    check_all_back(world)


QUEUE = """\
{"queue_name": "deferred", "queue_id": "4bGx1y2Pz3", "sender": "hanako@hearth.example", \
"recipients": [{"address": "alice@peer.example", "delay_reason": "timed out"}, {"address": "bob@peer.example"}]}
{"queue_name": "active", "queue_id": "4bGx1y2Pz4", "sender": "", \
"recipients": [{"address": "hearth-probe@hearthmail.invalid"}]}
{"queue_name": "acti
"""


def test_what_waited_in_the_queue_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    listing = "/var/lib/hearthmail/backup/queue.json"
    world.fragment("postfix", {"paths": [listing]})
    world.write(listing, QUEUE)
    assert world.run("run") == 0
    bare(world)
    capsys.readouterr()
    assert world.run("restore-all", "--json") == 0
    recipients = ["alice@peer.example", "bob@peer.example"]
    assert answer(capsys)["queue"] == [
        {"id": "4bGx1y2Pz3", "sender": "hanako@hearth.example", "recipients": recipients}
    ]
    assert world.run("restore-all") == 0
    assert "4bGx1y2Pz3 from hanako@hearth.example to alice@peer.example, bob@peer.example" in capsys.readouterr().out


def test_from_when_to_when_mail_may_be_missing(saved: World, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert saved.run("restore-all", "--json") == 0
    report = answer(capsys)
    begun = report["begun"]
    assert begun.startswith(state.now_text()[:10])
    assert saved.run("restore-all", "--json") == 0
    assert answer(capsys)["begun"] == begun, "of the first try"


def test_a_lost_message_is_told(saved: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(_argv: Sequence[str], _lock: int) -> str:
        place.place_mail(saved.box, saved.config)
        (saved.home(HANAKO) / "Maildir/new/one").unlink()
        return ""

    monkeypatch.setattr(restore, "run_fragment_command", lossy)
    report = restore.restore_all(saved.box, saved.config, saved.restic, 0, saved.quiet)
    assert not report["ok"]
    assert report["fewer"] == {HANAKO: {"restored": 2, "in_backup": 3}}


# Trees ------------------------------------------------------------------------------------------------------------


def test_numbers_follow_names() -> None:
    before = {"users": {"105": "postfix", "106": "dovecot", "5000": "vmail"}, "groups": {"8": "mail"}}
    now = {"users": {"106": "postfix", "107": "dovecot", "5000": "vmail"}, "groups": {"8": "mail", "9": "x"}}
    assert place.renumbering(before, now) == {"users": {105: 106, 106: 107}, "groups": {}}
    assert place.renumbering({}, now) == {"users": {}, "groups": {}}


def test_renumbering_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, tuple[int, int]] = {}

    def note(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        given[Path(path).name] = (uid, gid)

    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").touch()
    me, group = (tmp_path / "sub").stat().st_uid, (tmp_path / "sub").stat().st_gid
    monkeypatch.setattr(os, "chown", note)
    place.renumber(tmp_path, {"users": {me: 4711}, "groups": {}})
    assert given == {"sub": (4711, group), "file": (4711, group)}


@pytest.mark.parametrize("across", [False, True])
def test_merging(tmp_path: Path, across: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if across:
        monkeypatch.setattr(place, "rename", other_file_system)
    source, target = tmp_path / "from/etc/x", tmp_path / "to/etc/x"
    (source / "deep/deeper").mkdir(parents=True)
    (source / "deep/deeper/file").write_text("restored")
    (source / "link").symlink_to("deep")
    (source / "was-folder").write_text("now a file")
    (source / "ends.placed").write_text("a name like any other")
    source.chmod(0o750)
    (target / "deep").mkdir(parents=True)
    (target / "deep/own").write_text("only here")
    (target / "was-folder").mkdir()
    place.merge(source, target)
    assert (target / "deep/deeper/file").read_text() == "restored"
    assert (target / "deep/own").read_text() == "only here"
    assert (target / "link").is_symlink()
    assert (target / "was-folder").read_text() == "now a file"
    assert (target / "was-folder.before-restore").is_dir()
    assert (target / "ends.placed").exists()
    assert target.stat().st_mode & 0o777 == 0o750
    assert not source.exists()


def test_a_broken_journal_is_named(saved: World) -> None:
    state.write(saved.box.journal, {"unknown": 1})
    assert saved.run("restore-all") == 1


@pytest.mark.parametrize("work", [stage.stage_mail, restore.place_mail])
def test_staging_and_placing_are_apart(saved: World, work: Callable[..., Any]) -> None:
    if work is restore.place_mail:
        with pytest.raises(RefusedError):
            work(saved.box, saved.config)
    else:
        assert work(saved.box, saved.config).copied == []


# A backup for which somebody's copy had failed --------------------------------------------------------------------


def backup_at(world: World, hour: int, code: int = 0) -> None:
    (world.fakes / "restic.time").write_text(f"2026-11-23T{hour:02}:00:00Z")
    assert world.run("run") == code


@pytest.mark.parametrize("version", ["0.14", "0.18"])
def test_whose_copy_failed_gets_the_one_before(world: World, version: str, capsys: pytest.CaptureFixture[str]) -> None:
    world.versions(version, "2.4.1")
    backup_at(world, 7)
    world.deliver(HANAKO, "late")
    world.deliver(TARO, "late")
    world.doveadm_fails(**{TARO: [75]})
    backup_at(world, 8, 1)
    bare(world)
    capsys.readouterr()
    assert world.run("restore-all", "--json") == 0
    report = answer(capsys)
    assert report["messages_of"] == {HANAKO: 4, TARO: 1}, "the newest that there is of each"
    assert "failed with 75" in report["copy_failed"][TARO]
    assert report["earlier"] == {}
    assert world.run("restore-all") == 0
    assert f"{TARO}: its copy had failed then" in capsys.readouterr().out


@pytest.mark.parametrize("version", ["0.14", "0.18"])
def test_without_a_copy_before_an_earlier_backup_is_taken(
    world: World, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a rebuild the copies are made anew: one that fails then is in the newest backup not at all."""
    world.versions(version, "2.4.1")
    backup_at(world, 6)
    world.deliver(TARO, "later")
    world.age()
    backup_at(world, 7)
    stage.remove(world.box.staging)
    world.box.staged.unlink()
    world.doveadm_fails(**{TARO: [75] * 2})
    backup_at(world, 8, 1)
    world.deliver(HANAKO, "late")
    backup_at(world, 9, 1)
    bare(world)
    capsys.readouterr()
    assert world.run("restore-all", "--json") == 0
    report = answer(capsys)
    assert report["messages_of"] == {HANAKO: 4, TARO: 2}
    assert report["earlier"] == {TARO: "2026-11-23T07:00:00+00:00"}
    assert (world.home(TARO) / "Maildir/dovecot-uidlist").exists()
    assert not list(world.path.rglob(".hearth-earlier"))
    assert world.run("restore-all") == 0
    assert "the newest backup held less of it" in capsys.readouterr().out


@pytest.mark.parametrize("killed", ["restored", "supplemented", "counted"])
def test_killed_while_it_looks_into_earlier_backups(world: World, killed: str) -> None:
    world.deliver(TARO, "five")
    world.age()
    backup_at(world, 7)
    # A copy that broke off: one message is gone, the other one has got a flag, and so another name.
    (world.staged(TARO) / "Maildir/new/five").unlink()
    (world.staged(TARO) / "Maildir/new/four").rename(world.staged(TARO) / "Maildir/cur/four:2,S")
    world.deliver(TARO, "six")
    world.doveadm_fails(**{TARO: [75]})
    backup_at(world, 8, 1)
    bare(world)

    def step(name: str) -> None:
        if name == killed:
            raise Killed(name)

    with pytest.raises(Killed):
        restore.restore_all(world.box, world.config, world.restic, 0, world.quiet, step=step)
    assert world.run("restore-all") == 0
    report = restore.load_journal(world.box.journal).report
    assert report["messages_of"] == {HANAKO: 3, TARO: 2}, "one copy, not a mixture of two"


def test_when_nobody_knows_whose_copy_failed_all_are_looked_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mail's disk was not there, and the copies neither."""
    backup_at(world, 7)
    stage.remove(world.box.staging)
    world.box.at("/var/vmail").rename(world.path / "unmounted")
    backup_at(world, 8, 1)
    bare(world)
    capsys.readouterr()
    assert world.run("restore-all", "--json") == 0
    report = answer(capsys)
    assert report["messages_of"] == {HANAKO: 3, TARO: 1}
    assert set(report["earlier"]) == {HANAKO, TARO}
