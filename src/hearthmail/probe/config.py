"""The configuration: `/etc/hearthmail/probe.json`, and a fragment of each role that has something to look after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG_PATH = Path("/etc/hearthmail/probe.json")
FRAGMENTS_PATH = Path("/etc/hearthmail/probe.d")

# Kinds of services, in the order in which the chain is restarted: Postfix finds what it asks already there.
KINDS = ("dns", "command", "imap", "smtp")
# Those without which no mail flows: they are the chain, and worth a reboot.
CHAIN_KINDS = ("dns", "imap", "smtp")


class ConfigError(Exception):
    """The configuration is not usable; the text says which file and what to do."""


@dataclass(frozen=True)
class Service:
    """A service that is asked by its protocol, or by a command."""

    part: str
    kind: str
    unit: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mailbox:
    """Where the probe's own messages go. Nobody but the box itself can write to it or log in."""

    address: str
    password: str
    host: str = "127.0.0.1"
    port: int = 993


@dataclass(frozen=True)
class Room:
    """A file system that must not be full.

    :param red_bytes: below this many free bytes it is red, whatever its share (Postfix's queue_minfree).
    :param unit: the service that is stopped while there are no inodes.
    """

    path: str
    red_bytes: int = 0
    unit: str = ""


@dataclass(frozen=True)
class Config:
    """Everything the probe is told; what the numbers mean stands in the role's defaults.

    :param domains: those whose mail is delivered here.
    """

    hostname: str
    services: tuple[Service, ...] = ()
    mailbox: Mailbox | None = None
    room: tuple[Room, ...] = (Room("/"),)
    room_yellow: float = 10
    room_red: float = 3
    queue: bool = False
    domains: tuple[str, ...] = ()
    queue_yellow: float = 3600
    queue_red: float = 4 * 3600
    queue_messages: int = 1000
    certificate: str = ""
    certificate_yellow: float = 14
    certificate_red: float = 3
    ddns: bool = False
    backup: bool = False
    backup_interval: float = 3600
    tell: str = ""
    ping_url: str = ""
    reboot: bool = True
    timeout: float = 8

    @property
    def chain(self) -> tuple[str, ...]:
        """Units of the mail chain, in the order of their restart."""
        ordered = sorted(
            (service for service in self.services if service.unit and service.kind in CHAIN_KINDS),
            key=lambda service: KINDS.index(service.kind),
        )
        return tuple(dict.fromkeys(service.unit for service in ordered))

    @property
    def units(self) -> tuple[str, ...]:
        """All units that are looked after."""
        return tuple(dict.fromkeys(service.unit for service in self.services if service.unit))


def _service(data: Mapping[str, Any]) -> Service:
    if data["kind"] not in KINDS:
        raise ValueError(f"kind {data['kind']!r} is none of {', '.join(KINDS)}")
    service = Service(
        part=str(data["part"]),
        kind=data["kind"],
        unit=str(data.get("unit", "")),
        host=str(data.get("host", "127.0.0.1")),
        port=int(data.get("port", 0)),
        argv=tuple(map(str, data.get("argv", ()))),
    )
    if service.kind == "command" and not service.argv:
        raise ValueError(f"part {service.part} is a command without argv")
    if service.kind != "command" and not 0 < service.port < 65536:
        raise ValueError(f"part {service.part} has no port")
    return service


def _room(one: Mapping[str, Any]) -> Room:
    return Room(str(one["path"]), int(one.get("red_bytes", 0)), str(one.get("unit", "")))


def _fragment(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a fragment may say: services, the probe's mailbox, file systems, queue and domains, the agent, a backup."""
    found: dict[str, Any] = {
        "services": tuple(map(_service, data.get("parts", ()))),
        "room": tuple(map(_room, data.get("room", ()))),
    }
    if data.get("mailbox"):
        found["mailbox"] = Mailbox(**data["mailbox"])
    if "domains" in data:
        if not isinstance(data["domains"], list):
            raise ValueError("domains is no list")
        found["domains"] = tuple(str(domain).lower() for domain in data["domains"])
    for name, make in (("queue", bool), ("ddns", bool), ("backup", bool), ("backup_interval", float)):
        if name in data:
            found[name] = make(data[name])
    return found


# Keys of probe.json itself, and their types.
OWN: dict[str, Callable[[Any], Any]] = {
    "hostname": str,
    "tell": str,
    "ping_url": str,
    "reboot": bool,
    "room_yellow": float,
    "room_red": float,
    "queue_yellow": float,
    "queue_red": float,
    "queue_messages": int,
    "certificate": str,
    "certificate_yellow": float,
    "certificate_red": float,
}


def _read(path: Path) -> Mapping[str, Any]:
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError("it is no map of keys")
    return data


def load(path: Path = CONFIG_PATH, fragments: Path = FRAGMENTS_PATH) -> Config:
    """Read the configuration and all fragments.

    :raises ConfigError: naming the file that is missing or malformed.
    """
    current = path
    try:
        own = _read(path)
        found = {name: make(own[name]) for name, make in OWN.items() if name in own}
        services: tuple[Service, ...] = ()
        room: tuple[Room, ...] = (Room("/"),)
        for current in sorted(fragments.glob("*.json")):
            said = _fragment(_read(current))
            services += said.pop("services")
            room += said.pop("room")
            found |= said
        return Config(**found, services=services, room=room)
    except PermissionError as error:
        raise ConfigError(f"{current} is readable by root only. Run it with sudo.") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{current} cannot be used: {error!r}. Run the playbook: roles write these files.") from error
