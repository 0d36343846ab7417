"""A bare box deploys itself, as a Raspberry Pi without another computer would: the same playbook, the same result."""

from __future__ import annotations

import hashlib
import importlib
import platform
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.flow import lab

# In place of inventories/lab/hosts.yml; the variables stay those of the lab.
HOSTS = "all: {children: {home: {hosts: {hearth-home: {ansible_connection: local, ansible_become: true}}}}}\n"
FOLDER = "/root/hearthmail"
COLLECTIONS = ("community/general", "ansible/posix")


def needed(*names: str) -> dict[str, str]:
    """List packages and what they need, in the versions that are tested here."""
    found: dict[str, str] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # for other systems or Pythons
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name.lower())
    return found


def libraries() -> Path:
    """Fetch Ansible for the box's Python, once for each set of versions: the box itself needs no pip."""
    # shiv only tells its version to tools/build_agent.py: the agent was built where these tests run.
    versions = {**needed("ansible-core", "idna"), "shiv": metadata.version("shiv")}
    pins = [f"{name}=={version}" for name, version in sorted(versions.items())]
    folder = lab.BUILD / f"self-deploy-{hashlib.sha256(' '.join(pins).encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        machine = platform.machine()
        platforms = [f"--platform=manylinux{age}_{machine}" for age in ("2014", "_2_17", "_2_28", "_2_34")]
        options = ["--no-deps", "--only-binary=:all:", "--python-version=3.13", "--implementation=cp", *platforms]
        with tempfile.TemporaryDirectory(dir=lab.BUILD) as scratch:
            target = Path(scratch) / "lib"
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), *options, *pins],
                check=True,
            )
            target.rename(folder)
    return folder


def packed(archive: Path) -> None:
    """Put the project, Ansible and its collections into one file."""

    def lean(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = entry.name.split("/")
        skip = {"__pycache__", "tests", "docs", "changelogs", ".git", ".venv"} & set(parts)
        entry.uid = entry.gid = 0
        return None if skip else entry

    collections = Path(importlib.import_module("ansible_collections").__path__[0])
    with tarfile.open(archive, "w") as tar:
        for name in ("ansible.cfg", "inventories", "playbooks", "roles", "plugins", "src", "tools", "pyproject.toml"):
            tar.add(lab.PROJECT / name, name, filter=lean)
        for name in ("hearth-ddns", "hearth-probe", "hearth-backup", "agent", "lab/trust-anchor.ds"):
            tar.add(lab.BUILD / name, f"build/{name}", filter=lean)
        tar.add(libraries(), "lib", filter=lean)
        for name in COLLECTIONS:
            tar.add(collections / name, f"lib/ansible_collections/{name}", filter=lean)


# The last test of all: it takes the box, and all mail on it, away. The scenario `hang` needs a disk that can be full.
@pytest.mark.release("trixie")
@pytest.mark.timeout(900)
def test_a_bare_box_deploys_itself() -> None:
    lab.settle_dns()
    lab.playbook("molecule/shared/home.yml", extra={"lab_home_disk": 1024})
    lab.forget()
    lab.run("hearth-home", "mkdir", FOLDER)
    with tempfile.TemporaryFile(dir=lab.BUILD) as archive:
        packed(Path(f"/proc/self/fd/{archive.fileno()}"))
        archive.seek(0)
        subprocess.run(
            [*lab.entering("hearth-home"), "tar", "-x", "-C", FOLDER], stdin=archive, check=True, timeout=120
        )
    lab.run("hearth-home", "tee", f"{FOLDER}/inventories/lab/hosts.yml", stdin=HOSTS)
    environment = [
        f"PYTHONPATH={FOLDER}/lib",
        f"ANSIBLE_COLLECTIONS_PATH={FOLDER}/lib",
        "ANSIBLE_NOCOLOR=1",
        "LC_ALL=C.UTF-8",
    ]
    command = ["/usr/bin/python3", "-m", "ansible", "playbook", "-i", "inventories/lab", "playbooks/site.yml"]
    done = lab.run("hearth-home", "env", "-C", FOLDER, *environment, *command)
    lab.run("hearth-home", "rm", "-rf", FOLDER)
    assert lab.recap(done)["failed"] == 0, done.stdout[-6000:]
    # The same result: another computer that deploys it now finds nothing to do.
    counts = lab.recap(lab.playbook("playbooks/site.yml"))
    assert (counts["changed"], counts["failed"]) == (0, 0)
    lab.wait_for_mail(lab.HANAKO, lab.submit_at_peer(lab.message(lab.ALICE, lab.HANAKO)), timeout=60)
    lab.wait_for_mail(lab.ALICE, lab.submit(lab.message(lab.HANAKO, lab.ALICE), "hearth-roamer"), timeout=60)
