"""The resident service: what wakes it, what it does then, and that it ends when told to."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hearthmail.ddns import daemon
from hearthmail.ddns.report import Report
from hearthmail.ddns.schedule import Due, Schedule

SOURCE = Path(daemon.__file__).parents[2]


@dataclass
class Script:
    """A watcher whose time is a number: each wait lets it pass, and something happens where the test says so."""

    now: float = 1000.0
    until: float = 1000.0 + 3600
    events: list[float] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.now >= self.until

    def wait(self, seconds: float) -> bool:
        assert seconds <= daemon.SIGN_OF_LIFE
        end = self.now + max(seconds, 0.0)
        if self.events and self.events[0] <= end:
            self.now = max(self.now, self.events.pop(0))
            return True
        self.now = end
        return False


def looks(script: Script) -> list[tuple[float, str]]:
    """Run the service over a script; give when it looked, and how."""
    events = list(script.events)
    found, told = [], []

    def check(due: Due, happened: bool) -> Report:
        found.append((round(script.now - 1000.0, 3), str(due)))
        told.append(happened)
        return Report()

    signs: list[tuple[float, str]] = []
    daemon.serve(
        check,
        lambda _report: None,
        Schedule(script.now),
        script,
        now=lambda: script.now,
        tell=lambda state: signs.append((script.now, state)),
    )
    assert signs[0][1] == "READY=1"
    assert signs[-1][1] == "STOPPING=1"
    lives = [at for at, state in signs if state == "WATCHDOG=1"]
    assert max(after - before for before, after in itertools.pairwise(lives)) <= daemon.SIGN_OF_LIFE
    assert any(told) == bool(events)
    return found


def test_it_looks_at_its_start_and_when_it_is_due() -> None:
    found = looks(Script())
    assert found[0] == (0.0, "full")
    full = [at for at, kind in found if kind == "full"]
    assert all(after - before <= 301 for before, after in itertools.pairwise(full))
    assert len(full) >= 12
    assert len(found) - len(full) >= 300


def test_news_lead_to_one_look_soon_after() -> None:
    # A router's restart: many messages within a moment.
    burst = [1100.0 + 1 + step / 100 for step in range(20)]
    found = looks(Script(until=1200.0, events=burst))
    soon = [at for at, _ in found if 101.0 <= at <= 102.0]
    assert len(soon) == 1
    assert soon[0] - 101.19 <= 0.51


def test_a_socket_without_readers_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    daemon.tell_systemd("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        daemon.tell_systemd("READY=1")
        assert there.recv(100) == b"READY=1"


@pytest.fixture
def listening() -> Iterator[daemon.World]:
    with daemon.world() as world:
        yield world


def test_a_poke_wakes_it_at_once(listening: daemon.World) -> None:
    begin = time.monotonic()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), daemon.POKE))
    timer.start()
    assert listening.wait(60)
    assert time.monotonic() - begin < 30
    # One poke is one look.
    assert not listening.wait(0)


def test_a_poke_while_it_works_is_not_lost(listening: daemon.World) -> None:
    os.kill(os.getpid(), daemon.POKE)
    assert listening.wait(60)


def test_it_ends_when_told_to(listening: daemon.World) -> None:
    assert not listening.ended
    os.kill(os.getpid(), signal.SIGTERM)
    assert not listening.wait(60)
    assert listening.ended


def test_signals_are_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with daemon.world():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_news_that_are_none_do_not_wake_it(listening: daemon.World, monkeypatch: pytest.MonkeyPatch) -> None:
    news = socket.socketpair()
    with news[0], news[1]:
        news[0].setblocking(False)
        listening._selector.register(news[0], 1, "news")
        news[1].send(b"an announcement that renews what there is")
        assert not listening.wait(60)
        monkeypatch.setattr(daemon, "own_addresses", lambda: "another one")
        news[1].send(b"an address")
        assert listening.wait(60)


def test_a_new_address_wakes_it() -> None:
    # In a network of its own: the real kernel's news, and nothing of this machine is changed.
    assert shutil.which("ip"), "install iproute2"
    script = (
        "import subprocess, sys; from hearthmail.ddns import daemon\n"
        "with daemon.world() as world:\n"
        "    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True); world.wait(1)\n"
        "    assert not world.wait(0), 'news before anything has happened'\n"
        "    for words in (['add', '198.51.100.7/32'], ['del', '198.51.100.7/32'], ['add', '2001:db8::7/128']):\n"
        "        subprocess.run(['ip', 'address', words[0], words[1], 'dev', 'lo'], check=True)\n"
        "        assert world.wait(60), words\n"
        "        while world.wait(0.2): pass\n"
        "print('heard')\n"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "heard\n", done.stderr
