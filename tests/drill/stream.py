"""A stream of mail from the world, and the count at its end: what was sent has arrived, unchanged, and once."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

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
    :param doubled: there more than once.
    :param changed: there with another body.
    """

    sent: int = 0
    arrived: int = 0
    missing: list[Sent] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


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


def mailbox(user: str) -> dict[str, list[str]]:
    """List all messages of a mailbox, in all folders: token -> the hash of each body."""
    found: dict[str, list[str]] = {}
    with lab.inbox(user) as session:
        for folder in lab.folder_names(session):
            session.select_folder(folder, readonly=True)
            parts = ["BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]", "BODY.PEEK[TEXT]"]
            for entry in session.fetch(session.search(["ALL"]), parts).values():
                header = next(value for key, value in entry.items() if key.startswith(b"BODY[HEADER"))
                token = header.decode(errors="replace").partition("<")[2].partition("@")[0]
                found.setdefault(token, []).append(digest(entry[b"BODY[TEXT]"]))
    return found


def count(sent: list[Sent], user: str) -> Count:
    """Compare what was sent with what is in a mailbox."""
    there = mailbox(user)
    times = Counter({token: len(digests) for token, digests in there.items()})
    return Count(
        sent=len(sent),
        arrived=sum(times[one.token] > 0 for one in sent),
        missing=[one for one in sent if not times[one.token]],
        doubled=[one.token for one in sent if times[one.token] > 1],
        changed=[one.token for one in sent if times[one.token] and set(there[one.token]) != {one.digest}],
    )


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
