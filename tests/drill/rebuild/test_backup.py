"""Backups that are whole while mail moves, and what is said when the place of the backups is not as it should be."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import re
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.drill import faults
from tests.flow import lab
from tests.flow.lab import HANA, TARO

HOME = "hearth-home"
MOVING = 6000
CONFIG, STATE = "/etc/hearthmail/backup.json", "/var/lib/hearthmail/backup/state.json"
PASSWORD = "/etc/hearthmail/backup.password"
# Puts messages into new/, as a delivery does.
FILL = """
import os, pwd, sys
owner, (root, count) = pwd.getpwnam("vmail"), sys.argv[1:]
for n in range(int(count)):
    path = f"{root}/new/{1_700_000_000 + n}.M{n}P1.drill"
    with open(path, "w") as file:
        file.write(f"From: a@b.example\\nMessage-ID: <moving-{n}@drill>\\nSubject: {n}\\n\\n{n}\\n")
    os.chown(path, owner.pw_uid, owner.pw_gid)
"""
# Moves them to cur/ while a backup is at work, as a mail program's look at the folder does, and says when it was done.
MOVE = """
import fcntl, os, sys, time
root, lock = sys.argv[1], open("/run/hearthmail/backup.lock", "a")
while True:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        break
    fcntl.flock(lock, fcntl.LOCK_UN)
    time.sleep(0.005)
names = os.listdir(f"{root}/new")
begin = time.time()
for n, name in enumerate(names):
    os.rename(f"{root}/new/{name}", f"{root}/cur/{name}:2,S")
    if n % 20 == 0:
        time.sleep(0.005)
print(begin, time.time())
"""


def restic(*words: str) -> str:
    """Give the command line of a restic on the box that sees the lab's repository."""
    config = json.loads(lab.path_of(HOME, CONFIG).read_text())
    access = f"RESTIC_REPOSITORY='{config['repository']}' RESTIC_PASSWORD_FILE={config['password_file']}"
    return f"{access} restic {' '.join(words)}"


def in_newest(user: str) -> list[str]:
    """List the Message-IDs of a mailbox as the newest backup holds it, with all its copies."""
    local, _, domain = user.partition("@")
    folder = f"/var/lib/hearthmail/backup/mail/{domain}/{local}/Maildir"
    # The archive goes past `lab.run`, which reads text.
    lab.run(HOME, "sh", "-euc", f"{restic('dump', 'latest', folder)} >/run/drill.tar")
    found = []
    with tarfile.open(fileobj=io.BytesIO(lab.path_of(HOME, "/run/drill.tar").read_bytes())) as archive:
        for member in archive:
            if member.isfile() and re.search(r"/(cur|new)/[^/]+$", member.name):
                text = archive.extractfile(member)
                found += re.findall(rb"(?im)^Message-ID: <([^>]+)>", text.read() if text else b"")
    lab.run(HOME, "rm", "/run/drill.tar")
    return sorted(one.decode() for one in found)


def backup(check: bool = True) -> str:
    """Take a backup by hand, and give all that it says."""
    done = lab.run(HOME, "hearth-backup", "run", check=False)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == check, said
    return said


def remembered() -> dict[str, Any]:
    """Give what the box remembers of its backups."""
    return dict(json.loads(lab.path_of(HOME, STATE).read_text()))


@contextlib.contextmanager
def repository(**changed: Any) -> Iterator[None]:
    """Let the box use another repository for a while; it forgets how that went."""
    files = {path: lab.path_of(HOME, path).read_text() for path in (CONFIG, STATE)}
    config = {**json.loads(files[CONFIG]), **changed}
    lab.path_of(HOME, CONFIG).write_text(json.dumps(config))
    try:
        yield
    finally:
        for path, text in files.items():
            lab.path_of(HOME, path).write_text(text)


def mail_flows() -> None:
    """Send a message to a user of the box, and wait for it."""
    token = lab.submit_at_peer(lab.message(lab.ALICE, TARO))
    lab.wait_for(lambda: lab.count(TARO, token) == 1, 60, "mail coming in")


def said_by_status(words: str) -> None:
    """Look as the probe does: the part `backup` is red, for this reason."""
    checked = lab.run(HOME, "hearth-probe", "check", "--json", check=False)
    (part,) = [one for one in json.loads(checked.stdout)["parts"] if one["part"] == "backup"]
    assert part["level"] == "red", part
    assert words in part["reason"], part


@pytest.fixture(scope="module", autouse=True)
def first() -> None:
    """Begin with a backup."""
    backup()


def test_none_of_6000_messages_that_move_meanwhile_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    root = lab.maildir(HANA)
    with lab.inbox(HANA) as session:
        session.noop()
    lab.run(HOME, "python3", "-c", FILL, root, str(MOVING))
    before = [f"moving-{n}@drill" for n in range(MOVING)]
    try:
        lab.run(HOME, "sh", "-c", f"python3 -c '{MOVE}' {root} >/run/moved 2>&1 &")
        start = time.time()
        backup()
        end = time.time()
        lab.wait_for(lambda: lab.path_of(HOME, "/run/moved").read_text(), 60, "all messages having moved")
        began, moved = map(float, lab.path_of(HOME, "/run/moved").read_text().split())
        with capsys.disabled():
            print(
                f"\nThe backup took {end - start:.1f} s; {MOVING} messages moved from its second "
                f"{began - start:.1f} to {moved - start:.1f}."
            )
        assert start < began < end, "nothing moved during the backup"
        found = [one for one in in_newest(HANA) if one.startswith("moving-")]
        assert sorted(set(found)) == sorted(before)
        # A message that moved may be there under both its names; the restore must not make two of it.
        assert len(found) == MOVING
    finally:
        lab.run(HOME, "sh", "-c", f"find {root} -name '*.drill*' -delete; doveadm force-resync -u {HANA} INBOX")


def test_a_wrong_password_is_said(deployed_password: str) -> None:
    before = remembered()["snapshot"]
    lab.path_of(HOME, PASSWORD).write_text("not-the-password\n")
    said = backup(check=False)
    assert "password" in said, said
    assert "Traceback" not in said
    mail_flows()
    said_by_status("password")
    lab.path_of(HOME, PASSWORD).write_text(deployed_password)
    backup()
    assert remembered()["snapshot"] != before
    assert remembered()["error"] is None


@pytest.fixture
def deployed_password() -> Iterator[str]:
    """Give the password's file as it was deployed, and put it back."""
    path = lab.path_of(HOME, PASSWORD)
    text = path.read_text()
    yield text
    path.write_text(text)


def test_a_place_that_does_not_answer_is_said() -> None:
    lab.run("hearth-backup", "systemctl", "stop", "restic-rest-server")
    try:
        start = time.monotonic()
        said = backup(check=False)
        assert time.monotonic() - start < 60, "it tries for a quarter of an hour"
        assert "backup.isp.example" in said, said
        assert "hearth-secret" not in said, "the login is no part of a message"
        mail_flows()
        said_by_status("cannot be reached")
    finally:
        lab.run("hearth-backup", "systemctl", "start", "restic-rest-server")
    lab.wait_for(lambda: lab.opens(HOME, "backup.isp.example", 8000), 30, "the place of the backups")
    backup()


BY_SFTP, BY_S3 = "SFTP", "S3"
# What serves it at hearth-backup. Swift runs only here.
UNITS = {BY_SFTP: ["ssh"], BY_S3: ["swift@account", "swift@container", "swift@obj", "swift@proxy"]}
S3 = "s3:http://backup.isp.example:8080/hearthmail"
S3_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "hearth:box", "AWS_SECRET_ACCESS_KEY": "hearth-secret"}


class SmallPlace(NamedTuple):
    """A place for backups that is soon full: where its disk is, who serves it, what the box is told, what it says."""

    machine: str
    folder: str
    units: list[str]
    port: int
    config: dict[str, Any]
    said: str = "no room left for the backup"


SMALL = {
    "a disk of the box": SmallPlace(HOME, "/mnt/small", [], 0, {"repository": "/mnt/small/repository"}),
    "a rest-server's disk": SmallPlace(
        "hearth-backup",
        "/srv/rest/hearth/small",
        ["restic-rest-server"],
        8000,
        {"repository": "rest:https://hearth:hearth-secret@backup.isp.example:8000/hearth/small/"},
    ),
    "an S3 server's disk": SmallPlace(
        "hearth-backup",
        "/srv/swift/disk",
        UNITS[BY_S3],
        8080,
        {"repository": S3, "environment": S3_ENVIRONMENT},
        # Swift tells nobody why, not even whether it is worth to ask again.
        "turns us away for now",
    ),
}


@contextlib.contextmanager
def small_disk(place: SmallPlace) -> Iterator[None]:
    """Have a disk of 6 MiB in a folder of a machine, and its server see it."""

    def stop() -> None:
        if place.units:
            lab.run(place.machine, "systemctl", "stop", *place.units)

    def start() -> None:
        if place.units:
            lab.run(place.machine, "systemctl", "start", *place.units)
            lab.wait_for(lambda: lab.opens(HOME, "backup.isp.example", place.port), 30, "the place of the backups")

    # A server has a view of its own of the file systems, as they were when it started, and keeps files open.
    stop()
    script = 'mkdir -p "$0"; mount -t tmpfs -o size=6m tmpfs "$0"; chown --reference="$0/.." "$0"'
    lab.run(place.machine, "sh", "-euc", script, place.folder)
    try:
        start()
        yield
    finally:
        stop()
        lab.run(place.machine, "umount", place.folder)
        start()


# restic tries for a quarter of an hour where a server has no room.
LONG = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    "name",
    [
        "a disk of the box",
        pytest.param("a rest-server's disk", marks=LONG),
        pytest.param("an S3 server's disk", marks=LONG),
    ],
)
def test_a_full_place_is_said(name: str, request: pytest.FixtureRequest) -> None:
    place = SMALL[name]
    if place.units == UNITS[BY_S3]:
        request.getfixturevalue("s3_server")
    with small_disk(place), repository(**place.config, forget=False):
        lab.run(HOME, "hearth-backup", "init")
        mail = lab.message(TARO, TARO)
        mail.add_attachment(os.urandom(8 * 2**20), maintype="application", subtype="octet-stream", filename="large")
        token = lab.submit(mail)
        lab.wait_for_mail(TARO, token)
        said = backup(check=False)
        assert place.said in said, said
        assert "hearth-secret" not in said, "the login is no part of a message"
        mail_flows()
        said_by_status(place.said)


def test_a_lock_of_a_dead_process_holds_up_nobody() -> None:
    # An exclusive one: a check takes it.
    lab.run(HOME, "sh", "-c", f"{restic('check', '--read-data')} >/dev/null 2>&1 & echo $! >/run/check.pid")

    def locked() -> bool:
        return bool(lab.out("hearth-backup", "ls", "/srv/rest/hearth/locks"))

    lab.wait_for(locked, 30, "a lock")
    lab.run(HOME, "pkill", "-KILL", "-x", "restic")
    assert locked(), "the lock has gone with its process"
    backup()
    assert remembered()["error"] is None


def test_a_damaged_pack_is_named_and_healed() -> None:
    place = "/srv/drill-repository"
    with repository(repository=place, forget=True, check_sample="100%"):
        lab.run(HOME, "hearth-backup", "init")
        backup()
        before = in_newest(TARO)
        pack = lab.out(HOME, "sh", "-c", f"ls -S {place}/data/*/* | head -1")
        lab.run(
            HOME, "sh", "-euc", f"chmod u+w {pack}; printf damage | dd of={pack} bs=1 seek=100 conv=notrunc 2>/dev/null"
        )
        checked = lab.run(HOME, "hearth-backup", "check", check=False)
        said = checked.stdout + checked.stderr
        assert checked.returncode == 1
        assert pack.rpartition("/")[2][:8] in said, said
        assert "--repair" in said, "the way out is part of the message"
        said_by_status("damaged")
        mail_flows()
        repaired = lab.run(HOME, "hearth-backup", "check", "--repair", check=False)
        assert repaired.returncode == 0, repaired.stdout + repaired.stderr
        assert lab.run(HOME, "hearth-backup", "check").returncode == 0
        assert remembered()["check_error"] is None
        # What was in the damaged pack is still on the box, so it is in the repository again.
        assert set(before) <= set(in_newest(TARO))
    lab.run(HOME, "rm", "-r", place)


def site_of(way: str) -> dict[str, Any]:
    """Give the site's variables by which backups go that way."""
    if way == BY_S3:
        return {"backup_repository": S3, "backup_environment": S3_ENVIRONMENT}
    keys = lab.BUILD / "lab" / "ssh"
    return {
        "backup_repository": "sftp:hearth@backup.isp.example:hearthmail",
        "backup_ssh_key": (keys / "backup_key").read_text(),
        "backup_ssh_host_keys": [f"backup.isp.example {(keys / 'backup_host_key.pub').read_text().strip()}"],
    }


def snapshots_there(way: str) -> list[str]:
    """List the snapshots as the place itself holds them."""
    if way == BY_SFTP:
        return lab.out("hearth-backup", "ls", "/srv/sftp/hearthmail/snapshots").split()
    # Asked of the server behind S3 that lists what a bucket holds.
    url = "http://127.0.0.1:6201/disk/0/AUTH_hearth/hearthmail?prefix=snapshots/"
    with lab.node("hearth-backup"), urllib.request.urlopen(url, timeout=lab.TIMEOUT) as answer:
        return [name.removeprefix("snapshots/") for name in answer.read().decode().split()]


@pytest.fixture
def s3_server() -> Iterator[None]:
    """Have an object store at the place of the backups."""
    lab.run("hearth-backup", "systemctl", "start", *UNITS[BY_S3])
    yield
    lab.run("hearth-backup", "systemctl", "stop", *UNITS[BY_S3])


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """Deploy the box with the lab's repository again, after others."""
    state = lab.path_of(HOME, STATE).read_text()
    yield
    lab.playbook("playbooks/site.yml", "--tags", "backup")
    lab.path_of(HOME, STATE).write_text(state)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("as_it_was", "s3_server")
def test_a_mailbox_comes_back_by_sftp_and_from_s3() -> None:
    for way in (BY_SFTP, BY_S3):
        lab.playbook("playbooks/site.yml", "--tags", "backup", extra=site_of(way))
        comes_back_by(way)


def comes_back_by(way: str) -> None:
    """Back up a message that way and get it back; then the place does not answer, and that is said."""
    token = lab.submit(lab.message(HANA, TARO))
    lab.wait_for_mail(TARO, token)
    backup()
    at = datetime.datetime.now(tz=datetime.UTC).isoformat()
    assert any(name.startswith(remembered()["snapshot"]) for name in snapshots_there(way))
    into = f"By {way}"
    lab.run(HOME, "hearth-backup", "restore-user", "--user", TARO, "--at", at, "--folder", "INBOX", "--into", into)
    with lab.inbox(TARO, folder=f"{into}/INBOX", readonly=False) as session:
        assert len(lab.found(session, token)) == 1
    with lab.inbox(TARO) as session:
        session.delete_folder(f"{into}/INBOX")
    lab.run("hearth-backup", "systemctl", "stop", *UNITS[way])
    try:
        start = time.monotonic()
        said = backup(check=False)
        assert time.monotonic() - start < 60, "it tries for a quarter of an hour"
        assert "backup.isp.example" in said, said
        mail_flows()
        said_by_status("cannot be reached")
    finally:
        lab.run("hearth-backup", "systemctl", "start", *UNITS[way])


@pytest.mark.usefixtures("s3_server")
def test_a_wrong_key_for_s3_is_said() -> None:
    wrong = {**S3_ENVIRONMENT, "AWS_SECRET_ACCESS_KEY": "another-secret"}
    with repository(repository=S3, environment=wrong):
        start = time.monotonic()
        said = backup(check=False)
        assert time.monotonic() - start < 60, "it tries for a quarter of an hour"
        assert "does not let us in" in said, said
        assert "another-secret" not in said, "the key is no part of a message"
        mail_flows()
        said_by_status("does not let us in")


def test_the_probe_is_content_in_the_end() -> None:
    backup()

    def content() -> bool:
        faults.look()
        found = {part: one for part, one in faults.status().items() if one["level"] != "green"}
        # Only that hana's 6,000 messages have gone again is told, for a day.
        return set(found) <= {"backup"} and all(one["reason"].startswith(HANA) for one in found.values())

    lab.wait_for(content, 180, "the box's status being green")
