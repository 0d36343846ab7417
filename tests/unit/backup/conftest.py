"""A box in a temporary folder, with a restic and a doveadm that behave as documented."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hearthmail.backup import config, state
from hearthmail.backup.cli import main
from hearthmail.backup.config import Box, Config
from hearthmail.backup.progress import Progress
from hearthmail.backup.restic import Restic

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "src"
HOST = "mail.hearth.example"
MAIL = {
    "paths": ["/var/lib/hearthmail/backup/mail"],
    "before": [["hearth-backup", "stage-mail"]],
    "after_restore": [["hearth-backup", "place-mail"]],
}
TLS = {"paths": ["/etc/hearthmail/tls", "/var/lib/hearthmail/ddns.json"]}


class Killed(BaseException):
    """The process dies here."""


@dataclass
class World:
    """The box and its fakes, under the test's hand."""

    path: Path

    @property
    def box(self) -> Box:
        return Box(self.path)

    @property
    def fakes(self) -> Path:
        return self.path / "fakes"

    @property
    def config(self) -> Config:
        return config.load(self.box)

    @property
    def restic(self) -> Restic:
        return Restic(self.box, self.config)

    @property
    def state(self) -> state.State:
        return state.load(self.box.state)

    @property
    def quiet(self) -> Progress:
        return Progress("test", active=False)

    def configure(self, **changed: Any) -> None:
        data = {
            "repository": str(self.path / "repository"),
            "password_file": "/etc/hearthmail/backup.password",
            "hostname": HOST,
            # However full the machine is on which the tests run.
            "reserve_percent": 0,
            **changed,
        }
        self.write("/etc/hearthmail/backup.json", json.dumps(data))

    def write(self, path: str, text: str) -> Path:
        target = self.box.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def fragment(self, name: str, data: Any) -> None:
        self.write(f"/etc/hearthmail/backup.d/{name}.json", json.dumps(data))

    def users(self, *addresses: str) -> None:
        self.write("/etc/dovecot/users", "# ours\n" + "".join(f"{one}:{{SHA512-CRYPT}}x::::::\n" for one in addresses))

    def home(self, address: str) -> Path:
        local, domain = address.split("@")
        return self.box.at(f"/var/vmail/{domain}/{local}")

    def staged(self, address: str) -> Path:
        local, domain = address.split("@")
        return self.box.staging / domain / local

    def deliver(self, address: str, name: str, folder: str = "", flags: str | None = None) -> Path:
        base = self.home(address) / "Maildir" / folder
        for part in ("cur", "new", "tmp"):
            (base / part).mkdir(parents=True, exist_ok=True)
        target = base / "new" / name if flags is None else base / "cur" / f"{name}:2,{flags}"
        target.write_text(f"Message-ID: <{name}@x>\n\nhello\n")
        (self.home(address) / "Maildir" / "dovecot-uidlist").write_text(f"3 V1 N9 G0 {name}\n")
        return target

    def age(self) -> None:
        """Let all that is there be old: the clock's margin is over."""
        old = time.time() - 100
        for path in self.box.at("/var/vmail").rglob("*"):
            os.utime(path, (old, old), follow_symlinks=False)

    def versions(self, restic: str, dovecot: str) -> None:
        (self.fakes / "restic.version").write_text(restic)
        (self.fakes / "dovecot.version").write_text(dovecot)

    def restic_fails(self, **how: Any) -> None:
        (self.fakes / "restic.fail").write_text(json.dumps(how))

    def restic_works(self) -> None:
        (self.fakes / "restic.fail").unlink(missing_ok=True)

    def doveadm_fails(self, **codes: list[int | str]) -> None:
        (self.fakes / "doveadm.fail").write_text(json.dumps(codes))

    def calls(self, program: str) -> list[list[str]]:
        log = self.fakes / f"{program}.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def run(self, *argv: str) -> int:
        return main(list(argv), self.box)

    def mail(self) -> dict[str, str]:
        """All messages and lists of UIDs that users see, with their text."""
        root = self.box.at("/var/vmail")
        return {
            str(path.relative_to(root)): path.read_text()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def begin(folder: Path) -> str:
    """Begin a program of modules in a folder; started a thousand times, so without `site`, and compiled once."""
    return (
        f"#!{sys.executable} -IS\nimport sys\nsys.pycache_prefix = {os.environ['PYTHONPYCACHEPREFIX']!r}\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
    )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A box with two users, keys, and nothing in the repository."""
    made = World(tmp_path / "box")
    made.fakes.mkdir(parents=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("restic", "doveadm"):
        script(programs / name, f"{begin(HERE)}import fake_{name}\nfake_{name}.main()\n")
    script(programs / "dovecot", '#!/bin/sh\necho "$(cat "$FAKES/dovecot.version") (abc)"\n')
    script(
        programs / "hearth-backup",
        f"{begin(SOURCES)}from pathlib import Path\n"
        "from hearthmail.backup.cli import main\nfrom hearthmail.backup.config import Box\n"
        f"sys.exit(main(sys.argv[1:], Box(Path({str(made.path)!r}))))\n",
    )
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKES", str(made.fakes))
    # Waiting for the whole machine's disks shows nothing here.
    monkeypatch.setattr(os, "sync", lambda: None)
    made.versions("0.18", "2.4.1-4")
    made.configure()
    made.write("/etc/hearthmail/backup.password", "secret-of-the-repository")
    made.fragment("dovecot", MAIL)
    made.fragment("tls", TLS)
    made.write("/etc/hearthmail/tls/mail.pem", "the key").chmod(0o600)
    made.write("/var/lib/hearthmail/ddns.json", "{}")
    made.users("hanako@hearth.example", "taro@hearth.example")
    made.deliver("hanako@hearth.example", "one")
    made.deliver("hanako@hearth.example", "two", flags="FS")
    made.deliver("hanako@hearth.example", "three", ".Work.2026", "S")
    made.deliver("taro@hearth.example", "four")
    sieve = made.home("hanako@hearth.example") / "sieve"
    sieve.mkdir()
    (sieve / "main.sieve").write_text("keep;")
    (made.home("hanako@hearth.example") / ".dovecot.sieve").symlink_to("sieve/main.sieve")
    made.age()
    # `main` installs its own, and the tests are one process.
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)
