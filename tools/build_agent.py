"""Make build/hearth-ddns: the DNS agent and its libraries as one file, for a box without pip.

Called by the role ddns on the controller; prints `built` or `up to date`. The same sources give the same file.
The libraries are pure Python, pinned and hashed in src/requirements-agent*.txt, and kept in build/agent/ until the pins
change, so a change of our own code needs no package index.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build"
PROGRAM = BUILD / "hearth-ddns"
# Which sources the program was made from.
STAMP = BUILD / "agent" / "sources"
# Which libraries, and the Python that they are chosen for: the oldest of the boxes, Debian 12's; and what only works on
# the newer one, Debian 13's (hearthmail.ddns.providers refuses it on the other).
REQUIREMENTS = {
    PROJECT / "src" / "requirements-agent.txt": "3.11",
    PROJECT / "src" / "requirements-agent-python313.txt": "3.13",
}
PACKAGE = PROJECT / "src" / "hearthmail"


def digest(paths: list[Path]) -> str:
    """A hash of files, with their names inside the project, and of shiv, which puts them together."""
    sha = hashlib.sha256(version("shiv").encode())
    for path in paths:
        sha.update(f"{path.relative_to(PROJECT)}\0".encode() + path.read_bytes() + b"\0")
    return sha.hexdigest()


def fetch_libraries() -> Path:
    """Install the pinned libraries into a folder of their own, once for each set of pins."""
    folder = BUILD / "agent" / f"libraries-{digest([*REQUIREMENTS, Path(__file__).resolve()])[:16]}"
    if folder.is_dir():
        return folder
    for old in folder.parent.glob("libraries-*"):
        shutil.rmtree(old)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        target = Path(scratch) / "libraries"
        # `any` and `none`: only wheels without compiled parts, which run on every box and every Python of it.
        for requirements, python in REQUIREMENTS.items():
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
                    *("--no-deps", "--require-hashes", "--only-binary=:all:", "--target", str(target)),
                    *("--python-version", python, "--implementation", "py", "--abi", "none", "--platform", "any"),
                    *("--requirement", str(requirements)),
                ],
                check=True,
                stdout=sys.stderr,
            )
            # The commands of the libraries, and the lists that hold their hashes, name this machine's Python.
            shutil.rmtree(target / "bin", ignore_errors=True)
        for record in target.glob("*.dist-info/RECORD"):
            record.unlink()
        target.rename(folder)
    return folder


def build(sources: list[Path]) -> None:
    """Put libraries and sources together."""
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        site = Path(scratch) / "site-packages"
        shutil.copytree(fetch_libraries(), site)
        for path in sources:
            copy = site / path.relative_to(PACKAGE.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        for path in site.rglob("*"):
            # The archive holds the modes too; they must not depend on this machine's umask.
            path.chmod(0o755 if path.is_dir() else 0o644)
        made = Path(scratch) / PROGRAM.name
        subprocess.run(
            [
                *(sys.executable, "-W", "ignore::DeprecationWarning", "-m", "shiv.cli"),
                *("--site-packages", str(site), "--output-file", str(made)),
                *("--entry-point", "hearthmail.ddns.cli:main", "--python", "/usr/bin/python3 -I"),
                *("--root", "/var/cache/hearth-ddns", "--reproducible", "--compile-pyc"),
            ],
            check=True,
            stdout=sys.stderr,
        )
        made.chmod(0o755)
        made.replace(PROGRAM)


def main() -> None:
    """Build it unless it is there already."""
    sources = sorted([*PACKAGE.glob("*.py"), *(PACKAGE / "ddns").rglob("*.py")])
    wanted = digest([*sources, *REQUIREMENTS, Path(__file__).resolve()])
    if PROGRAM.is_file() and STAMP.is_file() and STAMP.read_text(encoding="ascii") == wanted:
        print("up to date")
        return
    STAMP.parent.mkdir(parents=True, exist_ok=True)
    STAMP.unlink(missing_ok=True)
    build(sources)
    STAMP.write_text(wanted, encoding="ascii")
    print("built")


if __name__ == "__main__":
    main()
