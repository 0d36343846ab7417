#!/usr/bin/python3
"""Three small services of the lab's DNS provider, on port 80 over IPv4 and IPv6.

http://echo.provider.example/            the asking address, as plain text; also checkip, which is asked over IPv4 only
http://reach.provider.example/?port=25   connects back to the asking address, and tells as JSON:
                                         {"address", "port", "reachable", "banner"}
http://update.provider.example/nic/update  dynamic DNS: see nic_update.py, whose control listens on 127.0.0.1:8054
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import nic_update

# Written by Ansible: the accounts, and the API of the PowerDNS beside it.
ACCOUNTS = Path("/etc/hearth-provider/nic.json")
PATIENCE = 5  # seconds, for connecting and for the greeting together


def reach(address: str, port: int) -> dict[str, str | int | bool]:
    """Tell whether a mail server at that address greets us (RFC 5321, section 4.3.1: 220)."""
    deadline = time.monotonic() + PATIENCE
    banner = ""
    with contextlib.suppress(OSError), socket.create_connection((address, port), PATIENCE) as connection:
        connection.settimeout(max(deadline - time.monotonic(), 0.1))
        with connection.makefile("rb") as lines:
            banner = lines.readline(512).decode(errors="replace").strip()
    return {"address": address, "port": port, "reachable": banner.startswith("220"), "banner": banner}


class Service(BaseHTTPRequestHandler):
    """Answers by the name that was asked for."""

    nic: nic_update.Nic

    def asker(self) -> str:
        """Return the asking address; IPv4 in its own form."""
        address = ipaddress.IPv6Address(self.client_address[0].partition("%")[0])
        return str(address.ipv4_mapped or address)

    def address_string(self) -> str:
        """Name the asking address in the log too."""
        return self.asker()

    def do_GET(self) -> None:
        """Serve all services."""
        name = self.headers.get("Host", "").partition(":")[0]
        if name == "update.provider.example" and urlsplit(self.path).path == "/nic/update":
            nic_update.serve(self, self.nic, self.asker())
            return
        if name in ("echo.provider.example", "checkip.provider.example"):
            self.reply(200, "text/plain", self.asker() + "\n")
        elif name == "reach.provider.example":
            port = parse_qs(urlsplit(self.path).query).get("port", [""])[0]
            if port == "25":
                self.reply(200, "application/json", json.dumps(reach(self.asker(), int(port))) + "\n")
            else:
                self.reply(400, "application/json", json.dumps({"error": "only port 25 is checked"}) + "\n")
        else:
            self.reply(404, "text/plain", "No such service.\n")

    def do_POST(self) -> None:
        """Take updates by POST too, as the protocol has it."""
        if self.headers.get("Host", "").partition(":")[0] == "update.provider.example":
            self.do_GET()
        else:
            self.reply(405, "text/plain", "Only updates are taken by POST.\n")

    def reply(self, status: int, kind: str, text: str) -> None:
        """Send an answer that nobody may keep."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Takes both address families on one socket, whatever the machine's default is."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """Bind without the limit to IPv6."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


if __name__ == "__main__":
    Service.nic = nic_update.make_nic(json.loads(ACCOUNTS.read_text(encoding="utf-8")))
    threading.Thread(target=nic_update.control_server(Service.nic, 8054).serve_forever, daemon=True).start()
    Server(("::", 80), Service).serve_forever()
