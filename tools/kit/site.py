"""What Ansible makes of an inventory. The one part of the kit that knows Ansible; it runs on this computer alone."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret, get_file_vault_secret
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from .errors import KitError

sys.path.append(str(Path(__file__).resolve().parents[2] / "plugins" / "module_utils"))

from hearthmail_kit import VAULT_PASSWORD
from hearthmail_site import build
from hearthmail_site.rendering import hash_password, render_site

ENCRYPTED = b"$ANSIBLE_VAULT;"
_KEY_VARIABLES = ("ansible_ssh_private_key_file", "ansible_private_key_file")


@dataclass
class Host:
    """How Ansible reaches a box.

    :param address: its name or address; empty, if the box deploys itself.
    :param key: the private key that the inventory names, if it does.
    """

    name: str
    address: str
    user: str
    key: Path | None


@dataclass
class Site:
    """What a kit has to know of a site.

    :param read: files that its variables read, anywhere on this computer.
    :param backups: backups are made of it.
    """

    hosts: list[Host] = field(default_factory=list)
    read: set[Path] = field(default_factory=set)
    backups: bool = False


class _Watching(DataLoader):  # type: ignore[misc]  # Ansible has no types
    """Reads files for Ansible, and remembers which ones the templates asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[Path] = set()

    def get_text_file_contents(self, file_name: str, *words: Any, **named: Any) -> Any:
        self.read.add(Path(self.path_dwim(file_name)))
        return super().get_text_file_contents(file_name, *words, **named)

    def get_real_file(self, file_path: str, *words: Any, **named: Any) -> Any:
        self.read.add(Path(self.path_dwim(file_path)))
        return super().get_real_file(file_path, *words, **named)


def is_encrypted(contents: Iterable[bytes]) -> bool:
    """Whether there is a vault among an inventory's files, or a line from one."""
    return any(ENCRYPTED in content for content in contents)


def vault_password(inventory: Path, file: Path | None) -> tuple[bytes, Path] | None:
    """Give the vault's password from where Ansible would take it, and where that is; None: a person knows it.

    That is `file`, or `.vault-password` in the inventory folder, or what ansible.cfg or ANSIBLE_VAULT_PASSWORD_FILE
    names; a program there is run.

    :raises KitError: it cannot be read.
    """
    named = constants.DEFAULT_VAULT_PASSWORD_FILE
    own = inventory / VAULT_PASSWORD
    found = file or (own if own.exists() else None) or (Path(named).expanduser() if named else None)
    if found is None:
        return None
    try:
        secret = get_file_vault_secret(filename=str(found), loader=DataLoader())
        secret.load()
    except AnsibleError as error:
        raise KitError(f"The vault's password cannot be read from {found}: {error.message}") from error
    return bytes(secret.bytes), found


def check_vault_password(files: Mapping[Path, bytes], password: bytes, source: str) -> None:
    """See that a password opens all files that are encrypted as a whole.

    :param source: where the password came from.
    :raises KitError: with the file that it does not open.
    """
    vault = VaultLib([("default", VaultSecret(password))])
    for path, content in files.items():
        if content.startswith(ENCRYPTED):
            try:
                vault.decrypt(content)
            except AnsibleError as error:
                raise KitError(
                    f"The vault password {source} does not open {path}. A kit holds one password: encrypt the others "
                    "anew with it (ansible-vault rekey), or give the right one (--vault-password-file)"
                ) from error


def read(inventory: Path, project: Path, password: bytes | None) -> Site:
    """Let Ansible read a site, as it would to deploy it; no host is asked.

    :param password: of the vault, if there is one.
    :raises KitError: the site could not be deployed as it is; with all mistakes.
    """
    init_plugin_loader()
    loader = _Watching()
    loader.set_basedir(str(project / "playbooks"))
    if password is not None:
        loader.set_vault_secrets([("default", VaultSecret(password))])
    site = Site()
    try:
        hosts = InventoryManager(loader=loader, sources=[str(inventory)])
        variables = VariableManager(loader=loader, inventory=hosts)
        found = {host.name: variables.get_vars(host=host) for host in hosts.get_hosts("home")}
    except AnsibleError as error:
        raise KitError(f"Ansible cannot read {inventory}: {error.message}") from error
    if not found:
        raise KitError(f"{inventory} has no host in the group home: nothing to make a kit of")
    for name, values in found.items():
        template = Templar(loader=loader, variables=values).template
        try:
            model = build(render_site(values, template), hash_password)
        except ValueError as error:
            raise KitError(f"The site could not be deployed as it is, so no kit was made:\n{error}") from error
        site.backups |= model["backup"] is not None
        rendered = dict(_render(values, template))
        site.hosts.append(_host(name, rendered, project))
        site.read |= {_absolute(written, project) for written in model["kit"]["files"]}
    site.read |= loader.read
    site.read |= {host.key for host in site.hosts if host.key}
    return site


def _render(values: Mapping[str, Any], template: Any) -> Iterable[tuple[str, Any]]:
    """Render all variables of a host: what they read on this computer is seen thereby."""
    for name, value in values.items():
        try:
            yield name, template(value)
        except AnsibleError:
            # It needs what only a run knows: facts of the box, the model of the site.
            continue


def _host(name: str, values: Mapping[str, Any], project: Path) -> Host:
    local = values.get("ansible_connection") in ("local", "ansible.builtin.local")
    written = next((str(values[key]) for key in _KEY_VARIABLES if values.get(key)), None)
    return Host(
        name,
        "" if local else str(values.get("ansible_host") or name),
        str(values.get("ansible_user") or ""),
        _absolute(written, project) if written and not local else None,
    )


def _absolute(written: str, project: Path) -> Path:
    """Give a path as ssh and Ansible would find it, when they are started in the project's folder."""
    return project / Path(written).expanduser()
