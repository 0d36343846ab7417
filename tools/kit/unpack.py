"""Opens a recovery kit in another clone of the project."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hearthmail_kit import VAULT_PASSWORD, Places, inventory_files, note

from . import gpg, version
from .archive import File, unpack
from .errors import KitError
from .make import ABOUT, FORMAT


@dataclass(frozen=True)
class Opened:
    """What came out of a kit.

    :param vault: the file with the vault's password, inside the project; empty, if the site has no vault.
    :param other_commit: the commit that the kit was made with, if this clone is at another one.
    """

    site: str
    made: str
    written: list[Path]
    vault: str
    other_commit: str


def open_kit(kit: Path, passphrase: str, places: Places) -> Opened:
    """Put the files of a kit where they belong on this computer. What is there already must be the same.

    A second run after one that broke off goes on.

    :raises KitError: it cannot be opened, or would write over something; nothing was written then.
    """
    try:
        encrypted = kit.read_bytes()
    except OSError as error:
        raise KitError(f"The kit {kit} cannot be read: {error.strerror}") from error
    files = unpack(gpg.decrypt(encrypted, passphrase))
    about = _about(files)
    name, made = about["site"], about["made"]
    try:
        targets = {one: places.path(one) for one in files if "/" in one}
    except ValueError as error:
        raise KitError(f"This is no recovery kit: {error}") from error
    inventory = places.project / "inventories" / name
    _refuse_to_overwrite(inventory, {targets[one]: files[one] for one in targets}, places)
    written = [path for one, path in targets.items() if _place(path, files[one])]
    vault = f"inventories/{name}/{VAULT_PASSWORD}"
    packed = {one: files[one].content for one in targets if one != f"project/{vault}"}
    try:
        note(inventory, places, packed, made)
    except OSError as error:
        raise KitError(f"{error.filename} cannot be written: {error.strerror}") from error
    here = version.of(places.project, inventory).commit
    return Opened(
        name,
        made,
        written,
        vault if f"project/{vault}" in files else "",
        about["commit"] if about["commit"] != here else "",
    )


def _about(files: Mapping[str, File]) -> dict[str, str]:
    try:
        about = json.loads(files[ABOUT].content)
        if about["format"] != FORMAT:
            raise KitError(
                f"The kit was made by Hearthmail {about['version']} in a form that this version does not know: "
                f"git checkout {about['commit']}, then open it again"
            )
        found = {key: str(about[key]) for key in ("site", "made", "commit")}
    except (KeyError, TypeError, ValueError) as error:
        raise KitError("This is no recovery kit: it opens, but does not say of which site it is") from error
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", found["site"]):
        raise KitError(f"This is no recovery kit: {found['site']!r} is no name of a site")
    return found


def _refuse_to_overwrite(inventory: Path, meant: Mapping[Path, File], places: Places) -> None:
    there = set(inventory_files(inventory)) if inventory.is_dir() else set()
    try:
        other = [path for path, file in meant.items() if path.exists() and path.read_bytes() != file.content]
    except OSError as error:
        raise KitError(
            f"{error.filename} is in the way ({error.strerror}): move it aside, nothing was written"
        ) from error
    foreign = [str(path) for path in other if not path.is_relative_to(places.project)]
    if foreign:
        raise KitError(
            f"On this computer {', '.join(foreign)} is something else than in the kit. Nothing was written. Open "
            "the kit as a user in whose home that is not so, or on another computer"
        )
    # A file more could change what all others mean.
    other += there - meant.keys()
    if other:
        raise KitError(
            "In this clone something else stands than in the kit: "
            f"{', '.join(str(path.relative_to(places.project)) for path in sorted(other))}. Nothing was written. "
            f"Move it aside (mv inventories/{inventory.name} {inventory.name}.old), or open the kit in a fresh clone"
        )


def _place(path: Path, file: File) -> bool:
    """Write a file that is not there yet, for its owner alone; say whether it was missing."""
    if path.exists():
        return False
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        new.touch(mode=0o700 if file.executable else 0o600, exist_ok=False)
        new.write_bytes(file.content)
        new.replace(path)
    except OSError as error:
        raise KitError(
            f"{path} cannot be written ({error.strerror}). Open the kit as a user who may; or take it out by hand "
            "(gpg -d KIT | tar -xf -), put it where you may, and name that place in the inventory"
        ) from error
    return True
