"""A message of our own, all the way: port 25, queue, LMTP, mailbox, IMAP; then it is removed again."""

from __future__ import annotations

import imaplib
import secrets
import smtplib
import time
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.utils import format_datetime, localtime
from typing import Any

from hearthmail.probe import mailqueue
from hearthmail.probe.config import Config, Mailbox, Service
from hearthmail.probe.finding import CHAIN, FLUSH, GREEN, REBOOT, RED, WAIT, YELLOW, Finding
from hearthmail.probe.services import loopback_tls

PART = "message"
HEADER = "X-Hearth-Probe"
# Seconds to wait for it, and between two looks.
PATIENCE, LOOK = 20.0, 0.2
# So many probes may wait in the queue; then no more are sent, or a long outage would leave one for each minute.
MOST = 3
# With more than these being delivered at the moment, ours may just not have had its turn.
BUSY = 200
# Postfix's answer when its disk is full (RFC 5321 4.2.3).
NO_ROOM = 452
Queue = Callable[[], Sequence[mailqueue.Waiting] | str]


def _red(reason: str, *repair: str) -> Finding:
    return Finding(PART, RED, reason, "journalctl -u 'postfix*' -u dovecot -n 50; postqueue -p", repair=repair)


def _refused(code: int, said: str) -> Finding:
    """Port 25 says no. A lookup that hangs says so too (451); what is full or not meant stays so after a restart."""
    repair = (CHAIN,) if 400 <= code < 500 and code != NO_ROOM else ()
    return _red(f"port 25 refuses the probe's message: {code} {said}", *repair)


def send(mailbox: Mailbox, service: Service, hostname: str, timeout: float) -> str:
    """Hand in a message at port 25; gives its token.

    :raises OSError: when that fails (smtplib's errors are OSErrors too).
    """
    token = secrets.token_hex(16)
    message = EmailMessage()
    message["From"] = f"hearth-probe@{hostname}"
    message["To"] = mailbox.address
    message["Subject"] = "hearth-probe"
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = f"<{token}@probe.{hostname}>"
    message["Auto-Submitted"] = "auto-generated"
    message[HEADER] = token
    message.set_content("A message of the box to itself. It is removed once it has arrived.\n")
    # Our name is given: otherwise smtplib asks the DNS for it. No sender: nothing bounces.
    with smtplib.SMTP(service.host, service.port, local_hostname="localhost", timeout=timeout) as smtp:
        smtp.sendmail("<>", [mailbox.address], message.as_bytes())
    return token


def _search(imap: imaplib.IMAP4, *criteria: str) -> list[bytes]:
    _, found = imap.uid("SEARCH", *criteria)
    return (found[0] or b"").split()


def fetch(mailbox: Mailbox, token: str, timeout: float, patience: float = PATIENCE) -> tuple[bool, int]:
    """Wait for the message, then remove all that is in the mailbox.

    :returns: whether it came, and how many earlier ones were there.
    :raises OSError: no connection, or no answer.
    :raises imaplib.IMAP4.error: the server says no.
    """
    until = time.monotonic() + patience
    context: Any = loopback_tls()
    with imaplib.IMAP4_SSL(mailbox.host, mailbox.port, ssl_context=context, timeout=timeout) as imap:
        imap.login(mailbox.address, mailbox.password)
        imap.select("INBOX")
        while not (came := _search(imap, "HEADER", HEADER, token)) and time.monotonic() < until:
            time.sleep(LOOK)
            imap.noop()
        everything = _search(imap, "ALL")
        if everything:
            imap.uid("STORE", b",".join(everything).decode(), "+FLAGS.SILENT", r"(\Deleted)")
            imap.expunge()
    return bool(came), len(set(everything) - set(came))


def _why_not(mailbox: Mailbox, queue: Queue, patience: float) -> Finding:
    """It did not come. Where is it, and what may help?"""
    reason = f"the message to the probe's mailbox did not arrive within {patience:.0f} s"
    waiting = queue()
    if isinstance(waiting, str):
        return _red(f"{reason}; the queue cannot be read: {waiting}", CHAIN, REBOOT)
    own = [one for one in waiting if mailbox.address in one.recipients]
    deferred = [one for one in own if one.queue == "deferred"]
    if deferred:
        # After a failure Postfix leaves a destination alone for minutes, though it may be well again by now.
        return _red(f"{reason}: {deferred[-1].reason or 'it was put off'}", FLUSH, CHAIN, REBOOT)
    active = sum(one.queue in ("active", "incoming") for one in waiting)
    if active > BUSY:
        return _red(f"{reason}; {active} messages are being delivered", WAIT, CHAIN, REBOOT)
    return _red(f"{reason}, and was not refused: a part hangs", CHAIN, REBOOT)


def check(
    config: Config,
    mailbox: Mailbox,
    smtp: Service,
    queue: Queue = mailqueue.read,
    patience: float = PATIENCE,
) -> Finding:
    """Send a message and look for it."""
    waiting = queue()
    earlier = [] if isinstance(waiting, str) else [one for one in waiting if mailbox.address in one.recipients]
    begun = time.monotonic()
    token = ""
    try:
        if len(earlier) < MOST:
            token = send(mailbox, smtp, config.hostname, config.timeout)
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        return _refused(code, text.decode(errors="replace"))
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return _refused(error.smtp_code, said)
    except OSError as error:
        return _red(f"the probe's message cannot be handed in: {error}", CHAIN, REBOOT)
    try:
        came, others = fetch(mailbox, token or "none", config.timeout, patience if token else 0)
    except imaplib.IMAP4.abort as error:
        return _red(f"the connection to IMAP broke: {error}", CHAIN, REBOOT)
    except imaplib.IMAP4.error as error:
        # RFC 5530: a wrong password stays wrong; any other no may come from a part that hangs.
        return _red(f"IMAP refuses the probe: {error}", *(() if "AUTHENTICATIONFAILED" in str(error) else (CHAIN,)))
    except OSError as error:
        return _red(f"the probe's mailbox cannot be read by IMAP: {error}", CHAIN, REBOOT)
    if came:
        return Finding(PART, GREEN, f"port 25 to IMAP in {time.monotonic() - begun:.1f} s")
    if others:
        return Finding(PART, YELLOW, f"mail flows, but slowly: more than {patience:.0f} s to a mailbox", "postqueue -p")
    return _why_not(mailbox, queue, patience)
