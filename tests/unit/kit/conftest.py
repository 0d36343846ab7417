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


@dataclass(frozen=True)
class Made:
    """A kit, and the computer where it was made."""

    owner: Computer
    kit: Path


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clone the project once."""
    return Controller.fresh(tmp_path_factory.mktemp("kit") / "clone").folder


@pytest.fixture
def computer(fresh: Path, tmp_path: Path) -> Callable[[str], Computer]:
    """Give computers by name."""

    def make(name: str) -> Computer:
        return another(Computer(fresh, fresh.parent / "nobody"), tmp_path / name)

    return make


def copy(source: str, target: str) -> None:
    """Copy a file; git's objects, which nobody ever writes to, are linked."""
    if "/.git/objects/" in source:
        os.link(source, target)
    else:
        shutil.copy(source, target)


def another(computer: Computer, folder: Path) -> Computer:
    """Make a computer like another one."""
    made = Computer(folder / "clone", folder / "user")
    shutil.copytree(computer.project, made.project, symlinks=True, copy_function=copy)
    if computer.home.exists():
        shutil.copytree(computer.home, made.home)
    else:
        made.home.mkdir()
    return made


@pytest.fixture
def owner(first_owner: Computer, tmp_path: Path) -> Computer:
    """Give the computer of a home's owner: the example's site, its vault with the backups' password, an SSH key."""
    return another(first_owner, tmp_path / "owner")


@pytest.fixture(scope="session")
def made(first_owner: Computer, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Give an owner who made a kit, and the kit: to be read only."""
    owner = another(first_owner, tmp_path_factory.mktemp("made") / "owner")
    return Made(owner, owner.make())


@pytest.fixture
def kit(made: Made, tmp_path: Path) -> Path:
    """Give the kit of a home, carried away from the computer where it was made."""
    (tmp_path / "stick").mkdir()
    return shutil.copy(made.kit, tmp_path / "stick" / made.kit.name)


@pytest.fixture(scope="session")
def first_owner(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Computer:
    """Make the computer of which each test's `owner` is a copy."""
    owner = another(Computer(fresh, fresh.parent / "nobody"), tmp_path_factory.mktemp("first"))
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
