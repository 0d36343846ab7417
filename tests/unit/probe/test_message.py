"""The message to ourselves, against a small SMTP and IMAP server that share a mailbox."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import BinaryIO

import pytest

from hearthmail.probe import message
from hearthmail.probe.config import Config, Mailbox, Service
from hearthmail.probe.finding import CHAIN, FLUSH, GREEN, REBOOT, RED, WAIT, YELLOW, Finding
from hearthmail.probe.mailqueue import Waiting
from tests.unit.probe.conftest import Serve

ADDRESS = "hearth-probe@hearthmail.invalid"


@dataclass
class Box:
    """A mail server as small as can be."""

    tls: ssl.SSLContext
    mailbox: dict[int, bytes] = field(default_factory=dict)
    deliver: bool = True
    refuse: bytes = b""
    password: str = "secret"
    no_login: bytes = b"AUTHENTICATIONFAILED"
    envelopes: list[str] = field(default_factory=list)

    def smtp(self, connection: socket.socket) -> None:
        with connection.makefile("rwb") as file:
            self.say(file, b"220 ready")
            for line in file:
                verb = line.split()[0].upper()
                if verb in (b"MAIL", b"RCPT"):
                    self.envelopes.append(line.decode().strip())
                if verb == b"RCPT" and self.refuse:
                    self.say(file, self.refuse)
                elif verb == b"DATA":
                    self.say(file, b"354 go on")
                    text = b""
                    while (more := file.readline()) != b".\r\n":
                        text += more
                    if self.deliver:
                        self.mailbox[max(self.mailbox, default=0) + 1] = text
                    self.say(file, b"250 queued")
                elif verb == b"QUIT":
                    self.say(file, b"221 bye")
                    return
                else:
                    self.say(file, b"250 ok")

    def imap(self, connection: socket.socket) -> None:
        with self.tls.wrap_socket(connection, server_side=True) as inner, inner.makefile("rwb") as file:
            self.say(file, b"* OK ready")
            for line in file:
                tag, verb, *rest = line.split()
                if verb == b"LOGIN" and self.password.encode() not in line:
                    self.say(file, tag + b" NO [" + self.no_login + b"] no")
                    continue
                if verb == b"CAPABILITY":
                    self.say(file, b"* CAPABILITY IMAP4rev1")
                elif verb == b"UID" and rest[0] == b"SEARCH":
                    token = re.search(rb"X-Hearth-Probe (\w+)", line)
                    found = [uid for uid, text in self.mailbox.items() if not token or token[1] in text]
                    self.say(file, b"* SEARCH " + b" ".join(b"%d" % uid for uid in found))
                elif verb == b"EXPUNGE":
                    self.mailbox.clear()
                elif verb == b"LOGOUT":
                    self.say(file, b"* BYE bye")
                self.say(file, tag + b" OK done")

    @staticmethod
    def say(file: BinaryIO, line: bytes) -> None:
        file.write(line + b"\r\n")
        file.flush()


@dataclass
class Setup:
    """The box, and what it takes to look at it."""

    box: Box
    smtp: Service
    mailbox: Mailbox
    queue: list[Waiting] | str = field(default_factory=list)

    def check(self, patience: float = 0.5) -> Finding:
        config = Config("mail.hearth.example", mailbox=self.mailbox, timeout=1)
        return message.check(config, self.mailbox, self.smtp, lambda: self.queue, patience)


@pytest.fixture
def setup(serve: Serve, tls: ssl.SSLContext) -> Setup:
    box = Box(tls)
    return Setup(
        box,
        Service("postfix", "smtp", port=serve(box.smtp)),
        Mailbox(ADDRESS, "secret", port=serve(box.imap)),
    )


def test_it_arrives_and_is_removed_with_what_earlier_ones_left(setup: Setup) -> None:
    setup.box.mailbox = {1: b"X-Hearth-Probe: old\r\n", 2: b"X-Hearth-Probe: older\r\n"}
    found = setup.check()
    assert found.level == GREEN
    assert found.reason.startswith("port 25 to IMAP in ")
    assert setup.box.mailbox == {}
    assert setup.box.envelopes[0].upper() == "MAIL FROM:<>", "nothing bounces"


def test_one_that_does_not_arrive_is_a_hang(setup: Setup) -> None:
    setup.box.deliver = False
    found = setup.check()
    assert (found.level, found.repair) == (RED, (CHAIN, REBOOT))


def test_one_that_was_put_off_says_why(setup: Setup) -> None:
    setup.box.deliver = False
    setup.queue = [Waiting("deferred", 0, (ADDRESS,), "connect to dovecot: Connection refused")]
    found = setup.check()
    assert found.repair == (FLUSH, CHAIN, REBOOT)
    assert "Connection refused" in found.reason


def test_one_behind_many_others_waits_for_its_turn(setup: Setup) -> None:
    setup.box.deliver = False
    setup.queue = [Waiting("active", 0, ("hanako@hearth.example",))] * 500
    assert setup.check().repair == (WAIT, CHAIN, REBOOT)


def test_mail_that_flows_slowly_is_no_hang(setup: Setup) -> None:
    setup.box.deliver = False
    setup.box.mailbox = {1: b"X-Hearth-Probe: of-the-round-before\r\n"}
    assert setup.check().level == YELLOW
    assert setup.box.mailbox == {}


def test_the_queue_is_not_filled_with_probes(setup: Setup) -> None:
    setup.queue = [Waiting("deferred", 0, (ADDRESS,), "no room")] * 3
    found = setup.check()
    assert (found.level, setup.box.envelopes) == (RED, [])


@pytest.mark.parametrize(
    ("answer", "repair"),
    [
        (b"452 4.3.1 Insufficient system storage", ()),
        (b"550 5.1.1 unknown", ()),
        (b"451 4.3.0 Temporary lookup failure", (CHAIN,)),
    ],
)
def test_a_refusal_is_no_cause_for_a_reboot(setup: Setup, answer: bytes, repair: tuple[str, ...]) -> None:
    setup.box.refuse = answer
    found = setup.check()
    assert (found.level, found.repair) == (RED, repair)
    assert answer.decode() in found.reason


@pytest.mark.parametrize(("said", "repair"), [(b"AUTHENTICATIONFAILED", ()), (b"UNAVAILABLE", (CHAIN,))])
def test_a_refused_login_is_no_cause_for_a_reboot(setup: Setup, said: bytes, repair: tuple[str, ...]) -> None:
    setup.box.password, setup.box.no_login = "another", said
    found = setup.check()
    assert (found.level, found.repair) == (RED, repair)
    assert "secret" not in found.reason


def test_servers_that_hang_or_are_gone(setup: Setup, silent_port: int, dead_port: int) -> None:
    for port in (silent_port, dead_port):
        one = Setup(setup.box, setup.smtp, Mailbox(ADDRESS, "secret", port=port))
        assert one.check().repair == (CHAIN, REBOOT)
        one = Setup(setup.box, Service("postfix", "smtp", port=port), setup.mailbox)
        assert one.check().repair == (CHAIN, REBOOT)
