"""Makes a recovery kit."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hearthmail_kit import VAULT_PASSWORD, Places, inventory_files, note

from . import gpg, howto, passphrase, version
from . import site as sites
from .archive import File, pack, unpack
from .errors import KitError

FORMAT = 1
ABOUT = "kit.json"


@dataclass(frozen=True)
class Made:
    """A kit, and what its owner should know.

    :param warnings: a sentence each: what the kit does not hold.
    """

    path: Path
    files: list[str]
    warnings: list[str] = field(default_factory=list)


def make(
    name: str,
    places: Places,
    folder: Path,
    passphrase_file: Path | None = None,
    vault_password_file: Path | None = None,
    asking: passphrase.Ask = passphrase.ask,
) -> Made:
    """Make a kit of the site in `inventories/<name>`; one of the same day in the same folder gives way.

    :param folder: where the kit is put.
    :param asking: asks a person.
    :raises KitError: nothing was made.
    """
    inventory = places.project / "inventories" / name
    if not inventory.is_dir():
        raise KitError(f"There is no folder inventories/{name}: SITE is the name of a folder there")
    own = {path: _read(path) for path in inventory_files(inventory)}
    password = None
    if sites.is_encrypted(file.content for file in own.values()):
        found = sites.vault_password(inventory, vault_password_file)
        typed = asking(f"Vault password of inventories/{name}: ").strip().encode() if found is None else b""
        password, source = (found[0], f"in {found[1]}") if found else (typed, "that was typed")
        sites.check_vault_password({path: file.content for path, file in own.items()}, password, source)
    site = sites.read(inventory, places.project, password)
    elsewhere = {path: _read(path) for path in sorted(site.read - set(own))}
    files = {places.name(path): file for path, file in (own | elsewhere).items()}
    vault = f"inventories/{name}/{VAULT_PASSWORD}" if password is not None else ""

    made = datetime.datetime.now().astimezone().date().isoformat()
    path = folder / f"{name}-{made}.tar.gpg"
    project = version.of(places.project, inventory)
    about = {"format": FORMAT, "site": name, "made": made, "version": project.number, "commit": project.commit}
    contents = {
        howto.NAME: File(howto.page(name, site, project, made, path.name, vault, files).encode()),
        ABOUT: File(json.dumps(about).encode()),
        **files,
    }
    if password is not None:
        contents[f"project/{vault}"] = File(password + b"\n")
    secret = passphrase.of_new_kit(passphrase_file, asking)
    _write(path, gpg.encrypt(pack(contents), secret), contents, secret)
    try:
        note(inventory, places, {one: file.content for one, file in files.items()}, made)
    except OSError as error:
        raise KitError(
            f"The kit is made ({path}), but {inventory} cannot be written, so you will be reminded of it all the same "
            f"({error.strerror})"
        ) from error
    return Made(path, sorted(contents), list(_warnings(site, project, own, places)))


def _read(path: Path) -> File:
    try:
        return File(path.read_bytes(), os.access(path, os.X_OK))
    except OSError as error:
        raise KitError(f"{path} belongs into the kit, and cannot be read ({error.strerror})") from error


def _write(path: Path, encrypted: bytes, contents: dict[str, File], secret: str) -> None:
    """Write a kit, and give it its name only after it was read from the disk and opened."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(encrypted)
                out.flush()
                os.fsync(out.fileno())
            if unpack(gpg.decrypt(new.read_bytes(), secret)) != contents:
                raise KitError(
                    f"What was written to {new} is not what was meant to be: is the disk well? No kit was made"
                )
            new.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                new.unlink()
    except OSError as error:
        raise KitError(f"The kit cannot be written to {path}: {error.strerror}") from error


def _warnings(site: sites.Site, project: version.Version, own: dict[Path, File], places: Places) -> Iterator[str]:
    if not site.backups:
        yield "No backups are made of this site (backup_repository): a rebuild gives a working, empty server."
    if any(host.address and not host.key for host in site.hosts):
        yield (
            "The inventory names no ansible_ssh_private_key_file, so no SSH key is in the kit: the new box must let "
            "you in by another one, or by a password."
        )
    if not project.commit:
        yield "This is no git clone: keep a copy of the project too, of exactly this version."
    elif project.changed:
        yield f"The project has changes that are in no commit: a rebuild will have {project.described} without them."
    elif not project.elsewhere:
        yield f"Commit {project.described} is nowhere but in this clone, as far as it knows: push it."
    home = str(places.home).encode() + b"/"
    for path, file in own.items():
        if not sites.is_encrypted([file.content]) and home in file.content:
            yield (
                f"{path.relative_to(places.project)} names {places.home}/..., where another computer may have no such "
                "folder: write ~/... instead."
            )
