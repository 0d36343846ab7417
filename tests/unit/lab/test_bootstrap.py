"""What `make` installs on a fresh machine, and what it says when it cannot.

apt and Python are stand-ins here, which write down what they were asked.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
PYTHONS = ("python3", "python3.12", "python3.13", "python3.14")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run tools/bootstrap.sh in a clone of its own."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "src").mkdir()
    for name in (
        "tools/bootstrap.sh",
        "requirements.txt",
        "requirements-route53.txt",
        "src/requirements-agent-python313.txt",
    ):
        shutil.copy(PROJECT / name, tmp_path / name)
    stubs = tmp_path / "stubs"
    stubs.mkdir()

    def stub(name: str, body: str) -> None:
        (stubs / name).write_text(f'#!/bin/bash\necho "{name} $*" >>{tmp_path}/asked\n{body}\n')
        (stubs / name).chmod(0o755)

    def bootstrap(*words: str, installed: bool, python: str = "exit 1") -> subprocess.CompletedProcess[str]:
        stub("dpkg-query", "echo installed" if installed else "exit 1")
        stub("apt-get", "exit 0")
        stub("sudo", 'exec "$@"')
        for name in PYTHONS:
            stub(name, python)
        environment = {"PATH": f"{stubs}:/usr/bin:/bin", "PYENV_ROOT": str(tmp_path), "HOME": str(tmp_path)}
        return subprocess.run(
            [tmp_path / "tools" / "bootstrap.sh", *words], env=environment, capture_output=True, text=True, check=False
        )

    return bootstrap


def asked(tmp_path: Path, program: str) -> list[str]:
    """List what a program was asked."""
    return [line for line in (tmp_path / "asked").read_text().splitlines() if line.startswith(f"{program} ")]


def test_what_is_missing_is_named_and_installed(run: Run, tmp_path: Path) -> None:
    done = run(installed=False)
    assert "== Installing Debian's packages: openssh-client" in done.stdout
    (update, install) = asked(tmp_path, "apt-get")
    assert update == "apt-get update -qq"
    for package in ("podman", "mmdebstrap", "nftables", "gnupg"):
        assert f" {package}" in install


def test_a_real_home_needs_no_containers(run: Run, tmp_path: Path) -> None:
    run("venv", installed=False)
    assert "podman" not in asked(tmp_path, "apt-get")[1]


def test_nothing_is_installed_twice(run: Run, tmp_path: Path) -> None:
    run(installed=True)
    assert asked(tmp_path, "apt-get") == []


# What the old Python does when uv shall be fetched with it: `venv` works, but there is no index; or even that fails.
NO_INDEX = (
    'case "$*" in "-m venv build/uv") mkdir -p build/uv/bin; ln -sf /bin/false build/uv/bin/pip;; *) exit 1;; esac'
)


@pytest.mark.parametrize("python", ["exit 1", NO_INDEX])
def test_no_python_is_said_with_the_way_out(run: Run, python: str) -> None:
    done = run(installed=True, python=python)
    assert done.returncode == 1
    assert "install the package python3.13" in done.stderr
