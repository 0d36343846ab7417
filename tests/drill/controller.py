"""Another computer to deploy from: a fresh clone of the project, which has nothing but what a recovery kit brings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]


class ControllerError(AssertionError):
    """A command failed there; the text has its output."""


def _environment(**variables: str) -> dict[str, str]:
    # What Ansible takes from the environment would be this computer's.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "HEARTH_KIT_"))}
    return {**kept, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", **variables}


def _run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=_environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise ControllerError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
        )
    return done


def _tools(folder: Path) -> str:
    return str(folder / ".venv" / "bin")


def make_kit(site: str, passphrase: str, to: Path, folder: Path = PROJECT) -> Path:
    """Make a kit of a site of a clone, as its owner would, and give its path. `to` is a folder."""
    command = [sys.executable, "-m", "tools.kit", "make", site, "--to", str(to)]
    _run(command, folder, HEARTH_KIT_PASSPHRASE=passphrase)
    kits = sorted(to.glob(f"{site}-*.tar.gpg"))
    if len(kits) != 1:
        raise ControllerError(f"{to} has these kits: {kits}")
    return kits[0]


@dataclass(frozen=True)
class Controller:
    """A clone of the project in a folder of its own."""

    folder: Path

    @classmethod
    def fresh(cls, folder: Path, without: str = "") -> Controller:
        """Clone this project, with what is in no commit yet, into a new folder. The tools (.venv) are shared.

        A short path: SSH's sockets lie below it (108 characters at most).

        :param without: a site whose inventory is left out: that of a real home is in no clone either.
        """
        _run(["git", "clone", "--quiet", str(PROJECT), str(folder)], PROJECT)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in _run(listed, PROJECT).stdout.split("\0"):
            source, target = PROJECT / name, folder / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
            elif name and not source.is_symlink():
                target.unlink(missing_ok=True)
        if without:
            shutil.rmtree(folder / "inventories" / without)
        (folder / ".venv").unlink(missing_ok=True)
        (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
        return cls(folder)

    def open_kit(self, kit: Path, passphrase: str) -> str:
        """Open a kit in this clone, and give what is told then."""
        command = [f"{_tools(self.folder)}/python", "-m", "tools.kit", "open", str(kit)]
        return _run(command, self.folder, HEARTH_KIT_PASSPHRASE=passphrase).stdout

    def _ansible(self, site: str, path: str) -> list[str]:
        command = [f"{_tools(self.folder)}/ansible-playbook", "-i", f"inventories/{site}", path]
        if (self.folder / f"inventories/{site}/.vault-password").exists():
            command += ["--vault-password-file", f"inventories/{site}/.vault-password"]
        return command

    def playbook_killed(self, site: str, path: str, at: str) -> str:
        """Run a playbook, and kill it as soon as a line of its output holds `at`; gives that line.

        :raises ControllerError: it ended before.
        """
        # Without a buffer: the line has to be seen when it is written.
        run = subprocess.Popen(
            self._ansible(site, path),
            cwd=self.folder,
            env=_environment(PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said = []
        with run:
            for line in run.stdout or ():
                said.append(line)
                if at in line:
                    os.killpg(run.pid, signal.SIGKILL)
                    return line.strip()
        raise ControllerError(f"{path} ended with {run.returncode} and did not say {at!r}:\n{''.join(said)[-6000:]}")

    def playbook(
        self, site: str, path: str, *options: str, extra: dict[str, Any] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook on a site, as it would be typed here after the kit was opened.

        :raises ControllerError: it failed.
        """
        command = [*self._ansible(site, path), *options]
        if extra:
            command += ["--extra-vars", json.dumps(extra)]
        return _run(command, self.folder)
