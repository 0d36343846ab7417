#!/usr/bin/python3
"""Dyn's update protocol, told strictly (https://help.dyn.com/perform-update/): the lab's dynamic DNS service.

/nic/update?hostname=a,b&myip=v4,v6&mx=NAME&backmx=YES writes A, AAAA and MX of names in the account, and answers one
code a name. Stricter than most: an update with one address family wipes the other, and who repeats what changes
nothing is blocked.

The control, on loopback only, lets a test make it misbehave:

POST /answers   a list of {"status", "body", "headers", "delay", "reset"}: the next requests get these, in turn;
                "body" may be left out: then the request is served, after the delay
DELETE /answers back to normal; blocked names are forgiven too
GET /requests   what was asked: [{"method", "path", "query", "agent", "user", "answer"}]; DELETE forgets it

Alone it keeps the records in memory: `nic_update.py --port 8053 --control 8054 < account.json`.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import http.client
import ipaddress
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

MAX_HOSTS = 20
MAX_NOCHG = 3  # in a row, before the name is blocked
TTL = 60
# "Company Product/Version contact", as No-IP writes it; Dyn wants the same of it.
AGENT = re.compile(r"\S+.*/\S*\d\S* .*\S+@\S+")
NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]")

Records = dict[str, list[str]]  # by type: the values, sorted


class Storage(Protocol):
    """Where the records of names are kept."""

    def get(self, name: str) -> Records:
        """Read A, AAAA and MX of a name."""

    def put(self, name: str, records: Records) -> None:
        """Replace them; a type without values is removed."""


class Memory:
    """Records in memory."""

    def __init__(self) -> None:
        self.names: dict[str, Records] = {}

    def get(self, name: str) -> Records:
        """Read a copy."""
        return {kind: list(values) for kind, values in self.names.get(name, {}).items()}

    def put(self, name: str, records: Records) -> None:
        """Replace."""
        self.names[name] = {kind: values for kind, values in records.items() if values}


class PowerDns:
    """Records in a PowerDNS, by its HTTP API."""

    def __init__(self, host: str, port: int, api_key: str, zones: Iterable[str]) -> None:
        self.host, self.port = host, port
        self.api_key = api_key
        self.zones = sorted(zones, key=len, reverse=True)

    def _call(self, method: str, name: str, body: object = None) -> Any:
        zone = next(zone for zone in self.zones if f".{name}".endswith(f".{zone}"))
        content = None if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        path = f"/api/v1/servers/localhost/zones/{zone}."
        connection.request(method, path, content, {"X-API-Key": self.api_key})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 300:
            raise OSError(f"PowerDNS answers {method} {path} with {answer.status}: {text!r}")
        return json.loads(text) if text else None

    def get(self, name: str) -> Records:
        """Read what is enabled."""
        rrsets = self._call("GET", name)["rrsets"]
        return {
            rrset["type"]: sorted(one["content"] for one in rrset["records"] if not one["disabled"])
            for rrset in rrsets
            if rrset["name"] == f"{name}." and rrset["type"] in ("A", "AAAA", "MX")
        }

    def put(self, name: str, records: Records) -> None:
        """Replace all three types in one request."""
        rrsets = []
        for kind in ("A", "AAAA", "MX"):
            values = [{"content": value, "disabled": False} for value in records.get(kind, [])]
            change = {"name": f"{name}.", "type": kind, "ttl": TTL, "changetype": "REPLACE" if values else "DELETE"}
            rrsets.append({**change, "records": values} if values else change)
        self._call("PATCH", name, {"rrsets": rrsets})


class Nic:
    """The service: accounts, records, and what the control asked for."""

    def __init__(self, accounts: Mapping[str, Mapping[str, Any]], storage: Storage) -> None:
        self.accounts = accounts
        self.storage = storage
        self.lock = threading.Lock()
        self.answers: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.idle: dict[str, int] = {}

    def user(self, authorization: str) -> str | None:
        """The account that the Authorization field proves; None: none."""
        kind, _, token = authorization.partition(" ")
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
            if kind.lower() == "basic" and self.accounts.get(name, {}).get("password") == password:
                return name
        return None

    def update(self, user: str, agent: str, asker: str, query: Mapping[str, list[str]]) -> list[str]:
        """Serve one request: the lines of the answer."""
        # Other clients than ours are measured too; none of them names somebody to write to.
        if not AGENT.search(agent) and not self.accounts[user].get("any_agent"):
            return ["badagent"]
        names = [name.lower() for name in query.get("hostname", [""])[0].split(",")]
        if len(names) > MAX_HOSTS:
            return ["numhost"]
        try:
            addresses = [ipaddress.ip_address(one) for one in query.get("myip", [asker])[0].split(",")]
        except ValueError:
            return ["badip"]
        mx, backmx = query.get("mx", ["NOCHG"])[0], query.get("backmx", ["NOCHG"])[0]
        if backmx not in ("YES", "NO", "NOCHG") or (mx != "NOCHG" and not NAME.fullmatch(mx)):
            return ["notfqdn"]
        wanted: Records = {
            "A": sorted(str(one) for one in addresses if one.version == 4),
            "AAAA": sorted(str(one) for one in addresses if one.version == 6),
        }
        return [self.one(self.accounts[user]["hosts"], name, wanted, mx, backmx) for name in names]

    def one(self, hosts: Iterable[str], name: str, wanted: Records, mx: str, backmx: str) -> str:
        """Serve one name: its line of the answer."""
        if not NAME.fullmatch(name):
            return "notfqdn"
        if name not in hosts:
            return "nohost"
        if any(len(values) > 1 for values in wanted.values()):
            return "numhost"
        if self.idle.get(name, 0) >= MAX_NOCHG:
            return "abuse"
        before = self.storage.get(name)
        after = dict(wanted)
        exchanges = [f"10 {name}.", f"20 {mx}."] if backmx == "YES" else [f"10 {mx}."]
        after["MX"] = before.get("MX", []) if mx == "NOCHG" else exchanges
        said = ",".join(wanted["A"] + wanted["AAAA"])
        if all(before.get(kind, []) == after[kind] for kind in after):
            self.idle[name] = self.idle.get(name, 0) + 1
            return f"nochg {said}"
        self.idle.pop(name, None)
        self.storage.put(name, after)
        return f"good {said}"


def serve(handler: BaseHTTPRequestHandler, nic: Nic, asker: str) -> None:
    """Answer a request for /nic/update, as asked for by the control or as the protocol says."""
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
    parts = urlsplit(handler.path)
    query = parse_qs(body if handler.command == "POST" else parts.query, keep_blank_values=True)
    user = nic.user(handler.headers.get("Authorization", ""))
    agent = handler.headers.get("User-Agent", "")
    with nic.lock:
        order = nic.answers.pop(0) if nic.answers else {}
        entry = {"method": handler.command, "path": parts.path, "query": query, "agent": agent, "user": user}
        nic.requests.append(entry)
    time.sleep(order.get("delay", 0))
    if order.get("reset"):
        entry["answer"] = "reset"
        # Closed at once, with what is unread thrown away: the other side sees a reset.
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True
        return
    headers = {str(key): str(value) for key, value in order.get("headers", {}).items()}
    if "body" in order:
        status, text = order.get("status", 200), order["body"]
    elif user is None:
        status, text, headers = 401, "badauth\n", {"WWW-Authenticate": 'Basic realm="nic"'}
    else:
        with nic.lock:
            lines = nic.update(user, agent, asker, query)
        status, text = 200, "".join(f"{line}\n" for line in lines)
    entry["answer"] = text
    reply(handler, status, text, headers)


def reply(handler: BaseHTTPRequestHandler, status: int, text: str, headers: Mapping[str, str]) -> None:
    """Send an answer; whoever no longer waits for it is no error."""
    content = text.encode()
    with contextlib.suppress(ConnectionError):
        handler.send_response(status)
        for key, value in {"Content-Type": "text/plain", **headers, "Content-Length": str(len(content))}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(content)


class Control(BaseHTTPRequestHandler):
    """The control: see the module's text."""

    nic: Nic

    def log_message(self, *_args: object) -> None:
        """Say nothing: it is the tests that talk here."""

    def do_GET(self) -> None:
        """Tell what was asked."""
        with self.nic.lock:
            text = json.dumps(self.nic.requests)
        reply(self, 200 if self.path == "/requests" else 404, text, {"Content-Type": "application/json"})

    def do_POST(self) -> None:
        """Take the answers for the next requests."""
        answers = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.nic.lock:
            self.nic.answers = answers
        reply(self, 204, "", {})

    def do_DELETE(self) -> None:
        """Forget answers that wait, or what was asked."""
        with self.nic.lock:
            if self.path == "/requests":
                self.nic.requests.clear()
            else:
                self.nic.answers = []
                self.nic.idle.clear()
        reply(self, 204, "", {})


def make_nic(site: Mapping[str, Any]) -> Nic:
    """Make the service from {"accounts": {user: {"password", "hosts", "any_agent"}}, "powerdns": PowerDns's}."""
    powerdns = site.get("powerdns")
    return Nic(site["accounts"], PowerDns(**powerdns) if powerdns else Memory())


def control_server(nic: Nic, port: int) -> ThreadingHTTPServer:
    """The control of a service, on loopback."""
    return ThreadingHTTPServer(("127.0.0.1", port), type("BoundControl", (Control,), {"nic": nic}))


def update_server(nic: Nic, address: str, port: int) -> ThreadingHTTPServer:
    """The service alone, without the rest of the provider."""

    class Update(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            """The control tells what was asked."""

        def do_GET(self) -> None:
            serve(self, nic, self.client_address[0])

        def do_POST(self) -> None:
            serve(self, nic, self.client_address[0])

    return ThreadingHTTPServer((address, port), Update)


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8053)
    parser.add_argument("--control", type=int, default=8054)
    arguments = parser.parse_args()
    nic = make_nic(json.load(sys.stdin))
    threading.Thread(target=control_server(nic, arguments.control).serve_forever, daemon=True).start()
    update_server(nic, "127.0.0.1", arguments.port).serve_forever()


if __name__ == "__main__":
    main()
