"""What is refused, with which code, and that nothing gets lost by it."""

from __future__ import annotations

import base64
import smtplib
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.flow import lab
from tests.flow.lab import ALICE, HANAKO, SMALL, TARO

MIB = 1024 * 1024


@pytest.mark.parametrize("machine", ["hearth-roamer", "hearth-pc"])
@pytest.mark.parametrize(
    "address", ["nobody@hearth.example", "root@hearth.example", "vmail@second.example", "taro@second.example"]
)
def test_unknown_recipient_is_refused_at_rcpt(machine: str, address: str) -> None:
    with lab.smtp(machine) as session:
        session.mail(ALICE)
        code, text = session.rcpt(address)
        assert (code, b"5.1.1" in text) == (550, True), text
        # Another recipient of the same message is not hurt by it.
        assert session.rcpt(HANAKO)[0] == 250
        session.rset()


def test_names_are_not_told() -> None:
    with lab.smtp("hearth-roamer") as session:
        assert session.verify(HANAKO)[0] in (252, 502)
        assert session.expn("sales@hearth.example")[0] in (500, 502)


def test_too_large_is_refused_before_it_is_sent() -> None:
    with lab.smtp("hearth-roamer") as session:
        limit = int(session.esmtp_features["size"])
        assert limit == 50 * MIB
        code, _ = session.mail(ALICE, [f"size={limit + 1}"])
        assert code == 552


def test_too_large_without_saying_so_is_refused_at_the_end() -> None:
    mail = lab.message(ALICE, HANAKO)
    line = b"x" * 998 + b"\r\n"
    with lab.smtp("hearth-roamer") as session:
        session.mail(ALICE)
        session.rcpt(HANAKO)
        code, _ = session.data(mail.as_bytes().replace(b"\n", b"\r\n") + line * (51 * MIB // len(line)))
        assert code == 552
    assert lab.count(HANAKO, lab.token_of(mail)) == 0


def test_a_full_mailbox_refuses_and_nothing_is_lost() -> None:
    def sized(sender: str, size: int) -> str:
        return lab.submit_at_peer(lab.message(sender, SMALL, body="x" * 70 + "\n" + ("y" * 70 + "\n") * (size // 71)))

    first = sized(ALICE, 700_000)
    lab.wait_for_mail(SMALL, first)

    # At RCPT, when the size is announced.
    with lab.smtp("hearth-roamer") as session:
        session.mail(ALICE, ["size=700000"])
        code, text = session.rcpt(SMALL)
        assert code in (452, 552), text
        # What is there stays, others are served.
        assert session.rcpt(HANAKO)[0] == 250
        session.rset()

    # The peer keeps its message until there is room.
    waiting = sized(ALICE, 700_000)
    lab.wait_for(
        lambda: "452 4.2.2" in lab.log_of_peer(waiting),
        20,
        "the peer being told that the mailbox is full",
    )
    assert lab.count(SMALL, waiting) == 0
    lab.wait_for_mail(SMALL, first)
    with lab.inbox(SMALL, readonly=False) as session:
        session.delete_messages(lab.found(session, first))
        session.expunge()
    lab.arrived.discard((SMALL, first))
    lab.wait_for_mail(SMALL, waiting, timeout=60)


def test_larger_than_the_mailbox_is_refused_for_good() -> None:
    with lab.smtp("hearth-roamer") as session:
        session.mail(ALICE, [f"size={2 * MIB}"])
        code, text = session.rcpt(SMALL)
        assert code in (452, 552), text


@pytest.mark.parametrize("port", [465, 587])
@pytest.mark.parametrize(
    "sender",
    [
        HANAKO,  # another user
        "info@hearth.example",  # an alias of another user
        "nobody@hearth.example",  # nobody's
        "postmaster@second.example",
        ALICE,  # of another domain
    ],
)
def test_nobody_sends_as_another(port: int, sender: str) -> None:
    with lab.smtp("hearth-pc", port=port, user=TARO) as session:
        code, text = session.mail(sender)
        if code == 250:
            code, text = session.rcpt(ALICE)
        assert 500 <= code < 600, f"as {sender!r}: {code} {text!r}"


# From three machines: Dovecot lets who guesses wait longer each time.
GUESSES = {"hearth-roamer": "wrong-secret", "hearth-pc": "hanako-secre", "hearth-peer": "hanako-secret "}


@pytest.fixture(scope="module")
def refused() -> dict[str, bool]:
    """Try every wrong password, all at the same time: each has to wait for its answer."""

    def is_refused(machine: str) -> bool:
        try:
            with lab.smtp(machine, port=465, user=HANAKO, password=GUESSES[machine]):
                return False
        except smtplib.SMTPAuthenticationError:
            return True

    with ThreadPoolExecutor(len(GUESSES)) as pool:
        return dict(zip(GUESSES, pool.map(is_refused, GUESSES), strict=True))


@pytest.mark.parametrize("machine", GUESSES)
def test_wrong_password(machine: str, refused: dict[str, bool]) -> None:
    assert refused[machine], f"let in with {GUESSES[machine]!r}"


@pytest.mark.parametrize("port", [25, 587])
@pytest.mark.parametrize("machine", ["hearth-roamer", "hearth-pc"])
def test_no_login_in_clear_by_smtp(machine: str, port: int) -> None:
    word = base64.b64encode(f"\0{HANAKO}\0hanako-secret".encode()).decode()
    with lab.smtp(machine, port=port, secure=False) as session:
        assert not session.has_extn("auth")
        assert session.docmd("AUTH", f"PLAIN {word}")[0] in (502, 503, 530, 538)


def test_no_login_on_port_25_at_all() -> None:
    with lab.smtp("hearth-roamer", port=25, secure=True) as session:
        assert not session.has_extn("auth")


@pytest.mark.parametrize(
    ("port", "commands", "refused"),
    [
        (143, [f"a1 LOGIN {HANAKO} hanako-secret"], "a1 NO"),
        (143, ["a1 AUTHENTICATE PLAIN AGhhbmFrb0BoZWFydGguZXhhbXBsZQBoYW5ha28tc2VjcmV0"], "a1 NO"),
        (110, [f"USER {HANAKO}"], "-ERR"),
        (110, ["AUTH PLAIN AGhhbmFrb0BoZWFydGguZXhhbXBsZQBoYW5ha28tc2VjcmV0"], "-ERR"),
        (4190, ['AUTHENTICATE "PLAIN" "AGhhbmFrb0BoZWFydGguZXhhbXBsZQBoYW5ha28tc2VjcmV0"'], "NO"),
    ],
)
def test_no_login_in_clear_by_others(port: int, commands: list[str], refused: str) -> None:
    # These ports are for the home; the router lets none of them in.
    with lab.connect("hearth-pc", lab.MAIL_NAME, port) as connection, connection.makefile("rwb") as stream:
        greeting = [stream.readline().decode()]
        while port == 4190 and not greeting[-1].startswith("OK"):
            greeting.append(stream.readline().decode())
        assert greeting[-1], f"no greeting on port {port}"
        for command in commands:
            stream.write(command.encode() + b"\r\n")
            stream.flush()
        answer = stream.readline().decode()
        while answer.startswith("* "):  # IMAP's remark that the password was exposed, before the answer proper
            answer = stream.readline().decode()
    assert answer.startswith(refused), answer


def test_no_command_survives_starttls() -> None:
    # CVE-2011-0411: what was sent in clear behind STARTTLS must not count as sent inside TLS.
    with lab.connect("hearth-roamer", lab.MAIL_NAME, 587) as connection:
        lines = connection.makefile("rb")
        lines.readline()
        connection.sendall(b"EHLO roamer.isp.example\r\n")
        while lines.readline()[3:4] == b"-":
            pass
        connection.sendall(b"STARTTLS\r\nNOOP\r\n")
        assert lines.readline()[:3] in (b"220", b"554", b"503", b"421")
        try:
            secure = lab.tls().wrap_socket(connection)
            secure.settimeout(2)
            said = secure.recv(100)
        except OSError:
            said = b""
        assert not said.startswith(b"250")


END_OF_DATA_THAT_IS_NONE = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
]


@pytest.mark.parametrize("end", END_OF_DATA_THAT_IS_NONE, ids=repr)
@pytest.mark.parametrize("way", ["in", "out"])
def test_no_second_message_is_smuggled_in(end: bytes, way: str) -> None:
    # CVE-2023-51764: two servers that disagree about where a message ends.
    first, second = lab.new_token(), lab.new_token()
    sender, recipient = (ALICE, HANAKO) if way == "in" else (HANAKO, ALICE)

    def envelope(token: str) -> bytes:
        return f"From: {sender}\r\nTo: {recipient}\r\nMessage-ID: <{token}@smuggled.example>\r\n\r\nHello".encode()

    inner = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
    session = lab.smtp("hearth-roamer") if way == "in" else lab.smtp("hearth-pc", port=465, user=HANAKO)
    with session:
        session.mail(sender)
        session.rcpt(recipient)
        assert session.docmd("DATA")[0] == 354
        session.send(envelope(first) + end + inner + envelope(second) + b"\r\n.\r\n")
        code, text = session.getreply()
        # One answer, and then only the one to this.
        follow = session.docmd("NOOP")[0] if code != 421 else 421
    assert code == 250 or 400 <= code < 600, text
    assert follow in (250, 421)
    if code == 250:
        lab.wait_for_mail(recipient, first)
    # It could still be on its way: looked for once more at the end.
    lab.never.add((recipient, second))
    assert lab.count(recipient, second) == 0
