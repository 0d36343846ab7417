"""The resident service: it looks when the box's addresses change, when it is poked, and when it is time.

One process, one thread. It waits for whatever comes first: news of the kernel about an address (rtnetlink(7)), a
signal, or the schedule's next look. The looks themselves are `Agent.check`, as a person could type them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hearthmail.ddns.report import Report
from hearthmail.ddns.schedule import Due, Schedule

# Multicast groups of rtnetlink(7), from linux/rtnetlink.h: an IPv4 or IPv6 address came or went.
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100
# Seconds between two signs of life to systemd, at most: WatchdogSec= of the unit is several times as long.
SIGN_OF_LIFE = 60

POKE = signal.SIGUSR1
ENDS = (signal.SIGTERM, signal.SIGINT)


class Watcher(Protocol):
    """What tells that something may have happened."""

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; tell whether something has happened."""

    @property
    def ended(self) -> bool:
        """Whether the service has been told to end."""


def address_news() -> socket.socket:
    """Open a socket that becomes readable when an address of the box comes, goes or changes.

    What the messages say is not read: `own_addresses` tells whether it was anything new.

    :raises OSError: when the kernel refuses it (a sandbox without AF_NETLINK).
    """
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    news.setblocking(False)
    news.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
    return news


def drain(news: socket.socket) -> None:
    """Read away all that has come in. What did not fit into the buffer (ENOBUFS) was news too."""
    while True:
        try:
            news.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def own_addresses(folder: Path = Path("/proc/net")) -> str:
    """Everything the kernel says about the box's addresses, as text to compare.

    A router's announcement that only renews what there is makes news too, every few minutes or seconds; it is none.
    """
    said = []
    for name in ("fib_trie", "if_inet6"):
        # Each is missing in a kernel without that family.
        with contextlib.suppress(FileNotFoundError):
            said.append((folder / name).read_text(encoding="ascii"))
    return "".join(said)


@dataclass
class World:
    """The kernel's news about addresses, and signals: SIGUSR1 pokes, SIGTERM and SIGINT end."""

    news: socket.socket
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _known: str = field(default_factory=own_addresses)
    _poked: bool = False
    _ended: bool = False

    @property
    def ended(self) -> bool:
        """Whether SIGTERM or SIGINT has come."""
        return self._ended

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for an address to change or a poke; tell whether one came."""
        if not self._poked and not self._ended:
            ready = self._selector.select(max(0.0, seconds))
            for key, _ in ready:
                drain(key.fileobj)  # type: ignore[arg-type]
                self._poked |= key.data == "news" and self._changed()
        happened, self._poked = self._poked, False
        return happened

    def _changed(self) -> bool:
        before, self._known = self._known, own_addresses()
        return before != self._known

    def _signal(self, number: int, _frame: object) -> None:
        if number == POKE:
            self._poked = True
        else:
            self._ended = True


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Listen to the kernel and to signals, as long as the `with` lasts."""
    with address_news() as news, selectors.DefaultSelector() as selector:
        # A signal makes this socket readable, so none is missed between a look at the flags and the wait.
        receiver, sender = socket.socketpair()
        with receiver, sender:
            for end in (receiver, sender):
                end.setblocking(False)
            selector.register(news, selectors.EVENT_READ, "news")
            selector.register(receiver, selectors.EVENT_READ, "signal")
            listening = World(news, selector)
            before = {number: signal.signal(number, listening._signal) for number in (POKE, *ENDS)}
            wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
            try:
                yield listening
            finally:
                signal.set_wakeup_fd(wakeup)
                for number, handler in before.items():
                    signal.signal(number, handler)


def tell_systemd(state: str) -> None:
    """Tell the service manager, if it wants to hear it: sd_notify(3), one datagram to $NOTIFY_SOCKET."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as there:
        there.connect(address)
        there.sendall(state.encode())


def serve(
    check: Callable[[Due, bool], Report],
    say: Callable[[Report], None],
    schedule: Schedule,
    watcher: Watcher,
    now: Callable[[], float] = time.time,
    tell: Callable[[str], None] = tell_systemd,
) -> None:
    """Look whenever something has happened or is due, until told to end.

    :param check: one look, a whole one or a quick one; after a sign of a change (the second argument) nobody who
        knows the address is spared. What goes wrong is in its report.
    :param say: what becomes of a report.
    :param now: seconds of the Unix clock.
    :param tell: gets the service's state for systemd.
    """
    tell("READY=1")
    happened = False
    while not watcher.ended:
        tell("WATCHDOG=1")
        due = schedule.due(now())
        if due:
            report, happened = check(due, happened), False
            say(report)
            schedule.done(report, now())
            continue
        # The clock may have been set meanwhile: so it never waits for longer than a minute.
        if watcher.wait(min(schedule.next_at() - now(), SIGN_OF_LIFE)):
            schedule.poked(now())
            happened = True
    tell("STOPPING=1")
