"""All checks of one round."""

from __future__ import annotations

from hearthmail.probe import box, mailqueue, message, services, upkeep
from hearthmail.probe.box import Units
from hearthmail.probe.config import Config, Mailbox
from hearthmail.probe.finding import GREEN, YELLOW, Finding


def units_of(config: Config) -> tuple[str, ...]:
    """The units whose state matters."""
    return (*config.units, *((upkeep.DDNS_TIMER, upkeep.DDNS_SERVICE) if config.ddns else ()))


def look(config: Config, now: float, units: Units) -> list[Finding]:
    """Look at every part."""
    found = services.check_all(config.services, config.timeout)
    if config.mailbox:
        found.append(_message(config, config.mailbox, found))
    if config.queue:
        found.append(mailqueue.judge(config, mailqueue.read(), now))
    found += box.check_room(config)
    found.append(box.check_time())
    if config.certificate:
        found.append(upkeep.check_certificate(config, now))
    if config.ddns:
        found.append(upkeep.check_ddns(units))
    if config.backup:
        found.append(upkeep.check_backup(config, now))
    return found


def _message(config: Config, mailbox: Mailbox, found: list[Finding]) -> Finding:
    """The message on its way, unless a service that it needs is known to be away."""
    needed = {service.part: service for service in config.services if service.kind in ("smtp", "imap")}
    away = [one.part for one in found if one.part in needed and one.level != GREEN]
    smtp = next((service for service in needed.values() if service.kind == "smtp"), None)
    if away or smtp is None:
        why = f"not tried: {', '.join(away)} does not answer" if away else "not tried: there is no SMTP service"
        return Finding(message.PART, YELLOW, why, known=False)
    return message.check(config, mailbox, smtp)
