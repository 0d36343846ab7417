"""What belongs to a recovery kit, and whether the last one still fits.

Shared by `tools/kit`, which makes and opens kits, and the reminder at the end of `playbooks/site.yml`.

Files have two names: where they lie on this computer, and what they are called in a kit, where another computer's
folders may be other ones: `project/inventories/home/hosts.yml`, `home/.ssh/id_ed25519` (in the user's home),
`root/etc/hearth/key`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# In the inventory folder; Ansible reads no hidden files there, and git is told to leave these two alone.
VAULT_PASSWORD = ".vault-password"  # noqa: S105  the file's name
NOTE = ".kit.json"
# Left behind by editors and programs: nothing of the site.
_LEFT_BEHIND = ("*.retry", "*.pyc", "*.swp", "*~", "#*#")
_FOLDERS_LEFT_OUT = frozenset({".git", "__pycache__"})


@dataclass(frozen=True)
class Places:
    """The folders of one computer: the clone of the project, and the user's home."""

    project: Path
    home: Path

    def name(self, path: Path) -> str:
        """Give a file's name in a kit. `path` is absolute."""
        # The project usually lies in the home: the inner one first.
        for top, folder in (("project", self.project), ("home", self.home)):
            if path.is_relative_to(folder):
                return f"{top}/{path.relative_to(folder).as_posix()}"
        return f"root{path.as_posix()}"

    def path(self, name: str) -> Path:
        """Give the place of a kit's file on this computer.

        :raises ValueError: the name leads out of where a kit's files belong.
        """
        parts = PurePosixPath(name).parts
        tops = {"project": self.project, "home": self.home, "root": Path("/")}
        if len(parts) < 2 or parts[0] not in tops or ".." in parts:
            raise ValueError(f"{name!r} is no file of a kit")
        return tops[parts[0]].joinpath(*parts[1:])


def inventory_files(inventory: Path) -> list[Path]:
    """List the files of an inventory folder that make the site, sorted."""
    ours = (NOTE, VAULT_PASSWORD)  # or begins so: one that was being written when the power failed
    return sorted(path for path in _files(inventory) if path.parent != inventory or not path.name.startswith(ours))


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in _FOLDERS_LEFT_OUT:
                yield from _files(path)
        elif not any(path.match(pattern) for pattern in _LEFT_BEHIND):
            yield path


def fingerprint(contents: Mapping[str, bytes], salt: bytes) -> str:
    """Give what is the same only for the same files.

    Secrets may stand in a file in clear, and the fingerprint is kept in clear: so it is slow to compute (scrypt,
    RFC 7914, a twentieth of a second), and trying passwords against it is no better than against their hashes.
    """
    whole = hashlib.sha256()
    for name, content in sorted(contents.items()):
        # Lengths first: no two sets of files run together to the same bytes.
        whole.update(f"{len(name.encode())} {len(content)} {name}".encode() + content)
    return hashlib.scrypt(whole.digest(), salt=salt, n=2**14, r=8, p=1, dklen=32).hex()


def note(inventory: Path, places: Places, contents: Mapping[str, bytes], made: str) -> None:
    """Remember in the inventory folder which files are in a kit, and as what.

    :param contents: name in the kit -> content.
    :param made: the day, as YYYY-MM-DD.
    """
    salt = secrets.token_bytes(16)
    top = places.name(inventory) + "/"
    remembered = {
        "made": made,
        "salt": salt.hex(),
        "fingerprint": fingerprint(contents, salt),
        # The inventory's own files are listed anew each time: one more is a change too.
        "elsewhere": sorted(name for name in contents if not name.startswith(top)),
    }
    new = inventory / f"{NOTE}.new"
    new.touch(mode=0o600)
    new.write_text(json.dumps(remembered, indent=2) + "\n", encoding="utf-8")
    new.replace(inventory / NOTE)


def reminder(inventory: Path, home: Path) -> str:
    """Say in one line what is wrong with the site's recovery kit; nothing, if it is current."""
    way_out = f"make kit SITE={inventory.name} (docs/backup.md)"
    places = Places(inventory.parents[1], home)
    try:
        remembered = json.loads((inventory / NOTE).read_text(encoding="utf-8"))
        made, salt, known = remembered["made"], bytes.fromhex(remembered["salt"]), remembered["fingerprint"]
        paths = inventory_files(inventory) + [places.path(name) for name in remembered["elsewhere"]]
    except FileNotFoundError:
        return (
            "There is no recovery kit of this site. Should this computer be lost, so are the inventory, its passwords "
            f"and the key of the backups: {way_out}"
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"Whether the recovery kit is current cannot be told ({inventory / NOTE}: {error}): {way_out}"
    try:
        contents = {places.name(path): path.read_bytes() for path in paths}
    except FileNotFoundError:
        contents = {}  # one that is in the kit is gone
    except OSError as error:
        return f"Whether the recovery kit of {made} is current cannot be told ({error}): {way_out}"
    if fingerprint(contents, salt) == known:
        return ""
    return f"The recovery kit of {made} is out of date: the inventory, its vault or a key has changed since: {way_out}"
