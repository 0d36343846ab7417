"""Services that answer, hang, are dead, or say something else: over real sockets."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hearthmail.probe.config import Service
from hearthmail.probe.finding import CHAIN, GREEN, REBOOT, RED, RESTART, YELLOW, Finding
from hearthmail.probe.services import check, check_all
from tests.unit.probe.conftest import Serve

FULL = (RESTART, CHAIN, REBOOT)


def look(kind: str, port: int, timeout: float = 1) -> Finding:
    return check(Service("it", kind, "it.service", port=port), timeout, pause=0.05)


def smtp(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.hearth.example ESMTP\r\n")
    connection.recv(100)
    connection.sendall(b"250-mail.hearth.example\r\n250-SIZE 1000\r\n250 CHUNKING\r\n")
    connection.recv(100)


def test_smtp_answers(serve: Serve) -> None:
    found = look("smtp", serve(smtp))
    assert (found.level, found.reason) == (GREEN, "SMTP answers")


@pytest.mark.parametrize("kind", ["smtp", "imap"])
def test_a_stopped_process_counts_as_failed(kind: str, silent_port: int) -> None:
    found = look(kind, silent_port)
    assert (found.level, found.repair, found.unit) == (RED, FULL, "it.service")
    assert "gives no answer" in found.reason


@pytest.mark.parametrize("kind", ["smtp", "imap", "dns"])
def test_a_dead_one_is_named(kind: str, dead_port: int) -> None:
    found = look(kind, dead_port)
    assert (found.level, found.repair) == (RED, FULL)
    assert "Connection refused" in found.reason
    assert found.todo == "journalctl -u it.service -n 50"


def test_one_that_hangs_after_its_banner(serve: Serve) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.hearth.example ESMTP\r\n")
        time.sleep(2)

    assert look("smtp", serve(talk)).repair == FULL


def test_one_that_drips_is_not_waited_for(serve: Serve) -> None:
    def talk(connection: socket.socket) -> None:
        for _ in range(1000):
            connection.sendall(b"2")
            time.sleep(0.05)

    begun = time.monotonic()
    assert look("smtp", serve(talk)).level == RED
    assert time.monotonic() - begun < 20


def test_an_answer_that_says_no_is_nothing_for_a_restart(serve: Serve) -> None:
    found = look("smtp", serve(lambda connection: connection.sendall(b"421 4.3.2 too busy\r\n")))
    assert (found.level, found.repair) == (RED, ())
    assert "421 4.3.2 too busy" in found.reason


def test_the_second_try_counts(serve: Serve) -> None:
    seen: list[int] = []

    def talk(connection: socket.socket) -> None:
        seen.append(1)
        if len(seen) > 1:
            smtp(connection)

    found = look("smtp", serve(talk))
    assert found.level == GREEN
    assert "second try" in found.reason


def test_imap_over_tls(serve: Serve, tls: ssl.SSLContext) -> None:
    def talk(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as inner:
            inner.sendall(b"* OK [CAPABILITY IMAP4rev1] ready.\r\n")
            inner.recv(100)

    found = look("imap", serve(talk), timeout=3)
    assert (found.level, found.reason) == (GREEN, "IMAP answers over TLS")


def test_imap_that_says_bye(serve: Serve, tls: ssl.SSLContext) -> None:
    def talk(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as inner:
            inner.sendall(b"* BYE disconnected\r\n")
            inner.recv(100)

    found = look("imap", serve(talk), timeout=3)
    assert (found.level, found.repair) == (RED, ())


@contextmanager
def resolver(answer: Callable[[bytes], int | None]) -> Iterator[int]:
    """A name server that gives flags for a question's name, or nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def work() -> None:
            while True:
                try:
                    query, client = server.recvfrom(512)
                except OSError:
                    return
                if not query:
                    return
                flags = answer(query[12:-4])
                if flags is not None:
                    server.sendto(struct.pack("!2H", 1, flags) + query[4:], client)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", server.getsockname())
        thread.join(2)


ROOT = b"\0"


def test_a_resolver_that_validates() -> None:
    with resolver(lambda _name: 0x81A0) as port:
        assert look("dns", port).level == GREEN


def test_a_resolver_that_hangs() -> None:
    with resolver(lambda _name: None) as port:
        found = look("dns", port)
    assert (found.level, found.repair) == (RED, FULL)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [(None, "no answer from the world"), (0x8182, "error 2"), (0x8180, "not validated")],
)
def test_without_the_world_the_resolver_is_not_restarted(flags: int | None, reason: str) -> None:
    with resolver(lambda name: flags if name == ROOT else 0x8180) as port:
        found = look("dns", port)
    assert (found.level, found.repair) == (RED, ())
    assert reason in found.reason


def command(script: str, unit: str = "") -> Finding:
    return check(Service("it", "command", unit, argv=(sys.executable, "-c", script)), 2, pause=0)


def test_commands() -> None:
    assert command("print('fine')") == Finding("it", GREEN, "fine")
    yellow = command("print('so so\\nmore'); raise SystemExit(1)")
    assert (yellow.level, yellow.reason) == (YELLOW, "so so")
    red = command("print('bad'); raise SystemExit(2)", "it.service")
    assert (red.level, red.reason, red.repair) == (RED, "bad", (RESTART,))
    assert command("raise SystemExit(77)").level == RED
    assert "within 2 s" in command("import time; time.sleep(30)").reason
    missing = check(Service("it", "command", argv=("/nowhere/program",)), 1, pause=0)
    assert "cannot be run" in missing.reason


def test_all_are_asked_at_the_same_time(silent_port: int) -> None:
    many = [Service(f"s{number}", "smtp", port=silent_port) for number in range(10)]
    begun = time.monotonic()
    found = check_all(many, 2, pause=0.05)
    assert time.monotonic() - begun < 15, "one after the other: 20 s at least"
    assert [one.part for one in found] == [one.part for one in many]
    assert all(one.repair == () for one in found), "without a unit there is nothing to restart"
