#!/usr/bin/python3
"""A bad line in front of the lab's DNS provider: what the world does to a client, on demand.

Port 8082 speaks HTTP, port 8443 HTTPS: with a good certificate as api.provider.example, with one that has expired as
expired.provider.example. Requests go on to the provider's services, by path (--upstream). Which fault they meet says a
file in this container (--control), read anew for each request; without the file they meet none:

    {"fault": "slow", "seconds": 30}       the answer takes that long; who leaves before is not served
    {"fault": "drip", "seconds": 1}        byte by byte, with that pause between: each read is quick, the whole is not
    {"fault": "status", "status": 429, "headers": {"Retry-After": "120"}}
    {"fault": "reset"}                     the connection is reset
    {"fault": "truncate"}                  half of the answer, then the end
    ... "methods": ["PATCH"]               only for these; others pass
    ... "after": true                      the provider gets the request and does its work; its answer meets the fault
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

FAULTS = ("slow", "drip", "status", "reset", "truncate")
# Belong to one connection only (RFC 9110, section 7.6.1), or are counted anew.
NOT_PASSED_ON = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}
PATIENCE = 30  # seconds, for the provider's own services


class Upstream(NamedTuple):
    """Where requests go whose path begins so."""

    prefix: str
    host: str
    port: int
    name: str  # what they are told as Host; empty: what the client said


class Answer(NamedTuple):
    """What a service answered, or a fault says in its place."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def upstream(text: str) -> Upstream:
    """Read PREFIX=HOST:PORT[=NAME], as in `/nic/=127.0.0.1:80=update.provider.example`."""
    prefix, _, rest = text.partition("=")
    place, _, name = rest.partition("=")
    host, _, port = place.rpartition(":")
    return Upstream(prefix, host, int(port), name)


def read_fault(path: Path, method: str) -> Mapping[str, Any]:
    """Read which fault a request meets; an empty one where there is none.

    :raises ValueError: the file says something else.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if said["fault"] not in FAULTS:
        raise ValueError(f"{said['fault']!r} is none of {', '.join(FAULTS)}")
    return said if method in said.get("methods", [method]) else {}


class Line(BaseHTTPRequestHandler):
    """Passes requests on, or spoils them."""

    server: Server

    def handle(self) -> None:
        """Serve one connection; that clients leave, or refuse our certificate, is what all this is for."""
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError) as error:
            self.log_message("the connection ended: %s", error)

    def any_method(self) -> None:
        """Serve one request."""
        fault = read_fault(self.server.control, self.command)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.log_message("%s %s meets %s", self.command, self.path.partition("?")[0], json.dumps(fault))
        kind, after = fault.get("fault"), fault.get("after", False)
        if not after and self.ends_here(fault):
            return
        answer = self.pass_on(body)
        if after and self.ends_here(fault):
            return
        half = len(answer.body) // 2 if kind == "truncate" else None
        self.send(answer, until=half, pause=fault["seconds"] if kind == "drip" else 0)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = any_method  # noqa: N815 -- names of the base class

    def ends_here(self, fault: Mapping[str, Any]) -> bool:
        """Let a fault happen, and tell whether that was the end of the request."""
        kind = fault.get("fault")
        if kind == "status":
            self.send(Answer(fault["status"], list(fault.get("headers", {}).items()), b"a fault of the lab\n"))
            return True
        if kind == "reset":
            self.reset()
            return True
        if kind == "slow" and self.left_within(fault["seconds"]):
            self.log_message("the client has left")
            return True
        return False

    def pass_on(self, body: bytes) -> Answer:
        """Let the service do its work."""
        target = next((one for one in self.server.upstreams if self.path.startswith(one.prefix)), None)
        if target is None:
            return Answer(404, [], b"no such service\n")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
        if target.name:
            headers["Host"] = target.name
        connection = http.client.HTTPConnection(target.host, target.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, headers)
            got = connection.getresponse()
            passed = [(name, value) for name, value in got.getheaders() if name.lower() not in NOT_PASSED_ON]
            return Answer(got.status, passed, got.read())

    def left_within(self, seconds: float) -> bool:
        """Wait, and tell whether the client gave up: it has nothing more to say but that."""
        return bool(select.select([self.connection], [], [], seconds)[0])

    def send(self, answer: Answer, until: int | None = None, pause: float = 0) -> None:
        """Send an answer, or as much of its body as is said, with a pause before each byte."""
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if not pause:
            self.wfile.write(answer.body[:until])
            return
        for place in range(len(answer.body)):
            time.sleep(pause)
            self.wfile.write(answer.body[place : place + 1])

    def reset(self) -> None:
        """End the connection with RST: what a crashed server or a lost NAT entry looks like."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Only when nothing else holds it is the socket closed.
        self.rfile.close()
        self.connection.close()


class Server(ThreadingHTTPServer):
    """Serves one port, over IPv4 and IPv6."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def __init__(self, port: int, control: Path, upstreams: list[Upstream], tls: ssl.SSLContext | None = None) -> None:
        """Listen.

        :param tls: speak TLS; each connection shakes hands in its own thread.
        """
        self.control, self.upstreams = control, upstreams
        super().__init__(("::", port), Line)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Bind without the limit to IPv6."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def tls_settings(good: Path, expired: Path) -> ssl.SSLContext:
    """Answer with the good certificate, but with the other to who asks for a name that begins with `expired.`.

    Each file holds key, certificate and authority.
    """
    contexts = []
    for path in (good, expired):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        contexts.append(context)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        if name and name.startswith("expired."):
            connection.context = contexts[1]

    contexts[0].sni_callback = choose
    return contexts[0]


def main() -> None:
    """Serve both ports for ever."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--upstream", type=upstream, action="append", required=True, metavar="PREFIX=HOST:PORT[=NAME]")
    parser.add_argument("--http", type=int, default=8082)
    parser.add_argument("--https", type=int, default=8443)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--expired-certificate", type=Path, required=True)
    options = parser.parse_args()
    tls = tls_settings(options.certificate, options.expired_certificate)
    servers = [
        Server(options.http, options.control, options.upstream),
        Server(options.https, options.control, options.upstream, tls),
    ]
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main()
