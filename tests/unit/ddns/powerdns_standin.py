"""A small stand-in for PowerDNS' HTTP API (https://doc.powerdns.com/authoritative/http-api/zone.html), on loopback.

It knows what octodns-powerdns uses, and is as strict as the real one: an RRset is replaced as a whole, names are
absolute, contents are quoted, a CNAME stands alone, and a wrong change refuses the whole request.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "standin"
TYPES = frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SOA", "SRV", "TLSA", "TXT"})
_CONTENT = {
    "A": r"\d+(\.\d+){3}",
    "MX": r"\d+ \S+\.",
    "CNAME": r"\S+\.",
    "NS": r"\S+\.",
    "TXT": r'"[^"]*"( "[^"]*")*',
}


@dataclass
class Standin:
    """One zone, and what happens to those who read or write it.

    :param rrsets: (TTL, contents) by absolute name and type.
    :param strike: called at each stage of a request: `read`, `read answered`, `write` (not yet done), `written` (not
        yet answered), `write answered`. If it raises, the request ends there.
    :param idle: set while no request is being worked on.
    """

    zone: str
    rrsets: dict[tuple[str, str], tuple[int, list[str]]]
    strike: Callable[[str], None] = lambda _stage: None
    port: int = 0
    writes: int = 0
    refused: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    at_work: int = 0
    idle: threading.Event = field(default_factory=threading.Event)

    def count(self, step: int) -> None:
        """A request begins (1) or ends (-1)."""
        with self.lock:
            self.at_work += step
            if self.at_work:
                self.idle.clear()
            else:
                self.idle.set()

    def document(self) -> dict[str, Any]:
        """The zone as `GET zones/<name>` shows it."""
        return {
            "name": f"{self.zone}.",
            "rrsets": [
                {
                    "name": name,
                    "type": rdtype,
                    "ttl": ttl,
                    "comments": [],
                    "records": [{"content": content, "disabled": False} for content in contents],
                }
                for (name, rdtype), (ttl, contents) in sorted(self.rrsets.items())
            ],
        }

    def change(self, changes: Any) -> None:
        """Do what a PATCH asks for, all of it or nothing.

        :raises ValueError: when the real one would answer 422.
        """
        new = dict(self.rrsets)
        for one in changes["rrsets"]:
            place = (one["name"], one["type"])
            if not one["name"].endswith(f"{self.zone}.") or one["type"] not in TYPES:
                raise ValueError(f"RRset {place} is not of this zone")
            if one["changetype"] == "DELETE":
                new.pop(place, None)
                continue
            if one["changetype"] != "REPLACE" or not one["records"] or int(one["ttl"]) <= 0:
                raise ValueError(f"RRset {place} is malformed")
            contents = [record["content"] for record in one["records"]]
            if len(set(contents)) != len(contents):
                raise ValueError(f"RRset {place} has a duplicate record")
            for content in contents:
                if not re.fullmatch(_CONTENT.get(one["type"], r".+"), content):
                    raise ValueError(f"RRset {place} has the invalid content {content}")
            new[place] = (int(one["ttl"]), contents)
        for name, rdtype in new:
            if rdtype == "CNAME" and sum(other == name for other, _ in new) > 1:
                raise ValueError(f"RRset {name} CNAME conflicts with another one")
        self.rrsets = new
        self.writes += 1


@contextmanager
def serving(standin: Standin) -> Iterator[Standin]:
    """Serve it on a free port of loopback."""
    path = f"/api/v1/servers/localhost/zones/{standin.zone}."

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: Any) -> None:
            pass

        def answer(self, status: int, document: Any = None) -> None:
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def allowed(self) -> bool:
            if self.headers["X-API-Key"] != API_KEY:
                self.answer(401, {"error": "Unauthorized"})
            elif self.path.removesuffix("/notify") != path:
                self.answer(404, {"error": "Not Found"})
            else:
                return True
            return False

        def do_GET(self) -> None:
            if not self.allowed():
                return
            standin.strike("read")
            with standin.lock:
                document = standin.document()
            self.answer(200, document)
            standin.strike("read answered")

        def do_PATCH(self) -> None:
            if not self.allowed():
                return
            changes = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            standin.strike("write")
            try:
                with standin.lock:
                    standin.change(changes)
            except (ValueError, KeyError) as error:
                standin.refused.append(str(error))
                self.answer(422, {"error": str(error)})
                return
            standin.strike("written")
            self.answer(204)
            standin.strike("write answered")

        def do_PUT(self) -> None:
            if self.allowed():
                self.answer(200, {"result": "Notification queued"})

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def process_request(self, request: Any, client_address: Any) -> None:
            standin.count(1)
            super().process_request(request, client_address)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            super().process_request_thread(request, client_address)
            standin.count(-1)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that was killed is what the tests want."""

    with Server(("127.0.0.1", 0), Handler) as server:
        standin.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield standin
        finally:
            server.shutdown()
            thread.join()
