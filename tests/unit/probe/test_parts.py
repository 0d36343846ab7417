"""Queue, room, time, certificate, DNS agent, backup: from what the programs really print."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hearthmail.probe import box, mailqueue, upkeep
from hearthmail.probe.commands import Done
from hearthmail.probe.config import Config, Mailbox, Room
from hearthmail.probe.finding import GREEN, RED, RESTART, YELLOW, Finding

NOW = 1_800_000_000.0
PROBE = "hearth-probe@hearthmail.invalid"
CONFIG = Config("mail.hearth.example", mailbox=Mailbox(PROBE, "secret"))

# As Postfix 3.10 prints it.
QUEUE = """\
{"queue_name": "deferred", "queue_id": "4bGx1y2Pz3", "arrival_time": 1799996000, "message_size": 1234, \
"forced_expire": false, "sender": "hanako@hearth.example", "recipients": [{"address": "alice@peer.example", \
"delay_reason": "connect to mx.peer.example[198.51.100.80]:25: Connection timed out"}]}
{"queue_name": "active", "queue_id": "4bGx1y2Pz4", "arrival_time": 1799999990, "message_size": 321, \
"forced_expire": false, "sender": "", "recipients": [{"address": "hearth-probe@hearthmail.invalid"}]}
"""


def test_the_queue_is_read() -> None:
    first, second = mailqueue.parse(QUEUE)
    assert first.recipients == ("alice@peer.example",)
    assert first.reason == "connect to mx.peer.example[198.51.100.80]:25: Connection timed out"
    assert (second.queue, second.arrived, second.reason, second.id) == ("active", 1799999990, "", "4bGx1y2Pz4")
    assert mailqueue.parse("") == []
    with pytest.raises(ValueError):
        mailqueue.parse("postqueue: fatal: Queue report unavailable - mail system is down")


@pytest.mark.parametrize(
    ("age", "level"), [(60, GREEN), (3500, GREEN), (3700, YELLOW), (4 * 3600 - 60, YELLOW), (4 * 3600 + 60, RED)]
)
def test_the_age_of_the_oldest(age: float, level: str) -> None:
    waiting = [mailqueue.Waiting("deferred", NOW - age, ("a@peer.example",), "timed out")]
    found = mailqueue.judge(CONFIG, waiting, NOW)
    assert (found.level, found.repair) == (level, ())
    assert "timed out" in found.reason


def test_many_are_yellow_and_our_own_do_not_count() -> None:
    others = [mailqueue.Waiting("active", NOW, ("a@peer.example",))] * 1001
    assert mailqueue.judge(CONFIG, others, NOW).level == YELLOW
    own = [mailqueue.Waiting("deferred", NOW - 86400, (PROBE,))]
    assert mailqueue.judge(CONFIG, own, NOW).reason == "empty"
    assert mailqueue.judge(CONFIG, "mail system is down", NOW).known is False


def test_what_was_put_off_for_a_mailbox_here() -> None:
    def waits(name: str, age: int, *recipients: str, queue: str = "deferred") -> mailqueue.Waiting:
        return mailqueue.Waiting(queue, NOW - age, recipients, "", name)

    config = replace(CONFIG, domains=("hearth.example",))
    queue = [
        waits("away", 900, "a@peer.example"),
        waits("own", 800, PROBE),
        waits("sub", 800, "taro@sub.hearth.example"),
        waits("second", 600, "taro@hearth.example"),
        waits("first", 700, "Taro@Hearth.Example"),
        waits("both", 500, "a@peer.example", "hanako@hearth.example"),
        waits("moving", 400, "hanako@hearth.example", queue="active"),
    ]
    assert mailqueue.judge(config, queue, NOW).put_off == ("first", "both", "second")
    assert mailqueue.judge(CONFIG, queue, NOW).put_off == ()
    # One whose mail always fails has as many waiting as you like, at as many addresses.
    crowd = [waits(f"crowd {n}", 9999 - n, f"crowd+{n}@hearth.example") for n in range(500)]
    shared = waits("shared", 100, "crowd@hearth.example", "hana@hearth.example")
    found = mailqueue.judge(config, [*crowd, shared, *queue], NOW).put_off
    assert found[:4] == ("crowd 0", "first", "both", "shared")


def test_what_came_while_the_clock_was_early_is_put_off_too() -> None:
    config = replace(CONFIG, domains=("hearth.example",))
    ahead = mailqueue.Waiting("incoming", NOW + 3600, ("taro@hearth.example",), "", "ahead")
    assert mailqueue.judge(config, [ahead, replace(ahead, arrived=NOW, id="now")], NOW).put_off == ("ahead",)


def seen(free: int, inodes: int = 50, files: int = 100) -> os.statvfs_result:
    values = {"f_bavail": free, "f_blocks": 100, "f_frsize": 2**20, "f_favail": inodes, "f_files": files}
    return cast(os.statvfs_result, SimpleNamespace(**values))


@pytest.mark.parametrize(
    ("free", "inodes", "files", "red_bytes", "level"),
    [
        (50, 50, 100, 0, GREEN),
        (9, 50, 100, 0, YELLOW),
        (2, 50, 100, 0, RED),
        (50, 2, 100, 0, RED),
        (50, 0, 0, 0, GREEN),  # btrfs counts no inodes
        (50, 50, 100, 60 * 2**20, RED),  # plenty, but less than Postfix wants
    ],
)
def test_room(free: int, inodes: int, files: int, red_bytes: int, level: str) -> None:
    found = box.judge_room(CONFIG, Room("/var/vmail", red_bytes), seen(free, inodes, files))
    assert (found.level, found.no_room, found.repair) == (level, level == RED, ())


@pytest.mark.parametrize(("free", "level"), [(11, GREEN), (9, YELLOW), (4, YELLOW), (2, RED)])
def test_a_large_disk_wants_no_more_room_than_one_of_100_gib(free: int, level: str) -> None:
    values = {"f_bavail": free, "f_blocks": 4000, "f_frsize": 2**30, "f_favail": 50, "f_files": 100}
    found = box.judge_room(CONFIG, Room("/var/vmail"), cast(os.statvfs_result, SimpleNamespace(**values)))
    assert found.level == level
    assert f"{free}.0 GiB" in found.reason


@pytest.mark.parametrize(
    ("inodes", "closed", "stopped"), [(99, False, True), (100, False, False), (999, True, True), (1000, True, False)]
)
def test_without_inodes_the_mail_server_is_stopped(inodes: int, closed: bool, stopped: bool) -> None:
    room = Room("/var/spool/postfix", unit="postfix.service")
    found = box.judge_room(CONFIG, room, seen(90, inodes, 100_000), closed)
    assert (found.level, found.close) == (RED, "postfix.service" if stopped else "")
    assert box.judge_room(CONFIG, Room("/"), seen(90, inodes, 100_000), closed).close == ""


def test_a_file_system_without_numbered_inodes_stops_nothing() -> None:
    assert box.judge_room(CONFIG, Room("/", unit="postfix.service"), seen(90, 0, 0)).close == ""


def test_a_file_system_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    room = (Room(str(tmp_path)), Room(str(tmp_path / "mail"), 10**18), Room(str(tmp_path / "gone")))
    gone, one = box.check_room(Config("x", room=room))
    assert one.part == f"room {tmp_path}"
    assert one.level == RED, "the strictest of those who named it counts"
    assert (gone.level, gone.part) == (RED, f"room {tmp_path / 'gone'}")


@pytest.mark.parametrize(
    ("synchronised", "container", "level"),
    [
        (Done(0, "yes\n", ""), Done(1, "none\n", ""), GREEN),
        (Done(0, "no\n", ""), Done(1, "none\n", ""), RED),
        (Done(0, "no\n", ""), Done(0, "podman\n", ""), GREEN),
        (Done(1, "", "Failed to query server"), Done(1, "none\n", ""), YELLOW),
    ],
)
def test_time(monkeypatch: pytest.MonkeyPatch, synchronised: Done, container: Done, level: str) -> None:
    answers = {"timedatectl": synchronised, "systemd-detect-virt": container}
    monkeypatch.setattr(box, "run", lambda argv: answers[argv[0]])
    assert box.check_time().level == level


UNITS = """\
Id=hearth-ddns.service
ActiveState=active
Result=success
NRestarts=0

Id=dovecot.service
NRestarts=2
ActiveState=active
Result=success
"""


def test_units() -> None:
    units = box.parse_units(UNITS)
    assert set(units) == {"hearth-ddns.service", "dovecot.service"}
    assert units["dovecot.service"]["NRestarts"] == "2"
    assert box.parse_units("") == {}


def test_locks(tmp_path: Path) -> None:
    backup, apt = tmp_path / "backup.lock", tmp_path / "lock-frontend"
    assert box.busy(backup, [apt]) == "", "without the files nobody is at work"
    backup.touch()
    apt.touch()
    assert box.busy(backup, [apt]) == ""
    with backup.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "backup" in box.busy(backup, [apt])
    # As apt does: a lock of fcntl, by another process.
    script = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('had', flush=True)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{script}; time.sleep(30)", apt], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "had\n"
        assert "apt" in box.busy(backup, [apt])
        holder.kill()
    assert box.busy(backup, [apt]) == ""


def test_a_backup_that_hangs_forbids_no_reboot(tmp_path: Path) -> None:
    lock, progress = tmp_path / "backup.lock", tmp_path / "backup.progress"
    lock.touch()
    progress.touch()
    now = time.time()
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def busy(begun: float, said: float) -> str:
            os.utime(lock, (now - begun, now - begun))
            os.utime(progress, (now - said, now - said))
            return box.busy(lock, [], progress)

        assert "backup" in busy(86400, 60), "it works through the night"
        assert "backup" in busy(60, 86400), "the file of a run that was killed; this one has said nothing yet"
        assert busy(3 * 3600, 3 * 3600) == ""
        progress.unlink()
        os.utime(lock, (now - 3 * 3600, now - 3 * 3600))
        assert box.busy(lock, [], progress) == "", "it has never said anything"
        assert not box.backup_runs(lock, progress)
        os.utime(lock, (now, now))
        assert box.backup_runs(lock, progress)
    assert not box.backup_runs(lock, progress)


@pytest.mark.parametrize(("in_days", "level"), [(0, YELLOW), (-30, GREEN), (8, RED), (20, RED)])
def test_a_real_certificate_of_ten_days(pem: Path, in_days: float, level: str) -> None:
    config = Config("mail.hearth.example", certificate=str(pem))
    assert upkeep.check_certificate(config, time.time() + in_days * 86400).level == level


def test_no_certificate(tmp_path: Path) -> None:
    config = Config("mail.hearth.example", certificate=str(tmp_path / "mail.pem"))
    assert "is missing" in upkeep.check_certificate(config, NOW).reason
    (tmp_path / "mail.pem").write_text("rubbish")
    found = upkeep.check_certificate(config, NOW)
    assert (found.level, "no certificate" in found.reason) == (RED, True)


DDNS: dict[str, Any] = {
    "version": 1,
    "published": "abc",
    "ipv4": "198.51.100.10",
    "ipv4_problem": "",
    "last_look": {"seen": "", "at": 0.0, "exit_code": 0, "text": []},
    "last_adoption": {"seen": "", "at": 0.0, "exit_code": 0, "text": []},
}


@pytest.mark.parametrize(
    ("change", "level", "reason"),
    [
        ({}, GREEN, "published, 198.51.100.10"),
        ({"published": None}, RED, "published nothing yet"),
        ({"last_look": {"exit_code": 1, "text": ["ERROR: provider home: refused"]}}, RED, "provider home: refused"),
        ({"last_look": {"exit_code": 0, "text": ["to be entered by hand:"]}}, YELLOW, "by hand"),
        (
            {"last_look": {"exit_code": 0, "text": ["hearth.example at dyn:", "  what was sent last is right, but"]}},
            YELLOW,
            "what was sent last is right",
        ),
        ({"last_adoption": {"exit_code": 3, "text": ["CONFLICT at MX"]}}, RED, "CONFLICT"),
        (
            {
                "withheld": {
                    "hearth.example|a|MX": "a.hearth.example MX: no.",
                    "hearth.example|b|A": "b.hearth.example A: no",
                }
            },
            YELLOW,
            "not written at a.hearth.example MX: no.; and 1 more",
        ),
        ({"ipv4": None, "ipv4_problem": "carrier NAT"}, RED, "carrier NAT"),
        ({"ipv4_problem": "the router is silent"}, YELLOW, "the router is silent"),
    ],
)
def test_the_dns_agent(tmp_path: Path, change: dict[str, Any], level: str, reason: str) -> None:
    state = tmp_path / "ddns.json"
    state.write_text(json.dumps({**DDNS, **change}))
    found = upkeep.check_ddns(box.parse_units(UNITS), state)
    assert found.level == level
    assert reason in found.reason


def test_the_dns_agent_that_does_not_run(tmp_path: Path) -> None:
    state = tmp_path / "ddns.json"
    assert upkeep.check_ddns({}, state).todo == "hearth-ddns apply"
    state.write_text(json.dumps(DDNS))
    dead = box.parse_units(
        UNITS.replace("ActiveState=active\nResult=success", "ActiveState=failed\nResult=watchdog", 1)
    )
    found = upkeep.check_ddns(dead, state)
    assert (found.level, found.unit, found.repair) == (RED, "hearth-ddns.service", (RESTART,))
    assert "watchdog" in found.reason


def at(seconds_ago: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - seconds_ago))


@pytest.mark.parametrize(
    ("state", "level", "reason"),
    [
        ({"last_success": at(600), "error": None}, GREEN, "10 min old"),
        ({"last_success": at(4 * 3600), "error": None}, RED, "4 h old"),
        ({"last_success": at(600), "error": "wrong password"}, RED, "wrong password; the last good one is 10 min old"),
        ({"last_success": at(600), "check_error": "pack 12ab is damaged"}, RED, "pack 12ab"),
        ({"last_success": None}, YELLOW, "none was made yet"),
        (None, YELLOW, "none was made yet"),
    ],
)
def test_backups(tmp_path: Path, state: dict[str, Any] | None, level: str, reason: str) -> None:
    file, fragment = tmp_path / "state.json", tmp_path / "backup.json"
    fragment.touch()
    os.utime(fragment, (NOW - 60, NOW - 60))
    if state is not None:
        file.write_text(json.dumps(state))
    found = upkeep.check_backup(CONFIG, NOW, file, fragment)
    assert found.level == level
    assert reason in found.reason
    os.utime(fragment, (NOW - 86400, NOW - 86400))
    if level == YELLOW:
        assert upkeep.check_backup(CONFIG, NOW, file, fragment).level == RED, "the first one is overdue"


WEEK = 7 * 86400


def judged(tmp_path: Path, state: dict[str, Any], *, set_up: float = 60, running: bool = False) -> Finding:
    """Judge the backups by a state, where they were set up so many seconds ago."""
    file, fragment = tmp_path / "state.json", tmp_path / "backup.json"
    fragment.touch()
    os.utime(fragment, (NOW - set_up, NOW - set_up))
    file.write_text(json.dumps(state))
    return upkeep.check_backup(CONFIG, NOW, file, fragment, running)


@pytest.mark.parametrize(
    ("last_check", "set_up", "level", "reason"),
    [
        (at(WEEK), 60 * WEEK, GREEN, "10 min old"),
        (at(3 * WEEK + 60), 60 * WEEK, YELLOW, "3 weeks ago"),
        (None, 2 * WEEK, GREEN, "10 min old"),
        (None, 4 * WEEK, YELLOW, "has never been checked"),
        (at(-86400), 60 * WEEK, YELLOW, "in the future"),
    ],
)
def test_a_check_that_never_runs(
    tmp_path: Path, last_check: str | None, set_up: float, level: str, reason: str
) -> None:
    found = judged(tmp_path, {"last_success": at(600), "last_check": last_check}, set_up=set_up)
    assert (found.level, reason in found.reason) == (level, True), found
    assert level == GREEN or "hearth-backup-check" in found.todo


def test_a_backup_of_tomorrow_says_nothing_of_today(tmp_path: Path) -> None:
    assert judged(tmp_path, {"last_success": at(-600)}).level == GREEN
    found = judged(tmp_path, {"last_success": at(-2 * 86400)})
    assert (found.level, "in the future" in found.reason) == (YELLOW, True)
    assert "systemctl start hearth-backup" in found.todo


def test_what_somebody_has_to_look_at_is_yellow(tmp_path: Path) -> None:
    found = judged(tmp_path, {"last_success": at(600), "warnings": ["/srv/x is not there", "y"]})
    assert (found.level, found.reason) == (YELLOW, "/srv/x is not there; and 1 more")
    assert found.todo == "hearth-backup status"


def test_a_backup_that_takes_a_night_is_yellow_while_it_runs(tmp_path: Path) -> None:
    first = judged(tmp_path, {"last_success": None}, set_up=86400, running=True)
    assert (first.level, first.reason) == (YELLOW, "none was made yet; one is running now")
    late = {"last_success": at(5 * 3600)}
    assert (judged(tmp_path, late, running=True).level, judged(tmp_path, late).level) == (YELLOW, RED)


def test_a_failed_hour_is_red_and_told_only_when_no_good_backup_followed(tmp_path: Path) -> None:
    once = judged(tmp_path, {"last_success": at(2 * 3600), "error": "cannot be reached"})
    assert (once.level, once.hold > 10**6) == (RED, True)
    late = judged(tmp_path, {"last_success": at(3 * 3600 + 60), "error": "cannot be reached"})
    assert (late.level, late.hold) == (RED, 0)
    never = {"last_success": None, "error": "cannot be reached"}
    assert judged(tmp_path, never).hold > 10**6
    assert judged(tmp_path, never, set_up=86400).hold == 0
    assert judged(tmp_path, {"last_success": at(600), "check_error": "pack 12ab is damaged"}).hold == 0


def test_a_check_that_comes_again_is_no_letter(tmp_path: Path) -> None:
    found = judged(tmp_path, {"last_success": at(600), "check_error": "cannot be reached", "check_again": True})
    assert (found.level, "cannot be reached" in found.reason) == (YELLOW, True)
