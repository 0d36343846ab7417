"""What no sane program sends: it is delivered once or refused by a code, and the server serves on."""

from __future__ import annotations

import contextlib
import os
import socket
import time

import pytest

from tests.flow import lab
from tests.flow.lab import ALICE, HANAKO, TARO

# Nobody else's mailbox is searched by these tests, so hers stays small.
READER = lab.HANA


def nested(depth: int) -> bytes:
    """Make a message of MIME parts in each other."""
    parts = [f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n' for level in range(depth)]
    ends = [f"\r\n--b{level}--\r\n" for level in reversed(range(depth))]
    return ("".join(parts) + "Content-Type: text/plain\r\n\r\ninnermost\r\n" + "".join(ends)).encode()


TOP = b"From: alice@peer.example\r\nSubject: absurd\r\n"
MESSAGES = {
    "header line of 100 kB": TOP + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\nbody\r\n",
    "header line of 100 kB, folded": TOP + b"X-Long:" + b" " + b"x\r\n " * 33_000 + b"x\r\n\r\nbody\r\n",
    "10,000 headers": TOP + b"".join(b"X-H%d: v\r\n" % n for n in range(10_000)) + b"\r\nbody\r\n",
    "NUL in the body": TOP + b"\r\nbefore\0after\r\n",
    "NUL in a header": TOP + b"X-Nul: a\0b\r\n\r\nbody\r\n",
    "bare CR": TOP + b"\r\none\rtwo\r\r\rthree\r\n",
    "bare CR in a header": TOP + b"X-Cr: one\rBcc: alice@peer.example\r\n\r\nbody\r\n",
    "bare LF": TOP + b"\nbody\nmore\n",
    "500 nested parts": TOP + nested(500),
    "no From": b"Subject: from nobody\r\n\r\nbody\r\n",
    "two Froms": TOP + b"From: bob@peer.example\r\n\r\nbody\r\n",
    "empty": b"",
    "no header": b"\r\nbody\r\n",
    "no body": TOP,
    "no colon anywhere": b"this is no header\r\nthis neither\r\n",
    "bytes of no character set": TOP
    + b"X-Raw: "
    + bytes(range(128, 256))
    + b"\r\n\r\n"
    + bytes(range(128, 256))
    + b"\r\n",
    "line of 1 MB": TOP + b"\r\n" + b"z" * 1_000_000 + b"\r\n",
    "date of another age": TOP + b"Date: Thu, 99 Foo 99999 77:77:77 +9999\r\n\r\nbody\r\n",
    "many recipients in To": TOP + b"To: " + b"a@b.example,\r\n " * 5_000 + b"a@b.example\r\n\r\nbody\r\n",
    "open boundary": TOP + b'Content-Type: multipart/mixed; boundary="never"\r\n\r\nbody\r\n',
    "only dots": TOP + b"\r\n.\r\n..\r\n...\r\n",
}
# (what it was, token) of what was accepted.
accepted: list[tuple[str, str]] = []


def files(token: str) -> list[str]:
    """Find the files of the mailbox with a message; by its plus-address, as it may have no Message-ID."""
    return lab.files_with(READER, token)


@pytest.mark.parametrize("what", MESSAGES)
def test_absurd_message(what: str) -> None:
    token = lab.new_token()
    # The plus-address is written into the file by those who deliver it.
    recipient = READER.replace("@", f"+{token}@")
    with lab.smtp("hearth-roamer") as session:
        session.mail(ALICE)
        assert session.rcpt(recipient)[0] == 250
        try:
            code, text = session.data(MESSAGES[what])
        except OSError as error:
            pytest.fail(f"{what}: the server hung up without a code ({error})")
    if code == 250:
        lab.wait_for(lambda: files(token), 30, f"{what}, which was accepted")
        accepted.append((what, token))
    else:
        assert 400 <= code < 600, text
        assert not files(token)


def test_no_absurd_message_is_there_twice() -> None:
    assert accepted
    assert {what: len(files(token)) for what, token in accepted} == dict.fromkeys([what for what, _ in accepted], 1)


def test_absurd_messages_can_be_read() -> None:
    with lab.inbox(READER, "hearth-roamer") as session:
        uids = session.search(["ALL"])
        session.fetch(uids, ["ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE"])
        session.search(["BODY", "innermost"])
        session.sort("REVERSE DATE")


@pytest.mark.parametrize(
    "command",
    [
        b"EHLO " + b"x" * 100_000,
        b"MAIL FROM:<" + b"a" * 1000 + b"@peer.example>",
        b"MAIL FROM:<alice@" + b"a." * 500 + b"example>",
        b"MAIL FROM:<alice@peer.example> SIZE=99999999999999999999999",
        b"MAIL FROM:<alice@peer.example> BODY=NONSENSE",
        b"RCPT TO:<hanako@hearth.example>",
        b"DATA",
        b"BDAT 99999999999999999999 LAST",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1",
        b"\0\0\0\0",
        b"\xff" * 1000,
    ],
    ids=lambda command: repr(command[:30]),
)
def test_absurd_command(command: bytes) -> None:
    with lab.connect("hearth-roamer", lab.MAIL_NAME, 25) as connection, connection.makefile("rb") as lines:
        assert lines.readline().startswith(b"220")
        connection.sendall(b"EHLO roamer.isp.example\r\n")
        while lines.readline()[3:4] == b"-":
            pass
        try:
            connection.sendall(command + b"\r\n")
            answer = lines.readline()
        except TimeoutError:
            pytest.fail(f"no answer within {lab.TIMEOUT} s")
        except OSError:
            answer = b""  # hanging up is an answer too
    # An odd name or sender may pass (it is refused later or harms nobody), 221 is a refusal that also hangs up.
    harmless = command.startswith((b"EHLO", b"MAIL FROM:<aaa"))
    assert answer[:1] in (b"4", b"5", b"") or answer[:3] == b"221" or (harmless and answer[:3] == b"250"), answer
    with lab.smtp("hearth-roamer", port=25) as session:
        assert session.noop()[0] == 250


def test_a_thousand_and_more_recipients() -> None:
    with lab.smtp("hearth-roamer") as session:
        session.mail(ALICE)
        codes = []
        for _ in range(1100):
            codes.append(session.rcpt(HANAKO)[0])
            if codes[-1] != 250:
                break
        session.rset()
    assert codes[0] == 250
    assert codes[-1] == 452, f"{len(codes)} recipients, the last one {codes[-1]}"


@pytest.mark.parametrize("port", [993, 995, 465])
def test_noise_instead_of_tls(port: int) -> None:
    with lab.connect("hearth-roamer", lab.MAIL_NAME, port) as connection, contextlib.suppress(OSError):
        connection.sendall(os.urandom(100_000))
    assert lab.opens("hearth-roamer", lab.MAIL_NAME, port)


@pytest.mark.parametrize(
    "command",
    [b"a LOGIN {999999999999}", b"a LOGIN {2147483647+}", b"a " + b"(" * 100_000, b"\0" * 1000, b"a" * 200_000],
)
def test_absurd_imap_command(command: bytes) -> None:
    plain = lab.connect("hearth-roamer", lab.MAIL_NAME, 993)
    with lab.tls().wrap_socket(plain) as connection:
        assert connection.recv(1000).startswith(b"* OK")
        with contextlib.suppress(OSError):
            connection.sendall(command + b"\r\n")
            connection.settimeout(1)
            assert b"a OK" not in connection.recv(1000)


def test_200_idle_connections_leave_room() -> None:
    idle: list[socket.socket] = []
    address = lab.address_of("hearth-roamer", lab.MAIL_NAME)
    try:
        with lab.node("hearth-roamer"):
            for port in (25, 465, 587, 993, 995):
                idle += [socket.create_connection((address, port), lab.TIMEOUT) for _ in range(40)]
        assert len(idle) == 200
        start = time.monotonic()
        token = lab.submit_at_peer(lab.message(ALICE, HANAKO))
        lab.wait_for_mail(HANAKO, token)
        for machine in ("hearth-pc", "hearth-roamer"):
            lab.wait_for_mail(TARO, lab.submit(lab.message(HANAKO, TARO), machine, port=587))
            lab.pop3(machine, TARO).quit()
        assert time.monotonic() - start < 20, "with idle connections around everything became slow"
    finally:
        for connection in idle:
            connection.close()


def test_serves_on() -> None:
    # As if nothing had happened: from the world, to the world, in the home.
    lab.wait_for_mail(HANAKO, lab.submit_at_peer(lab.message(ALICE, HANAKO)))
    lab.wait_for_mail(ALICE, lab.submit(lab.message(HANAKO, ALICE), "hearth-roamer"))
    failed = lab.out("hearth-home", "systemctl", "list-units", "--failed", "--plain", "--no-legend")
    assert failed == ""
