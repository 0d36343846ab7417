"""The normalised `site`: what the roles' defaults read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from . import checks
from .reader import Problem, Reader
from .spec import PREFIXES, SITE, SPECS

# What crypt(3) takes when nothing is said. A user can have any other hash by `password_hash`.
SHA512_ROUNDS = 5000

# The mailbox to which the box writes to itself.
PROBE = "hearth-probe@hearthmail.invalid"

# Gives the crypt(3) form of a password: (password, salt, rounds).
HashPassword = Callable[[str, str, int], str]


def examine(variables: Mapping[str, Any]) -> list[Problem]:
    """Name all that is wrong with a site's variables."""
    reader = Reader()
    _read(variables, reader)
    return reader.problems


def build(variables: Mapping[str, Any], hash_password: HashPassword) -> dict[str, Any]:
    """Make the model from a site's variables.

    :raises ValueError: with all problems, if there are any.
    """
    reader = Reader()
    site = _read(variables, reader)
    if reader.problems:
        raise ValueError("\n".join(map(str, reader.problems)))
    domains = _domains(site)
    users = [_user(user, hash_password) for user in site["mail_users"]]
    aliases = _aliases(site)
    return {
        "hostname": site["mail_hostname"] or f"mail.{domains[0]['name']}",
        "domains": domains,
        "dns_providers": site["dns_providers"],
        **_dns_needs(site["dns_providers"], {domain["dns"] for domain in domains}),
        "users": sorted(users, key=_by_address),
        "aliases": [{"address": address, "targets": targets} for address, targets in sorted(aliases.items())],
        "senders": _senders([user["address"] for user in users], aliases),
        "outbound": site["mail_outbound"],
        "relay": _relay(site["mail_relay"]),
        "access": site["mail_access"],
        "lan_networks": site["mail_lan_networks"],
        "message_size_limit": site["mail_message_size_limit"],
        "admin": users[0]["address"],
        "backup": _backup(site),
        "kit": {"reminder": site["kit_reminder"], "files": list(site["kit_files"])},
        "probe": _probe(users[0]["password_hash"], hash_password),
    }


def salt(address: str) -> str:
    """Give the salt of a user's hash: 16 characters that follow from the address alone.

    The same at every run, so that an unchanged password changes nothing on the box; another one for every user, so that
    two users with one password differ. It must not follow from the password: it stands in the hash for all to read,
    and a guesser could try passwords against it at the price of one SHA-256 instead of 5,000 rounds.
    """
    digest = hashlib.sha256(f"hearthmail salt of {address}".encode()).digest()
    return base64.b64encode(digest, altchars=b"./")[:16].decode()


def _read(variables: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    ours = {name: value for name, value in variables.items() if str(name).startswith(PREFIXES)}
    site = reader.keys(SITE, ours, prefix="", who="", inner_who="")
    checks.check(site, reader)
    return site


def _by_address(entry: Mapping[str, Any]) -> str:
    return str(entry["address"])


def _domains(site: Mapping[str, Any]) -> list[dict[str, Any]]:
    only = next(iter(site["dns_providers"]), None)
    return [{**domain, "dns": domain["dns"] or only} for domain in site["mail_domains"]]


def _dns_needs(providers: Mapping[str, Any], used: Collection[str]) -> dict[str, Any]:
    """Name what the box must have for the DNS providers that a domain lies at: Debian packages, a Python."""
    types = {name: SPECS[entry["type"]] for name, entry in sorted(providers.items()) if name in used}
    return {
        "dns_packages": sorted({package for spec in types.values() for package in spec.debian_packages}),
        "dns_pythons": [
            {"entry": name, "type": spec.type, "python": ".".join(map(str, spec.min_python))}
            for name, spec in types.items()
        ],
    }


def _user(user: Mapping[str, Any], hash_password: HashPassword) -> dict[str, Any]:
    address = user["address"]
    local, _, domain = address.rpartition("@")
    hashed = user["password_hash"]
    if hashed is None:
        hashed = f"{{CRYPT}}{hash_password(user['password'], salt(address), SHA512_ROUNDS)}"
    return {"address": address, "local": local, "domain": domain, "password_hash": hashed, "quota": user["quota"]}


def _aliases(site: Mapping[str, Any]) -> dict[str, list[str]]:
    users = {user["address"] for user in site["mail_users"]}
    admin = site["mail_users"][0]["address"]
    aliases = {address: list(dict.fromkeys(targets)) for _, _, address, targets in checks.alias_sources(site)}
    for address in checks.role_addresses(site):
        if address not in users:
            aliases.setdefault(address, [admin])
    return aliases


def _senders(users: list[str], aliases: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Say who may send as whom: users as themselves, and as each alias that leads to them."""
    known = set(users)
    logins = {user: {user} for user in users}
    for alias in aliases:
        if reached := checks.recipients(alias, aliases, known) & known:
            logins[alias] = reached
    return [{"address": address, "logins": sorted(found)} for address, found in sorted(logins.items())]


def _probe(secret: str, hash_password: HashPassword) -> dict[str, str]:
    """Make the mailbox to which the box writes to itself.

    Its domain is none of the world (RFC 6761 6.4), so that it takes no name in one of the site's domains. The password
    follows from a secret that the site has already, the admin's hash: the same at every run and on a new box, and
    nothing more for a person to write down. Dovecot takes it only from the box itself.
    """
    password = hashlib.sha256(f"hearthmail probe {secret}".encode()).hexdigest()
    hashed = f"{{CRYPT}}{hash_password(password, salt(PROBE), SHA512_ROUNDS)}"
    return {"address": PROBE, "password": password, "password_hash": hashed}


def _relay(relay: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if relay is None:
        return None
    # RFC 8314 3.3: on 465 TLS comes first, on any other port by STARTTLS.
    return {**relay, "tls": "wrapper" if relay["port"] == 465 else "starttls"}


# Seconds between two backups.
_INTERVALS = {"hourly": 3600, "daily": 86400}


def _backup(site: Mapping[str, Any]) -> dict[str, Any] | None:
    repository = site["backup_repository"]
    if repository is None:
        return None
    removed_by = site["backup_removed_by"] or ("box" if repository.startswith("/") else "elsewhere")
    return {
        "repository": repository,
        "password": site["backup_password"],
        "schedule": site["backup_schedule"],
        "interval": _INTERVALS[site["backup_schedule"]],
        "keep": site["backup_keep"],
        "forget": removed_by == "box",
        "environment": site["backup_environment"],
        "ssh_key": site["backup_ssh_key"],
        "ssh_host_keys": list(site["backup_ssh_host_keys"]),
    }
