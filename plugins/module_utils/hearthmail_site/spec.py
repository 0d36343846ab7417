"""Every variable and key of a site, with its default and its explanation.

`docs/site-variables.md` is made from this file by `tools/site_docs.py`. A new variable is one entry of `VARIABLES`;
what it must be together with others is checked in `checks.py`, and what the roles read of it is made in `model.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import values
from .values import Kind

# What the agent knows of the DNS providers; it lies beside the plugins, and needs no library for this.
sys.path.append(str(Path(__file__).resolve().parents[3] / "src"))
from hearthmail.ddns.errors import ConfigError as ConfigError  # checks.py needs it
from hearthmail.ddns.providers import SPECS as SPECS  # and model.py these
from hearthmail.ddns.providers.spec import Option


class Required:
    """In place of a default: the value cannot be left out."""


REQUIRED = Required()


@dataclass(frozen=True)
class Key:
    """A key of an entry.

    :param default: as a person would write it, or `REQUIRED`; None: nothing.
    :param default_text: the default in words, where it follows from something else.
    """

    name: str
    shape: Shape
    doc: str
    example: str
    default: Any = None
    default_text: str = ""


@dataclass(frozen=True)
class Entry:
    """Keys and their values.

    :param label: the key whose value names the entry in messages.
    :param later: keys that are planned, and what they are for.
    :param renamed: old name of a key -> its name now.
    :param further: a regular expression for names of further keys; each is a secret.
    """

    keys: tuple[Key, ...]
    label: str = ""
    later: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    further: str = ""


@dataclass(frozen=True)
class TypedEntry:
    """An entry whose key `type` says which other keys it has; `common` are those of every type.

    :param further: for each type that has some, a regular expression for names of further keys; each is a secret.
    """

    types: Mapping[str, tuple[Key, ...]]
    common: tuple[Key, ...] = ()
    further: Mapping[str, str] = field(default_factory=dict)

    def entry(self, type_: str) -> Entry:
        """Give the keys of one type."""
        kind = Key("type", values.choice(*sorted(self.types)), "", type_, REQUIRED)
        return Entry((kind, *self.types[type_], *self.common), further=self.further.get(type_, ""))


@dataclass(frozen=True)
class ListOf:
    """A list; `lone` takes a single value in place of a list of one."""

    item: Shape
    lone: bool = False


@dataclass(frozen=True)
class MapOf:
    """Names chosen by the person, each with a value."""

    name: Kind
    item: Shape


Shape = Kind | Entry | TypedEntry | ListOf | MapOf


@dataclass(frozen=True)
class Variable(Key):
    """A variable of the site: a key at the top."""


_PROVIDER_KINDS: dict[str, Shape] = {
    "text": values.TEXT,
    "url": values.URL,
    "address": values.WEB_ADDRESS,
    "host": values.NAME_SERVER,
    "port": values.PORT,
    "seconds": values.seconds(1, 120),
    "count": values.COUNT,
    "yes_no": values.YES_NO,
    "names": ListOf(values.DOMAIN, lone=True),
}


def _provider_key(option: Option) -> Key:
    """Give a key of `dns_providers` as the agent describes it."""
    kind: Shape
    if option.secret:
        kind = values.SECRET
    elif option.kind == "choice":
        kind = values.choice(*option.choices)
    elif option.kind == "choices":
        kind = ListOf(values.choice(*option.choices), lone=True)
    else:
        kind = _PROVIDER_KINDS[option.kind]
    example = f'"{option.example}"' if option.example.startswith("{{") else option.example
    default = REQUIRED if option.required else option.default
    written = f"`{str(default).lower()}`" if isinstance(default, bool) else ""
    if isinstance(default, tuple):
        written = f"`[{', '.join(default)}]`"
    return Key(option.name, kind, option.meaning, example, default, written)


PROVIDERS = TypedEntry(
    types={
        name: tuple(_provider_key(option) for option in provider.options) for name, provider in sorted(SPECS.items())
    },
    further={name: provider.further for name, provider in SPECS.items() if provider.further},
    common=(
        Key(
            "nameservers",
            ListOf(values.NAME_SERVER),
            "Servers to compare with, where those that the zone's NS records name are not the ones that are written.",
            "[ns1.provider.example]",
            (),
            "those of the zone's NS records",
        ),
        Key(
            "min_ttl",
            values.seconds(0, 86400),
            "The smallest TTL that the provider takes, in seconds, if it is more than docs/dns.md says of its type.",
            "600",
            0,
            "that of the type",
        ),
        Key(
            "daily_writes",
            values.COUNT,
            "How many writes of address and mail records in 24 hours the provider takes; `0`: as many as there are.",
            "300",
            None,
            "that of the type",
        ),
    ),
)

_ACCESS = values.choice("lan", "vpn", "world")


def _access(name: str, what: str, default: str) -> Key:
    return Key(name, _ACCESS, f"Who may reach {what}: `lan`, `vpn` (and the LAN) or `world`.", default, default)


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "mail_domains",
        ListOf(
            Entry(
                (
                    Key(
                        "name",
                        values.DOMAIN,
                        "The domain. One with other letters is written in its xn-- form.",
                        "hearth.example",
                        REQUIRED,
                    ),
                    Key(
                        "dns",
                        values.NAME,
                        "Where its records are: the name of an entry of `dns_providers`.",
                        "home",
                        None,
                        "the entry of `dns_providers`, if there is only one",
                    ),
                    Key(
                        "dmarc",
                        values.choice("none", "quarantine", "reject"),
                        "What others shall do with mail that only pretends to be from the domain. Not published yet.",
                        "quarantine",
                        "none",
                    ),
                ),
                label="name",
            )
        ),
        "The domains whose mail the box receives; the first one names the box.",
        "- {name: hearth.example, dns: home}",
        REQUIRED,
    ),
    Variable(
        "mail_hostname",
        values.DOMAIN,
        "The box's name in the world, inside one of the domains but not one of them: its address records stand there.",
        "mail.hearth.example",
        None,
        "`mail.` and the first domain",
    ),
    Variable(
        "dns_providers",
        MapOf(values.NAME, PROVIDERS),
        "Who holds the domains' DNS records, by a name of your choice: its type and its credentials. "
        "With `type: none` the records are printed, and a person enters them.",
        "home: {type: none}",
        REQUIRED,
    ),
    Variable(
        "mail_users",
        ListOf(
            Entry(
                (
                    Key(
                        "address",
                        values.MAILBOX,
                        "The mailbox, and the login of its user. Capital letters do not matter; they are made small. "
                        "Mail to `hanako+anything@` arrives at `hanako@`.",
                        "hanako@hearth.example",
                        REQUIRED,
                    ),
                    Key(
                        "password",
                        values.PASSWORD,
                        f"The password, at least {values.MIN_PASSWORD} characters. "
                        "It is hashed before it leaves the controller. Either this or `password_hash`.",
                        '"{{ vault_passwords.hanako }}"',
                    ),
                    Key(
                        "password_hash",
                        values.HASH,
                        "The password as a hash, as `doveadm pw -s SHA512-CRYPT` or `openssl passwd -6` print it; "
                        "also ARGON2ID, BLF-CRYPT, PBKDF2 and crypt's `$y$`. Quick also for thousands of users.",
                        '"{{ vault_hashes.hanako }}"',
                    ),
                    Key(
                        "aliases",
                        ListOf(values.ALIAS, lone=True),
                        "Further addresses of the user.",
                        "[info@hearth.example]",
                        (),
                    ),
                    Key(
                        "quota",
                        values.QUOTA,
                        "How much the mailbox may hold: a number with K, M, G or T.",
                        "5G",
                        0,
                        "no limit",
                    ),
                ),
                label="address",
            )
        ),
        "The mailboxes. The first user gets the mail for postmaster and its like.",
        '- {address: hanako@hearth.example, password: "{{ vault_passwords.hanako }}"}',
        REQUIRED,
    ),
    Variable(
        "mail_aliases",
        MapOf(values.ALIAS, ListOf(values.TARGET, lone=True)),
        "Further addresses, each with the address or addresses that get its mail, here or elsewhere. "
        "`postmaster`, `abuse`, `hostmaster`, `tlsrpt` and `dmarc` of every domain exist without being written, "
        "and go to the first user.",
        "sales@hearth.example: [hanako@hearth.example, taro@hearth.example]",
        {},
        "none but those",
    ),
    Variable(
        "mail_outbound",
        values.choice("direct", "relay", later=("auto",)),
        "How mail leaves: `direct` to the servers of the recipients, or through a `relay`, where the line's port 25 is "
        "closed or its address is distrusted.",
        "relay",
        "direct",
    ),
    Variable(
        "mail_relay",
        Entry(
            (
                Key("host", values.HOST, "The name of the provider's submission server.", "smtp.isp.example", REQUIRED),
                Key("port", values.PORT, "587 (STARTTLS) or 465 (TLS from the start).", "465", 587),
                Key("user", values.LOGIN, "The login there.", "hanako@isp.example", REQUIRED),
                Key("password", values.SECRET, "The password there.", '"{{ vault_relay_password }}"', REQUIRED),
                Key(
                    "spf",
                    values.SPF,
                    "What the relay must have in your SPF record, as its provider says. "
                    "Needed when `mail_outbound` is `relay`.",
                    "include:isp.example",
                ),
            ),
            label="host",
        ),
        "The submission server of your Internet provider, or of another relay.",
        "{host: smtp.isp.example, user: hanako@isp.example, password: ..., spf: include:isp.example}",
    ),
    Variable(
        "mail_access",
        Entry(
            (
                _access("imap", "mailboxes by IMAP (993, and 143 with STARTTLS)", "world"),
                _access("pop3", "mailboxes by POP3 (995, and 110 with STARTTLS)", "world"),
                _access("submission", "the submission of mail (465, and 587 with STARTTLS)", "world"),
                _access("managesieve", "filter rules by ManageSieve (4190)", "lan"),
            ),
            later={"webmail": "webmail"},
        ),
        "From where users may reach what. Mail from other servers (port 25) always comes from the world.",
        "{pop3: lan}",
        {},
        "see its keys",
    ),
    Variable(
        "mail_lan_networks",
        ListOf(values.NETWORK),
        "What counts as `lan` in `mail_access`. A private address is never trusted to send without a login.",
        "[192.168.178.0/24, fd00:1::/64]",
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"),
        "all private networks (RFC 1918, RFC 4193) and link-local IPv6",
    ),
    Variable(
        "mail_message_size_limit",
        values.MESSAGE_SIZE,
        "The largest message, with its attachments as they travel (a third more than the files).",
        "100M",
        "50M",
    ),
    Variable(
        "backup_repository",
        values.REPOSITORY,
        "Where the backups go: a folder on another disk, `sftp:user@host:folder`, "
        "`rest:https://user:password@host/folder/` or `s3:...`, as restic writes it. "
        "With a password in it, it belongs into the vault.",
        "/mnt/backup/hearthmail",
        None,
        "no backups",
    ),
    Variable(
        "backup_password",
        values.SECRET,
        "Encrypts the backups. Without it nobody can read them, you neither: it is in the recovery kit (`make kit`).",
        '"{{ vault_backup_password }}"',
        None,
    ),
    Variable(
        "backup_schedule",
        values.choice("hourly", "daily"),
        "How often a backup is made: what was accepted since the last one is lost with the disk.",
        "daily",
        "hourly",
    ),
    Variable(
        "backup_keep",
        Entry(
            (
                Key("hourly", values.COUNT, "How many of the last hours.", "24", 48),
                Key("daily", values.COUNT, "How many of the last days.", "7", 14),
                Key("weekly", values.COUNT, "How many of the last weeks.", "4", 8),
                Key("monthly", values.COUNT, "How many of the last months.", "6", 12),
            )
        ),
        "Which older backups stay, where the box may remove any.",
        "{hourly: 24, monthly: 24}",
        {},
        "see its keys",
    ),
    Variable(
        "backup_removed_by",
        values.choice("box", "elsewhere"),
        "Who removes old backups: the `box`, or whoever keeps the place. What the box may delete, a burglar on the box "
        "may delete too; so a place that takes but never gives away is better (docs/backup.md).",
        "elsewhere",
        None,
        "`box` for a folder, `elsewhere` for all others",
    ),
    Variable(
        "backup_environment",
        MapOf(values.NAME, values.SECRET),
        "What restic needs besides, as for S3: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.",
        '{AWS_ACCESS_KEY_ID: hearth, AWS_SECRET_ACCESS_KEY: "{{ vault_backup_s3_key }}"}',
        {},
        "nothing",
    ),
    Variable(
        "backup_ssh_key",
        values.PRIVATE_KEY,
        "For `sftp:`: the private key that opens the place, made for this alone: "
        "`ssh-keygen -t ed25519 -N '' -f backup_key`.",
        '"{{ vault_backup_ssh_key }}"',
    ),
    Variable(
        "backup_ssh_host_keys",
        ListOf(values.TEXT),
        "For `sftp:`: the lines that `ssh-keyscan HOST` prints, compared with what the host itself shows "
        "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`).",
        "[backup.example ssh-ed25519 AAAAC3...]",
        (),
        "none",
    ),
    Variable(
        "kit_reminder",
        values.YES_NO,
        "Whether `playbooks/site.yml` reminds you until a recovery kit is made (`make kit`), and when that is out of "
        "date.",
        "false",
        True,
        "`true`",
    ),
    Variable(
        "kit_files",
        ListOf(values.TEXT),
        "Files on this computer that the recovery kit takes along besides the inventory folder. It finds by itself "
        "what `ansible_ssh_private_key_file` names and what the variables read by `lookup('file', ...)`. "
        "Paths in the project, or such as `~/.ssh/id_ed25519`.",
        "[~/.ssh/jump_host]",
        (),
        "none",
    ),
)

# Planned: written today, they would do nothing, so they are refused instead of ignored.
LATER: Mapping[str, str] = {
    "mail_lists": "mailing lists",
    "mail_fetch": "fetched mailboxes",
    "mail_forms": "web forms",
    "backup_journal": "a journal of accepted mail off the box",
}

# Old name -> name now. A renamed variable is refused with its new name, for at least a year.
RENAMED: Mapping[str, str] = {}

# Variables that begin so are the site's: one that is not known here is a slip of the pen.
PREFIXES = ("mail_", "dns_", "backup_", "kit_")

# All of it, as if the variables were the keys of one entry.
SITE = Entry(VARIABLES, later=LATER, renamed=RENAMED)

# Addresses that must be answered in every domain (RFC 2142; tlsrpt and dmarc are where we ask for reports).
ROLE_ADDRESSES = ("postmaster", "abuse", "hostmaster", "tlsrpt", "dmarc")
