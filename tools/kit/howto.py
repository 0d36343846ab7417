"""The page that lies in the kit: what to do on the day when it is needed."""

from __future__ import annotations

from collections.abc import Iterable

from .site import Site
from .version import Version

NAME = "READ-ME-FIRST.txt"


def deploy_command(site: str, vault: str, playbook: str = "rebuild") -> str:
    """Give the command that runs a playbook on a site.

    :param vault: the file with the vault's password; empty, if the site has no vault.
    """
    with_vault = f" --vault-password-file {vault}" if vault else ""
    return f".venv/bin/ansible-playbook -i inventories/{site} playbooks/{playbook}.yml{with_vault}"


def page(name: str, site: Site, version: Version, made: str, kit: str, vault: str, files: Iterable[str]) -> str:
    """Write the page.

    :param name: the site's.
    :param files: the names of the files in the kit.
    :param kit: file name of the kit.
    :param vault: as for `deploy_command`.
    """
    checkout = f" && git checkout {version.commit}" if version.commit else ""
    commit = f", commit {version.commit} ({version.described})" if version.commit else ""
    boxes = "\n".join(
        f"   - {host.name}: "
        + (
            f"SSH at {host.address}" + (f", user {host.user} with sudo" if host.user else "")
            if host.address
            else _LOCAL
        )
        for host in site.hosts
    )
    return f"""Recovery kit of the mail server "{name}", made on {made} with Hearthmail {version.number}{commit}.
Whoever can open it can read all mail and be you. Opened copies: delete them when the server is back.

You need
   - a Debian 12 or 13 with git, make and gnupg (any computer; the new box itself will do)
   - new or wiped hardware with a bare Debian, reachable as the old one was:
{boxes}
   - {_keys(site)}

1. The project, in the version of this kit:
   git clone {version.source or "<where you found Hearthmail>"} hearthmail && cd hearthmail{checkout}

2. Open the kit in it:
   make kit-open KIT=/path/to/{kit}
   By hand, should that fail:
   gpg -d {kit} | tar -xf -
{_copies(files)}

3. Bring the server back (type it again if it breaks off; add -K if sudo asks for a password):
   {"make venv && " + deploy_command(name, vault)}

{_backups(site, name, vault)}
docs/backup.md of the project tells more.
"""


_LOCAL = "the new box deploys itself: do all of this on it"


def _copies(files: Iterable[str]) -> str:
    targets = {"project": "/path/to/hearthmail/", "home": "~/", "root": "/"}
    tops = {name.partition("/")[0] for name in files}
    return "\n".join(f"   cp -a {top}/. {target}" for top, target in targets.items() if top in tops)


def _keys(site: Site) -> str:
    if any(host.key for host in site.hosts):
        return "its user's authorized_keys must have the public half of the SSH key in this kit (ssh-keygen -y -f KEY)"
    return "your own SSH key or password for it; this kit has none (no ansible_ssh_private_key_file in the inventory)"


def _backups(site: Site, name: str, vault: str) -> str:
    if not site.backups:
        return "No backups are made of this site: the server comes back working and empty.\n"
    secrets = f" --vault-password-file {vault}" if vault else ""
    return f"""Only the mail, without the server: restic opens the backups. Where they are, and their password:
   .venv/bin/ansible -i inventories/{name} home{secrets} -m debug \\
     -a 'msg={{{{ [backup_repository, backup_password] }}}}'
"""
