"""The copy of all mail: made when something changed, and only then."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hearthmail.backup import dovecot, maildir, room, stage, state
from hearthmail.backup.errors import BackupError
from tests.unit.backup.conftest import World

HANAKO, TARO = "hanako@hearth.example", "taro@hearth.example"


def copied(world: World) -> list[str]:
    report = stage.stage_mail(world.box, world.config)
    assert report.failed == {}
    return report.copied


@pytest.mark.parametrize("version", ["2.3.19.1", "2.4.1-4"])
def test_everything_is_copied_once(world: World, version: str) -> None:
    world.versions("0.18", version)
    assert copied(world) == [HANAKO, TARO]
    staged = world.staged(HANAKO)
    assert (staged / "Maildir/cur/two:2,FS").is_file()
    assert (staged / "Maildir/.Work.2026/cur/three:2,S").is_file()
    assert (staged / "sieve/main.sieve").read_text() == "keep;"
    assert (staged / ".dovecot.sieve").readlink() == Path("sieve/main.sieve")
    calls = len(world.calls("doveadm"))
    assert copied(world) == []
    assert len(world.calls("doveadm")) == calls, "an idle mailbox costs no process"
    place = next(call for call in world.calls("doveadm") if HANAKO in call)
    assert place[0] == "backup"
    assert (f"INDEX={staged}/index" in place[-1]) == version.startswith("2.3")


CHANGES: dict[str, Callable[[World], object]] = {
    "delivery": lambda world: world.deliver(HANAKO, "five"),
    "delivery into a folder": lambda world: world.deliver(HANAKO, "five", ".Work.2026"),
    "new to cur": lambda world: (world.home(HANAKO) / "Maildir/new/one").rename(
        world.home(HANAKO) / "Maildir/cur/one:2,"
    ),
    "a flag": lambda world: (world.home(HANAKO) / "Maildir/.Work.2026/cur/three:2,S").rename(
        world.home(HANAKO) / "Maildir/.Work.2026/cur/three:2,FS"
    ),
    "a deletion": lambda world: (world.home(HANAKO) / "Maildir/cur/two:2,FS").unlink(),
    "a new folder": lambda world: (world.home(HANAKO) / "Maildir/.New/cur").mkdir(parents=True),
    "a subscription": lambda world: (world.home(HANAKO) / "Maildir/subscriptions").write_text("Work"),
    "a script": lambda world: (world.home(HANAKO) / "sieve/main.sieve").write_text("discard;"),
    "the active script": lambda world: (world.home(HANAKO) / ".dovecot.sieve").unlink(),
    "the clock went back": lambda world: os.utime(world.home(HANAKO) / "Maildir/cur", (1e9, 1e9)),
    "the copy is gone": lambda world: (world.staged(HANAKO) / "Maildir").rename(world.path / "away"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_makes_a_new_copy(world: World, change: str) -> None:
    copied(world)
    CHANGES[change](world)
    assert copied(world) == [HANAKO]


def test_a_change_within_the_clock_s_grain_is_not_trusted(world: World) -> None:
    copied(world)
    world.deliver(HANAKO, "five")
    assert copied(world) == [HANAKO]
    # The file system's clock may not have moved since: it is looked at once more, until two seconds are over.
    assert copied(world) == [HANAKO]
    report = stage.stage_mail(world.box, world.config, now=lambda: time.time_ns() + 3 * 10**9)
    assert report.copied == [HANAKO]
    assert copied(world) == []


def test_a_change_during_the_copy_makes_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stage.stage_user

    def with_delivery(
        release: tuple[int, int], user: dovecot.User, live: Path, staging: Path, patience: stage.Patience
    ) -> None:
        real(release, user, live, staging, patience)
        world.deliver(user.address, "meanwhile")
        world.age()

    with monkeypatch.context() as patched:
        patched.setattr(stage, "stage_user", with_delivery)
        copied(world)
    os.utime(world.home(TARO) / "Maildir/new")
    assert TARO in copied(world)


def test_a_mailbox_that_changes_is_tried_again(world: World) -> None:
    world.doveadm_fails(**{HANAKO: [2, 2], TARO: [0]})
    assert copied(world) == [HANAKO, TARO]
    assert sum(HANAKO in call for call in world.calls("doveadm")) == 3


def test_a_dovecot_that_starts_anew_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PAUSE", 0)
    world.doveadm_fails(**{HANAKO: ["away", "away", 2, "away"]})
    assert copied(world) == [HANAKO, TARO]
    assert sum(HANAKO in call for call in world.calls("doveadm")) == 5


def test_a_dovecot_that_stays_away_is_waited_for_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by each of a hundred mailboxes after the other."""
    monkeypatch.setattr(stage, "PAUSE", 0.01)
    monkeypatch.setattr(stage, "PATIENCE", 0.05)
    monkeypatch.setattr(stage, "AT_ONCE", 1)
    away: list[int | str] = ["away"] * 1000
    world.doveadm_fails(**{HANAKO: away, TARO: away})
    report = stage.stage_mail(world.box, world.config)
    assert "Connection refused" in report.failed[HANAKO]
    assert list(report.failed) == [HANAKO, TARO]
    assert sum(TARO in call for call in world.calls("doveadm")) == 1


def test_one_that_fails_does_not_keep_the_others(world: World) -> None:
    world.doveadm_fails(**{HANAKO: [75], TARO: [2] * 9})
    report = stage.stage_mail(world.box, world.config)
    assert "failed with 75" in report.failed[HANAKO]
    assert "each of 5" in report.failed[TARO]
    assert sum(TARO in call for call in world.calls("doveadm")) == stage.TRIES
    world.doveadm_fails()
    assert copied(world) == [HANAKO, TARO], "a failed one is not taken for done"


def test_the_copy_of_a_gone_user_goes_only_with_the_mail(world: World) -> None:
    copied(world)
    world.users(HANAKO)
    assert stage.stage_mail(world.box, world.config).removed == []
    assert world.staged(TARO).is_dir()
    stage.remove(world.home(TARO))
    assert stage.stage_mail(world.box, world.config).removed == [TARO]
    assert not world.staged(TARO).exists()
    stage.remove(world.home(HANAKO))
    assert stage.stage_mail(world.box, world.config).removed == []
    assert world.staged(HANAKO).is_dir(), "a user who is in the file keeps the copy"


def test_nothing_is_removed_without_mail_or_users(world: World) -> None:
    copied(world)
    world.box.at("/var/vmail").rename(world.path / "unmounted")
    with pytest.raises(BackupError, match="disk mounted"):
        stage.stage_mail(world.box, world.config)
    world.box.at("/etc/dovecot/users").unlink()
    with pytest.raises(BackupError, match="users is missing"):
        stage.stage_mail(world.box, world.config)
    assert world.staged(HANAKO).is_dir()


def test_an_interrupted_staging_begins_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_all: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "copy_sieve", die)
        with pytest.raises(KeyboardInterrupt):
            stage.stage_mail(world.box, world.config)
    assert set(copied(world)) == {HANAKO, TARO}


@pytest.mark.parametrize("address", ["hanako", "a/b@x.example", "@x.example", "..@x.example", "a@../x"])
def test_addresses_that_are_no_folders(address: str) -> None:
    with pytest.raises(BackupError, match="not an address"):
        dovecot.user(address)


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("INBOX", ""),
        ("Work/2026", ".Work.2026"),
        ("Entwürfe & mehr", ".Entw&APw-rfe &- mehr"),
        # The example of RFC 3501, 5.1.3.
        ("~peter/mail/台北/日本語", ".~peter.mail.&U,BTFw-.&ZeVnLIqe-"),
    ],
)
def test_names_of_folders(name: str, directory: str) -> None:
    assert maildir.folder_directory(name) == directory


def test_counting(world: World) -> None:
    assert maildir.count(world.home(HANAKO) / "Maildir") == 3
    assert not maildir.has_mail(world.home(HANAKO) / "nothing")
    assert dovecot.counted("mailbox\tmessages\nA/INBOX\t12\nA/x y\t3\n") == 15


def test_whose_copy_failed_is_written_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.doveadm_fails(**{TARO: [75]})
    stage.stage_mail(world.box, world.config)
    assert list(state.read(world.box.copies)["failed"]) == [TARO]
    copied(world)
    assert state.read(world.box.copies) == {"failed": {}}

    def die(*_all: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "_stage_mail", die)
        with pytest.raises(KeyboardInterrupt):
            stage.stage_mail(world.box, world.config)
    assert list(state.read(world.box.copies)) == ["all"], "killed: anyone's may have failed"


# Room -------------------------------------------------------------------------------------------------------------


def space(monkeypatch: pytest.MonkeyPatch, *left: int) -> None:
    """Let the disk have so many bytes for copies, one number for each look at it; the last one stays."""
    looks = list(left)
    monkeypatch.setattr(room, "spare", lambda *_all: room.Room(looks.pop(0) if looks[1:] else looks[0], 10**6))


def test_a_disk_without_room_is_not_filled(world: World) -> None:
    world.configure(reserve_bytes=10**18)
    report = stage.stage_mail(world.box, world.config)
    assert set(report.failed) == {HANAKO, TARO}
    assert re.search(r"it needs \d+ KB and \d+ files more, .* may take 0 B", report.failed[HANAKO])
    assert "backup_reserve_percent" in report.failed[HANAKO]
    assert f"mount a larger disk at {world.box.base}" in report.failed[HANAKO]
    assert world.calls("doveadm") == []
    assert not world.staged(HANAKO).exists()


@dataclass
class Disk:
    """What statvfs(3) says of one, by blocks of 4 KiB."""

    f_blocks: int
    f_bavail: int
    f_files: int = 1000
    f_favail: int = 500
    f_frsize: int = 4096


def disk(monkeypatch: pytest.MonkeyPatch, gigabytes: int, free: int, **inodes: int) -> None:
    shown = Disk(gigabytes * 2**18, free * 2**18, **inodes)
    monkeypatch.setattr(os, "statvfs", lambda _path: shown)


def test_a_share_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk(monkeypatch, 40, 30)
    assert room.spare(tmp_path, 5, 0) == room.Room(28 * 2**30, 450)
    assert room.spare(tmp_path, 5, 40 * 2**30).bytes == -10 * 2**30


def test_of_a_large_disk_a_share_is_more_than_mail_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk(monkeypatch, 2000, 90)
    assert room.spare(tmp_path, 5, 0).bytes == 85 * 2**30
    assert room.spare(tmp_path, 5, 20 * 2**30).bytes == 70 * 2**30


def test_files_without_end_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk(monkeypatch, 40, 4, f_files=0, f_favail=0)
    assert str(room.spare(tmp_path, 5, 0)) == "2.1 GB"
    disk(monkeypatch, 40, 4)
    assert str(room.spare(tmp_path, 5, 0)) == "2.1 GB and 450 files"


def test_a_disk_that_compresses_needs_no_more_room_for_the_same(tmp_path: Path) -> None:
    """Its copies have fewer blocks; each would seem to grow by the difference, hour by hour, and be refused at last."""
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    (tmp_path / "two").write_bytes(b"x")
    (tmp_path / "new").mkdir()
    seen = room.used(tmp_path)
    assert seen == room.Room(102_400 + 4096 + 4096, 3)
    os.truncate(tmp_path / "one", 0)
    os.truncate(tmp_path / "one", 100_000)
    assert (tmp_path / "one").stat().st_blocks * 512 < 100_000, "as few blocks as a compressed file"
    assert room.used(tmp_path) == seen


def test_a_folder_that_cannot_be_read_is_told_and_the_others_are_copied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = world.home(HANAKO) / "Maildir/broken"
    broken.mkdir()
    scandir = os.scandir

    def of_a_broken_disk(folder: str | Path) -> object:
        if Path(folder) == broken:
            raise OSError(errno.EIO, "Input/output error", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", of_a_broken_disk)
    report = stage.stage_mail(world.box, world.config)
    assert report.copied == [TARO]
    assert report.failed == {HANAKO: f"[Errno 5] Input/output error: '{broken}'"}


def test_what_fits_is_copied_and_the_largest_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deliver(HANAKO, "large").write_text("x" * 200_000)
    space(monkeypatch, 100_000)
    report = stage.stage_mail(world.box, world.config)
    assert report.copied == [TARO]
    assert list(report.failed) == [HANAKO]
    # It is the growth that counts: the copy that is there was taken before.
    space(monkeypatch, 10**9)
    assert copied(world) == [HANAKO]
    world.deliver(HANAKO, "small")
    space(monkeypatch, 100_000)
    assert copied(world) == [HANAKO]


def test_a_copy_that_takes_no_more_room_is_made_on_a_full_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(world)
    (world.home(HANAKO) / "Maildir/cur/two:2,FS").unlink()
    space(monkeypatch, -1)
    assert copied(world) == [HANAKO]


def test_files_are_counted_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "spare", lambda *_all: room.Room(10**9, 3))
    assert set(stage.stage_mail(world.box, world.config).failed) == {HANAKO, TARO}


def test_a_disk_that_fills_up_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy that broke off goes, as it would keep mail from its room; the next one is not begun."""
    monkeypatch.setattr(stage, "AT_ONCE", 1)
    left = [10**9]
    monkeypatch.setattr(room, "spare", lambda *_all: room.Room(left[0], 10**6))

    def full(
        _release: tuple[int, int], user: dovecot.User, live: Path, staging: Path, _patience: stage.Patience
    ) -> None:
        (staging / user.place / "Maildir/new").mkdir(parents=True, exist_ok=True)
        (staging / user.place / "Maildir/new/half").touch()
        left[0] = -1
        raise BackupError("stage", "doveadm backup: No space left on device", "")

    with monkeypatch.context() as patched:
        patched.setattr(stage, "stage_user", full)
        report = stage.stage_mail(world.box, world.config)
    assert "No space left" in report.failed[HANAKO]
    assert "filled up" in report.failed[TARO]
    assert not world.staged(HANAKO).exists()
    left[0] = 10**9
    copied(world)
    world.deliver(TARO, "five")
    with monkeypatch.context() as patched:
        patched.setattr(stage, "stage_user", full)
        assert list(stage.stage_mail(world.box, world.config).failed) == [TARO]
    assert (world.staged(TARO) / "Maildir/new/four").exists(), "an older copy stays"


# Mail that went away ----------------------------------------------------------------------------------------------


def test_a_mailbox_that_vanished_has_failed_and_its_copy_stays(world: World) -> None:
    """The mail's disk is not mounted: the old copy must not pass for the mail of today."""
    copied(world)
    stage.remove(world.home(TARO))
    report = stage.stage_mail(world.box, world.config)
    assert list(report.failed) == [TARO]
    assert "mounted" in report.failed[TARO]
    assert f"rm -r {world.staged(TARO)}" in report.failed[TARO]
    assert (world.staged(TARO) / "Maildir/new/four").exists()
    stage.remove(world.staged(TARO))
    assert copied(world) == [], "deleted on purpose"


def test_where_a_mailbox_vanished_no_copy_of_former_users_goes(world: World) -> None:
    copied(world)
    world.users(HANAKO)
    stage.remove(world.home(HANAKO))
    stage.remove(world.home(TARO))
    assert stage.stage_mail(world.box, world.config).removed == []
    assert world.staged(TARO).is_dir()


def test_a_mailbox_that_lost_most_of_its_mail_is_told(world: World) -> None:
    """Where a disk was not mounted Dovecot makes an empty Maildir, and the copy becomes equal to it."""
    for number in range(stage.MANY_LOST + 1):
        world.deliver(TARO, f"more{number}")
    copied(world)
    assert "shrunk" not in state.read(world.box.copies)
    stage.remove(world.home(TARO) / "Maildir")
    world.deliver(TARO, "new")
    (world.home(HANAKO) / "Maildir/new/one").unlink()
    report = stage.stage_mail(world.box, world.config)
    assert report.failed == {}
    shrunk = state.read(world.box.copies)["shrunk"]
    assert report.shrunk == shrunk
    assert (list(shrunk), shrunk[TARO]["before"], shrunk[TARO]["now"]) == ([TARO], stage.MANY_LOST + 2, 1)


def test_a_lost_mailbox_is_told_by_the_next_run_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No snapshot may have come of this run, or it was killed while the copy became equal to the emptied mailbox."""
    for number in range(stage.MANY_LOST + 1):
        world.deliver(TARO, f"more{number}")
    copied(world)
    whole = world.home(TARO) / "Maildir"
    whole.rename(world.path / "unmounted")
    world.deliver(TARO, "new")

    def die(*_all: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "copy_sieve", die)
        with pytest.raises(KeyboardInterrupt):
            stage.stage_mail(world.box, world.config)
    world.deliver(TARO, "another")
    copied(world)
    copied(world)
    assert list(state.read(world.box.copies)["shrunk"]) == [TARO]
    stage.remove(whole)
    (world.path / "unmounted").rename(whole)
    copied(world)
    assert "shrunk" not in state.read(world.box.copies), "it came back"


def test_mail_of_nobody_that_has_no_copy_is_told(world: World) -> None:
    """After a rebuild the copy of a user who is no longer in mail_users has been moved to its place."""
    world.deliver("hearth-probe@hearthmail.invalid", "own")
    copied(world)
    world.users(HANAKO)
    assert stage.stage_mail(world.box, world.config).without_user == [], "its last copy is in each backup"
    stage.remove(world.staged(TARO))
    assert stage.stage_mail(world.box, world.config).without_user == [TARO]
    assert state.read(world.box.copies)["without_user"] == [TARO]
