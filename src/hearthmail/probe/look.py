"""All checks of one round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hearthmail.probe import box, hung, mailqueue, message, services, upkeep
from hearthmail.probe.box import Units
from hearthmail.probe.config import Config, Mailbox
from hearthmail.probe.finding import GREEN, RED, WAKE, YELLOW, Finding


def units_of(config: Config) -> tuple[str, ...]:
    """The units whose state matters."""
    return (*config.units, *((upkeep.DDNS_SERVICE,) if config.ddns else ()))


def look(config: Config, now: float, units: Units, seen: hung.Look, closed: Sequence[str] = ()) -> list[Finding]:
    """Look at every part.

    :param seen: what the processes of the units do.
    :param closed: units that were stopped for want of inodes.
    """
    room = box.check_room(config, closed)
    away = {one.close for one in room if one.close}
    asked = [service for service in config.services if service.unit not in away]
    found = services.check_all(asked, config.timeout)
    found = [services.busy(service, one, seen) for service, one in zip(asked, found, strict=True)]
    found += [
        Finding(service.part, RED, f"{service.unit} is stopped for want of inodes", known=False)
        for service in config.services
        if service.unit in away
    ]
    if config.mailbox:
        found.append(_message(config, config.mailbox, found))
    found = [_wake_first(one, seen) for one in found] + hung.judge_stopped(seen)
    if config.queue:
        found.append(mailqueue.judge(config, mailqueue.read(), now))
    found += room
    found.append(box.check_time())
    if config.certificate:
        found.append(upkeep.check_certificate(config, now))
    if config.ddns:
        found.append(upkeep.check_ddns(units))
    if config.backup:
        found.append(upkeep.check_backup(config, now, running=box.backup_runs()))
    return found


def _wake_first(finding: Finding, seen: hung.Look) -> Finding:
    """What hangs because a process is stopped is not restarted before that one was woken: that loses no session."""
    concerned = bool(seen.stopped) if not finding.unit else finding.unit in seen.stopped
    if finding.level != RED or not finding.repair or not concerned:
        return finding
    return replace(finding, repair=(WAKE, *finding.repair))


def _message(config: Config, mailbox: Mailbox, found: list[Finding]) -> Finding:
    """The message on its way, unless a service that it needs is known to be away."""
    needed = {service.part: service for service in config.services if service.kind in ("smtp", "imap")}
    away = [one.part for one in found if one.part in needed and one.level != GREEN]
    smtp = next((service for service in needed.values() if service.kind == "smtp"), None)
    if away or smtp is None:
        why = f"not tried: {', '.join(away)} does not answer" if away else "not tried: there is no SMTP service"
        return Finding(message.PART, YELLOW, why, known=False)
    return message.check(config, mailbox, smtp)
