"""A stream of mail from the world, and the count at its end: what was sent has arrived, unchanged, and once."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from dataclasses import dataclass, field

import dns.exception
from imapclient.exceptions import IMAPClientError

from tests.flow import lab


@dataclass(frozen=True)
class Sent:
    """A message that the sender's server has taken.

    :param at: seconds since 1970.
    :param digest: SHA-256 of its body.
    """

    token: str
    at: float
    digest: str


@dataclass
class Count:
    """What came of a stream.

    :param missing: not in the mailbox.
    :param doubled: there more often than the box took them.
    :param repeated: there twice because the box took them twice: the sender had not heard its first "250" and sent the
        message again, which SMTP cannot avoid (RFC 5321, section 4.5.3.2.6; RFC 1047).
    :param changed: there with another body.
    """

    sent: int = 0
    arrived: int = 0
    missing: list[Sent] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in words."""
        said = f"sent {self.sent}, arrived {self.arrived}, doubled {len(self.doubled)}, changed {len(self.changed)}"
        return said + (f", sent again by the sender {len(self.repeated)}" if self.repeated else "")


@dataclass(frozen=True)
class Copy:
    """One copy of a message in a mailbox.

    :param digest: SHA-256 of its body.
    :param taken: the box's own name for the SMTP transaction in which it took the message (its queue id).
    """

    digest: str
    taken: str


def digest(body: bytes) -> str:
    """Hash a body; how a line ends, and empty lines at the end, are no part of it."""
    return hashlib.sha256(b"\n".join(body.splitlines()).rstrip()).hexdigest()


class Stream:
    """Sends from alice at the peer to a user at a steady rate, from `start` to `stop`, in a thread of its own."""

    def __init__(self, recipient: str, rate: float, size: int = 2000) -> None:
        """Prepare a stream.

        :param rate: messages a second.
        :param size: of a body, in bytes.
        """
        self.recipient, self.pause, self.size = recipient, 1 / rate, size
        self.sent: list[Sent] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Stream:
        """Begin to send."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, if it was not ended."""
        self.stop()

    def stop(self) -> None:
        """Stop sending; raises what went wrong while it was sent."""
        self._end.set()
        self._thread.join()
        if self._error:
            raise self._error

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while not self._end.wait(max(0.0, due - time.monotonic())):
                due += self.pause
                line = f"Message {len(self.sent)} of a drill. ".ljust(72, "x") + "\n"
                mail = lab.message(lab.ALICE, self.recipient, body=line * max(1, self.size // len(line)))
                token = lab.submit_at_peer(mail)
                self.sent.append(Sent(token, time.time(), digest(mail.get_content().encode())))
        except (OSError, AssertionError) as error:
            self._error = error


# The queue id and the token of a message, in Postfix's log.
QUEUED = re.compile(r"cleanup\[\d+\]: (\w+): message-id=<([^@>]*)")
# The hop by which the box took a message from the world: the top ones are its own.
TAKEN = re.compile(rb"by mail\.hearth\.example \(Postfix\) with E?SMTPS? id (\w+)")


def mailbox(user: str) -> dict[str, list[Copy]]:
    """List all messages of a mailbox, in all folders: token -> its copies."""
    found: dict[str, list[Copy]] = {}
    with lab.inbox(user) as session:
        for folder in lab.folder_names(session):
            session.select_folder(folder, readonly=True)
            parts = ["BODY.PEEK[HEADER.FIELDS (MESSAGE-ID RECEIVED)]", "BODY.PEEK[TEXT]"]
            for entry in session.fetch(session.search(["ALL"]), parts).values():
                header = next(value for key, value in entry.items() if key.startswith(b"BODY[HEADER"))
                token = re.search(rb"(?im)^Message-ID:\s*<([^@>]*)", header)
                taken = TAKEN.search(b" ".join(header.split()))
                copy = Copy(digest(entry[b"BODY[TEXT]"]), taken[1].decode() if taken else "")
                found.setdefault(token[1].decode(errors="replace") if token else "", []).append(copy)
    return found


def is_there(user: str, token: str) -> bool:
    """Tell whether a message is in the inbox, as far as the box answers at all."""
    try:
        with lab.inbox(user) as session:
            return bool(lab.found(session, token))
    except (OSError, IMAPClientError, lab.LabError, dns.exception.DNSException):
        return False


def count(sent: list[Sent], user: str) -> Count:
    """Compare what was sent with what is in a mailbox."""
    there = mailbox(user)
    copies = {one.token: there.get(one.token, []) for one in sent}
    taken = {token: {copy.taken for copy in found} for token, found in copies.items()}
    return Count(
        sent=len(sent),
        arrived=sum(bool(found) for found in copies.values()),
        missing=[one for one in sent if not copies[one.token]],
        doubled=[token for token, found in copies.items() if len(found) > len(taken[token])],
        repeated=[token for token in copies if len(taken[token]) > 1],
        changed=[one.token for one in sent if any(copy.digest != one.digest for copy in copies[one.token])],
    )


def story(tokens: list[str]) -> str:
    """Give the lines of the box's log that tell what became of messages, and who was stopped or started meanwhile."""
    log = lab.out("hearth-home", "journalctl", "--no-pager", "-o", "short-precise").splitlines()
    ids = {match[1] for line in log if (match := QUEUED.search(line)) and match[2] in tokens}
    words = (*tokens, *ids, "systemd[1]: Stopp", "systemd[1]: Start", "systemd[1]: Reload", "hearth-probe[")
    about = [number for number, line in enumerate(log) if any(one in line for one in (*tokens, *ids))]
    if not about:
        return "The box's log does not name them."
    return "\n".join(line for line in log[max(0, about[0] - 50) : about[-1] + 1] if any(word in line for word in words))


def delivered() -> set[str]:
    """Name the messages which the sender's server has handed over, by its own log: the receiver said 250."""
    tokens: dict[str, str] = {}
    handed: set[str] = set()
    for line in lab.out("hearth-peer", "cat", "/var/log/exim4/mainlog").splitlines():
        words = line.split()
        if len(words) > 4 and words[3] == "<=":
            tokens[words[2]] = line.partition(" id=")[2].partition("@")[0]
        # `=>` and `->`: delivered, alone or together with another one.
        elif len(words) > 4 and words[3] in ("=>", "->") and "T=remote_smtp" in line:
            handed.add(words[2])
    return {tokens[one] for one in handed if one in tokens}


def peer_queue() -> int:
    """Count what waits at the sender's server."""
    return int(lab.out("hearth-peer", "exim4", "-bpc"))
