"""Does each service answer in its own protocol?

A process that is stopped or hangs still gets its connections: the kernel takes them. Only an answer counts.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hearthmail.probe.commands import MISSING, TOO_LONG, run
from hearthmail.probe.config import CHAIN_KINDS, Service
from hearthmail.probe.finding import CHAIN, GREEN, LEVELS, REBOOT, RED, RESTART, Finding
from hearthmail.probe.hung import Look

# Seconds until a service that failed is asked once more: a restart by a person or by apt takes about so long.
PAUSE = 3
# Postfix has a process for each client, and no more of them for one service than this (default_process_limit; no role
# sets another). Dovecot's login processes take a thousand clients each, and throw out those who wait longest.
TALKER, MOST_TALKERS = "smtpd", 100
# Rounds that a service with as many clients as it can take is left alone. Postfix helps itself within this time: it
# runs new processes with `stress=yes`, which wait 10 s for a client instead of 300 (STRESS_README, smtpd_timeout).
BUSY_ROUNDS = 10
# What a line of an answer may be long.
MAX_LINE = 4096


class RefusedError(Exception):
    """There is an answer, but not the right one: the process lives, so a restart would mend nothing."""


def loopback_tls() -> ssl.SSLContext:
    """TLS without a look at the certificate: the box itself answers, and the certificate has a check of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Line:
    """Lines from a socket, all of them within one time."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self.connection, self.until, self.rest = connection, until, b""

    def read(self) -> str:
        while b"\n" not in self.rest:
            left = self.until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            more = self.connection.recv(MAX_LINE)
            if not more or len(self.rest) > MAX_LINE:
                raise ConnectionError("the connection was closed without a full answer")
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode("ascii", "replace").strip()


def _smtp_reply(lines: _Line, wanted: str, after: str) -> None:
    """Read a reply of one or more lines (RFC 5321 4.2.1)."""
    line = lines.read()
    while line[3:4] == "-":
        line = lines.read()
    if not line.startswith(wanted):
        raise RefusedError(f"SMTP says after {after}: {line}")


def ask_smtp(service: Service, timeout: float) -> str:
    """Banner and EHLO (RFC 5321 3.1, 3.2)."""
    until = time.monotonic() + timeout
    with socket.create_connection((service.host, service.port), timeout) as connection:
        lines = _Line(connection, until)
        _smtp_reply(lines, "220", "the connection")
        connection.sendall(b"EHLO localhost\r\n")
        _smtp_reply(lines, "250", "EHLO")
        connection.sendall(b"QUIT\r\n")
    return "SMTP answers"


def ask_imap(service: Service, timeout: float) -> str:
    """Banner over TLS (RFC 9051 7.1.1)."""
    until = time.monotonic() + timeout
    with (
        socket.create_connection((service.host, service.port), timeout) as plain,
        loopback_tls().wrap_socket(plain) as connection,
    ):
        line = _Line(connection, until).read()
        if not line.startswith("* OK"):
            raise RefusedError(f"IMAP says: {line}")
        connection.sendall(b"a LOGOUT\r\n")
    return "IMAP answers over TLS"


# RFC 1035 4.1.1: identifier, flags, one question. RFC 6840 5.7: AD in the question asks for it back.
RECURSION_DESIRED, AUTHENTIC_DATA, RCODE = 0x0100, 0x0020, 0x000F
A, NS, IN = 1, 2, 1


def _flags(service: Service, name: bytes, kind: int, timeout: float) -> int:
    """Ask one question; the answer's flags say all that is wanted of it (as roles/resolver/files/ask.py)."""
    query = struct.pack("!6H", 1, RECURSION_DESIRED | AUTHENTIC_DATA, 1, 0, 0, 0) + name + struct.pack("!2H", kind, IN)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(timeout)
        connection.connect((service.host, service.port))
        connection.send(query)
        answer = connection.recv(4096)
    if len(answer) < 4:
        raise RefusedError("the resolver gave half an answer")
    return int(struct.unpack("!2H", answer[:4])[1])


def ask_dns(service: Service, timeout: float) -> str:
    """A name that the resolver knows by itself, then one that it must ask the world for and validate (RFC 4033 7).

    Only the first one tells a hang: without a line to the world the second has no answer either, and a restart would
    just empty the cache.
    """
    _flags(service, b"\x09localhost\0", A, timeout)
    try:
        flags = _flags(service, b"\0", NS, timeout)
    except OSError as error:
        raise RefusedError("the resolver gets no answer from the world's name servers") from error
    if flags & RCODE:
        raise RefusedError(f"the resolver answers for the root with error {flags & RCODE}: line down, or clock wrong")
    if not flags & AUTHENTIC_DATA:
        raise RefusedError("the resolver's answers are not validated (DNSSEC)")
    return "answers, validated"


ASK: dict[str, Callable[[Service, float], str]] = {"smtp": ask_smtp, "imap": ask_imap, "dns": ask_dns}


def _todo(service: Service) -> str:
    return f"journalctl -u {service.unit} -n 50" if service.unit else ""


def _command(service: Service, timeout: float) -> Finding:
    done = run(list(service.argv), timeout)
    first = next(iter(done.out.splitlines()), "") or done.said
    if done.code in (MISSING, TOO_LONG) or done.code >= len(LEVELS) or done.code < 0:
        first, level = f"{' '.join(service.argv)}: {done.said}", RED
    else:
        level = LEVELS[done.code]
    repair = (RESTART,) if service.unit and level == RED else ()
    return Finding(service.part, level, first, _todo(service) if level != GREEN else "", service.unit, repair)


def _once(service: Service, timeout: float) -> Finding:
    if service.kind == "command":
        return _command(service, timeout)
    repair = (RESTART, CHAIN, REBOOT) if service.kind in CHAIN_KINDS else (RESTART,)
    red = Finding(service.part, RED, "", _todo(service), service.unit)
    try:
        return Finding(service.part, GREEN, ASK[service.kind](service, timeout))
    except RefusedError as error:
        todo = "see whether the line is up; `hearth-ddns status`" if service.kind == "dns" else red.todo
        return replace(red, reason=str(error), todo=todo)
    except TimeoutError:
        return replace(
            red,
            reason=f"port {service.port} takes connections but gives no answer within {timeout:.0f} s (it hangs)",
            repair=repair if service.unit else (),
        )
    except OSError as error:
        why = error.strerror or str(error)
        return replace(
            red,
            reason=f"no answer at {service.host} port {service.port}: {why}",
            repair=repair if service.unit else (),
        )


def check(service: Service, timeout: float, pause: float = PAUSE) -> Finding:
    """Ask a service; one that fails is asked once more before it counts."""
    first = _once(service, timeout)
    if first.level != RED:
        return first
    time.sleep(pause)
    second = _once(service, timeout)
    if second.level == GREEN:
        return replace(second, reason=f"{second.reason} (at the second try)")
    return second


def busy(service: Service, found: Finding, seen: Look) -> Finding:
    """Tell a service that has all the clients which it can take from one that hangs: both give no answer.

    A restart would throw the clients out, and a reboot the whole house; who keeps the service busy comes back at once.
    So it has ten minutes to come out of it. Then it may hang after all: it is restarted once, and a person is told.
    """
    count = seen.running.get((service.unit, TALKER), 0) if service.kind == "smtp" else 0
    if found.level != RED or not found.repair or count < MOST_TALKERS or service.unit in seen.stopped:
        return found
    return replace(
        found,
        reason=f"no answer, and all {count} {TALKER} processes have clients (load, or somebody who holds them)",
        todo=f"who are they? ss -tn state established '( sport = :{service.port} )'",
        repair=(RESTART,),
        hold=BUSY_ROUNDS,
    )


def check_all(services: Sequence[Service], timeout: float, pause: float = PAUSE) -> list[Finding]:
    """Ask all at the same time: one that hangs does not make the others wait."""
    if not services:
        return []
    with ThreadPoolExecutor(len(services)) as pool:
        return list(pool.map(lambda service: check(service, timeout, pause), services))
