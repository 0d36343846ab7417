"""A client of ManageSieve (RFC 5804), as much of one as the tests need."""

from __future__ import annotations

import base64
import ssl
from typing import IO

from tests.flow import lab


class Sieve:
    """A session, logged in over TLS."""

    def __init__(self, machine: str, user: str) -> None:
        """Connect from a machine, encrypt, log in."""
        self.socket = lab.connect(machine, lab.MAIL_NAME, 4190)
        self.lines: IO[bytes] = self.socket.makefile("rb")
        self.answer()
        self.command("STARTTLS")
        self.socket = lab.tls().wrap_socket(self.socket, server_hostname=lab.MAIL_NAME)
        assert isinstance(self.socket, ssl.SSLSocket)
        self.lines = self.socket.makefile("rb")
        self.answer()
        word = base64.b64encode(f"\0{user}\0{lab.lab_password(user)}".encode()).decode()
        self.command(f'AUTHENTICATE "PLAIN" "{word}"')

    def answer(self) -> str:
        """Read up to the line that ends an answer."""
        said = ""
        while True:
            line = self.lines.readline().decode()
            said += line
            if not line or line.startswith(("OK", "NO", "BYE")):
                assert line.startswith("OK"), said
                return said

    def command(self, text: str) -> str:
        """Send a command; it has to succeed."""
        self.socket.sendall(text.encode() + b"\r\n")
        return self.answer()

    def put(self, name: str, script: str) -> None:
        """Store a script and put it into force."""
        self.command(f'PUTSCRIPT "{name}" {{{len(script.encode())}+}}\r\n{script}')
        self.command(f'SETACTIVE "{name}"')
