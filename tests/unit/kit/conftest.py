"""A home's site on one computer, and another computer with nothing but a clone of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.drill.controller import Controller
from tools.fill_vault import fill

TOOLS = Path(sys.executable).parent
PASSPHRASE = "stapler heron lattice"
VAULT_PASSWORD = "vault: ä long one"
RESTIC_PASSWORD = "restic-opens-with-this"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAAtest\n-----END OPENSSH PRIVATE KEY-----\n"


@dataclass(frozen=True)
class Computer:
    """A clone of the project, and the home folder of who uses it."""

    project: Path
    home: Path

    @property
    def inventory(self) -> Path:
        return self.project / "inventories" / "home"

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the venv in the clone; nothing comes from this machine's settings."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "HEARTH_"))}
        return subprocess.run(
            [TOOLS / command[0], *command[1:]],
            cwd=self.project,
            env={**kept, "HOME": str(self.home), "ANSIBLE_NOCOLOR": "1", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def kit(self, *words: str, passphrase: str = PASSPHRASE) -> subprocess.CompletedProcess[str]:
        """Make or open a kit."""
        return self.run("python", "-m", "tools.kit", *words, HEARTH_KIT_PASSPHRASE=passphrase)

    def make(self, site: str = "home", *words: str) -> Path:
        """Make a kit, and give its path."""
        vault = ["--vault-password-file", str(self.home / "vault")] if (self.home / "vault").exists() else []
        done = self.kit("make", site, *vault, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        (kit,) = (self.project / "build" / "kit").glob(f"{site}-*.tar.gpg")
        return kit


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clone the project once."""
    return Controller.fresh(tmp_path_factory.mktemp("kit") / "clone").folder


@pytest.fixture
def computer(fresh: Path, tmp_path: Path) -> Callable[[str], Computer]:
    """Give computers by name."""

    def make(name: str) -> Computer:
        shutil.copytree(fresh, tmp_path / name / "clone", symlinks=True)
        (tmp_path / name / "user").mkdir()
        return Computer(tmp_path / name / "clone", tmp_path / name / "user")

    return make


@pytest.fixture
def owner(computer: Callable[[str], Computer]) -> Computer:
    """Give the computer of a home's owner: the example's site, its vault with the backups' password, an SSH key."""
    owner = computer("owner")
    shutil.copytree(owner.project / "inventories" / "example", owner.inventory)
    secrets = owner.inventory / "group_vars" / "all"
    site = (secrets / "site.yml").read_text(encoding="utf-8")
    site = re.sub("^# (backup_repository: /mnt|backup_password)", r"\1", site, flags=re.MULTILINE)
    (secrets / "site.yml").write_text(site, encoding="utf-8")
    hosts = owner.inventory / "hosts.yml"
    text = hosts.read_text(encoding="utf-8")
    named = "ansible_user: admin\n          ansible_ssh_private_key_file: ~/.ssh/mailbox"
    hosts.write_text(text.replace("ansible_user: admin", named), encoding="utf-8")
    (owner.home / ".ssh").mkdir()
    (owner.home / ".ssh" / "mailbox").write_text(KEY, encoding="utf-8")
    (owner.home / "vault").write_text(f"{VAULT_PASSWORD}\n", encoding="utf-8")
    filled = fill((secrets / "vault.example").read_text(encoding="utf-8"))
    vault = secrets / "vault.yml"
    vault.write_text(f"{filled}\nvault_backup_password: {RESTIC_PASSWORD}\n", encoding="utf-8")
    done = owner.run("ansible-vault", "encrypt", "--vault-password-file", str(owner.home / "vault"), str(vault))
    assert done.returncode == 0, done.stderr
    return owner
