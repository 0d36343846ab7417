"""Which version of the project this is: a rebuild wants the same one."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Version:
    """A version of the project.

    :param number: as in pyproject.toml.
    :param commit: the full hash; empty, if this is no clone.
    :param described: the commit as `git describe` calls it.
    :param source: where the clone came from, without login; empty, if unknown.
    :param changed: there are changes that are in no commit.
    :param elsewhere: the commit is at the clone's source too, as far as this clone knows.
    """

    number: str
    commit: str = ""
    described: str = ""
    source: str = ""
    changed: bool = False
    elsewhere: bool = False


def of(project: Path, inventory: Path) -> Version:
    """Look at a clone. The inventory, which the kit holds, may be changed or unknown to git."""
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    number = str(settings["project"]["version"])
    commit = _git(project, "rev-parse", "HEAD")
    if not commit:
        return Version(number)
    others = ("--", ".", f":(exclude){inventory.relative_to(project).as_posix()}")
    return Version(
        number,
        commit,
        _git(project, "describe", "--tags", "--always"),
        # https://user:token@host/...: the kit needs no more secrets than it has.
        re.sub(r"^([a-z+]+://)[^/@]*@", r"\1", _git(project, "remote", "get-url", "origin")),
        bool(_git(project, "status", "--porcelain", "--untracked-files=no", *others)),
        bool(_git(project, "branch", "--remotes", "--contains", commit)),
    )


def _git(project: Path, *words: str) -> str:
    """Give what git says; nothing, if there is no git, or nothing to say."""
    try:
        done = subprocess.run(["git", "-C", str(project), *words], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
