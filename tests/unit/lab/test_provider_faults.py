"""The lab's bad line: each fault is what it says, and without one everything goes through untouched."""

from __future__ import annotations

import http.client
import importlib.util
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[3] / "molecule/shared/files/hearth-provider/provider_faults.py"
ANSWER = b'{"zone": "hearth.example."}'


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("provider_faults", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # NamedTuple looks its module up by name.
    sys.modules["provider_faults"] = module
    spec.loader.exec_module(module)
    return module


faults = load()


class Service(BaseHTTPRequestHandler):
    """Stands for the provider's API: remembers what reached it."""

    seen: list[tuple[str, str, str, bytes]] = []  # noqa: RUF012 -- emptied by the fixture

    def any_method(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, self.headers["Host"], body))
        self.send_response(200)
        self.send_header("X-Served-By", "service")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    do_GET = do_PATCH = any_method  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[int]:
    Service.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def control(tmp_path: Path) -> Path:
    return tmp_path / "control.json"


@pytest.fixture
def line(service: int, control: Path) -> Iterator[int]:
    upstreams = [
        faults.upstream(f"/api/=127.0.0.1:{service}"),
        faults.upstream(f"/nic/=127.0.0.1:{service}=update.test"),
    ]
    with faults.Server(0, control, upstreams) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask(port: int, method: str = "GET", path: str = "/api/v1", body: bytes | None = None, timeout: float = 5) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request(method, path, body, {"Host": "api.test"})
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_without_a_fault_requests_and_answers_are_untouched(line: int) -> None:
    status, headers, body = ask(line, "PATCH", "/api/v1/zones/x?y=1", b"change")
    assert (status, body, headers["X-Served-By"]) == (200, ANSWER, "service")
    assert Service.seen == [("PATCH", "/api/v1/zones/x?y=1", "api.test", b"change")]


def test_each_path_has_its_service_and_others_have_none(line: int) -> None:
    assert ask(line, path="/nic/update?hostname=a")[0] == 200
    assert Service.seen[0][2] == "update.test"
    assert ask(line, path="/else")[0] == 404
    assert len(Service.seen) == 1


@pytest.mark.parametrize(("after", "reached"), [(False, 0), (True, 1)])
def test_status(line: int, control: Path, after: bool, reached: int) -> None:
    control.write_text(
        json.dumps({"fault": "status", "status": 429, "headers": {"Retry-After": "120"}, "after": after})
    )
    status, headers, _ = ask(line, "PATCH", body=b"change")
    assert (status, headers["Retry-After"]) == (429, "120")
    assert len(Service.seen) == reached


@pytest.mark.parametrize(("after", "reached"), [(False, 0), (True, 1)])
def test_reset(line: int, control: Path, after: bool, reached: int) -> None:
    control.write_text(json.dumps({"fault": "reset", "after": after}))
    with pytest.raises(ConnectionResetError):
        ask(line, "PATCH", body=b"change")
    assert len(Service.seen) == reached


def test_a_truncated_answer_is_half_of_it(line: int, control: Path) -> None:
    control.write_text(json.dumps({"fault": "truncate"}))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(line)
    assert caught.value.partial == ANSWER[: len(ANSWER) // 2]


@pytest.mark.parametrize(("after", "reached"), [(False, 0), (True, 1)])
def test_who_leaves_a_slow_service_was_served_only_if_it_was_slow_afterwards(
    line: int, control: Path, after: bool, reached: int
) -> None:
    control.write_text(json.dumps({"fault": "slow", "seconds": 60, "after": after}))
    with pytest.raises(TimeoutError):
        ask(line, "PATCH", body=b"change", timeout=0.3)
    assert len(Service.seen) == reached


def test_a_slow_answer_comes(line: int, control: Path) -> None:
    control.write_text(json.dumps({"fault": "slow", "seconds": 0.3}))
    start = time.monotonic()
    assert ask(line)[2] == ANSWER
    assert time.monotonic() - start >= 0.3


def test_drip_takes_long_though_no_read_does(line: int, control: Path) -> None:
    control.write_text(json.dumps({"fault": "drip", "seconds": 0.05}))
    start = time.monotonic()
    assert ask(line, timeout=0.5)[2] == ANSWER
    assert time.monotonic() - start > 0.05 * len(ANSWER) > 0.5


def test_only_the_methods_that_are_named(line: int, control: Path) -> None:
    control.write_text(json.dumps({"fault": "status", "status": 500, "methods": ["PATCH"]}))
    assert ask(line, "GET")[0] == 200
    assert ask(line, "PATCH", body=b"change")[0] == 500


def test_a_misspelt_fault_is_no_fault_free_line(line: int, control: Path) -> None:
    control.write_text(json.dumps({"fault": "slwo"}))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(line)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority and two certificates of it, as molecule/shared/tasks/certificate.yml does."""
    folder = tmp_path_factory.mktemp("ca")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", *new_key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, days in (("api", "1"), ("expired", "0")):
        host = f"{name}.provider.example"
        who = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
        openssl("req", "-new", *new_key, *who, "-keyout", "key.pem", "-out", "request.pem")
        signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", days, "-copy_extensions", "copyall"]
        openssl("x509", "-req", "-in", "request.pem", *signer, "-out", "certificate.pem")
        parts = [(folder / part).read_text() for part in ("key.pem", "certificate.pem", "ca.pem")]
        (folder / f"{name}.pem").write_text("".join(parts))
    # The one of 0 days holds for the second in which it was made.
    verify = ["openssl", "verify", "-CAfile", "ca.pem", "certificate.pem"]
    while subprocess.run(verify, cwd=folder, capture_output=True).returncode == 0:
        time.sleep(0.1)
    return folder


@pytest.fixture
def tls_line(service: int, control: Path, certificates: Path) -> Iterator[int]:
    tls = faults.tls_settings(certificates / "api.pem", certificates / "expired.pem")
    with faults.Server(0, control, [faults.upstream(f"/api/=127.0.0.1:{service}")], tls) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask_tls(port: int, name: str, authority: Path) -> int:
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        tls.sendall(b"GET /api/v1 HTTP/1.0\r\nHost: x\r\n\r\n")
        return int(tls.recv(100).split()[1])


def test_the_good_certificate_is_accepted_and_the_expired_one_only_for_its_age_is_not(
    tls_line: int, certificates: Path
) -> None:
    authority = certificates / "ca.pem"
    assert ask_tls(tls_line, "api.provider.example", authority) == 200
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        ask_tls(tls_line, "expired.provider.example", authority)
    assert ask_tls(tls_line, "api.provider.example", authority) == 200
    assert len(Service.seen) == 2
