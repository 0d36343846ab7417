"""Echo services: how they are written, who of them is believed, and that none of them holds up a look."""

from __future__ import annotations

import http.server
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dns.message
import dns.rrset
import pytest

from hearthmail.ddns.address import background, echo
from hearthmail.ddns.config import parse
from hearthmail.ddns.errors import AddressError, ConfigError

HERE, THERE = ipaddress.ip_address("198.51.100.10"), ipaddress.ip_address("198.51.100.66")
OPENDNS = "dns://208.67.222.222/myip.opendns.com/A"
GOOGLE = "dns://216.239.32.10/o-o.myaddr.l.google.com/TXT"


@pytest.mark.parametrize(
    ("url", "voice", "server", "name", "rdtype", "rdclass"),
    [
        ("https://api.ipify.org/", "ipify.org", None, "", "", "IN"),
        ("https://IPv4.icanhazip.com/", "cloudflare.com", None, "", "", "IN"),
        (OPENDNS, "DNS", "208.67.222.222", "myip.opendns.com", "A", "IN"),
        ("dns://1.1.1.1/whoami.cloudflare/TXT/CH", "DNS", "1.1.1.1", "whoami.cloudflare", "TXT", "CH"),
        ("dns://[2620:119:35::35]/myip.opendns.com/AAAA", "DNS", "2620:119:35::35", "myip.opendns.com", "AAAA", "IN"),
    ],
)
def test_how_a_service_is_written(
    url: str, voice: str, server: str | None, name: str, rdtype: str, rdclass: str
) -> None:
    service = echo.parse(url)
    assert service.voice == voice
    assert service.server == (ipaddress.ip_address(server) if server else None)
    assert (service.name, service.rdtype, service.rdclass) == (name, rdtype, rdclass)


def configured(url: str) -> dict[str, Any]:
    """The agent's configuration with one echo service."""
    return {
        "hostname": "mail.hearth.example",
        "domains": [{"name": "hearth.example", "dns": "none"}],
        "providers": {"none": {"type": "none"}},
        "address": {"echo_urls": [url]},
    }


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://a.example/", "neither https:// nor dns://"),
        ("a.example", "names no host"),
        ("https:///path", "names no host"),
        ("dns://resolver1.opendns.com/myip.opendns.com/A", "resolver1.opendns.com is no IP address"),
        ("dns://208.67.222.222/myip.opendns.com", "no question"),
        ("dns://208.67.222.222/myip.opendns.com/MX", "no question"),
        ("dns://208.67.222.222/myip.opendns.com/A/HS", "no question"),
        ("dns://208.67.222.222/myip.opendns.com/A/IN/more", "no question"),
        ("dns://[2620:119:35::35/myip.opendns.com/A", "no URL"),
    ],
)
def test_what_cannot_be_understood_is_named_in_the_configuration(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match="ddns_echo_urls") as caught:
        parse(configured(url))
    assert said in caught.value.problem
    assert "dns://208.67.222.222/myip.opendns.com/A" in caught.value.way_out


@pytest.mark.parametrize("url", ["http://echo.example/", "HTTP://echo.example/"])
def test_a_service_without_tls_is_for_the_lab_alone(url: str) -> None:
    """A captive portal, or whoever answers for its name, would speak in its place."""
    data = configured(url)
    with pytest.raises(ConfigError, match="ddns_echo_urls") as caught:
        parse(data)
    assert url in caught.value.problem
    assert "https://" in caught.value.way_out
    data["address"]["allow_documentation"] = True
    assert parse(data).address.echo_urls == (url,)


def world(*said: Any) -> tuple[list[str], echo.Ask]:
    """Services of different operators on the web, each with its answer or failure."""
    urls = [f"https://echo.operator-{number}.example{number}/" for number in range(len(said))]
    answers = dict(zip(urls, said, strict=True))

    def ask(service: echo.Echo, _source: str, _limit: float) -> Any:
        answer = answers[service.url]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return urls, ask


def find(urls: list[str], ask: echo.Ask, published: str | None = None, **more: Any) -> Any:
    return echo.echo_address(urls, 4, published, allow_documentation=True, ask=ask, **more)


@pytest.mark.parametrize(
    "said", [(HERE, HERE), (HERE, OSError(), HERE), (THERE, HERE, HERE), (HERE, ValueError(), HERE, THERE)]
)
def test_two_that_agree_are_believed_whatever_a_third_says(said: tuple[Any, ...]) -> None:
    assert find(*world(*said)) == HERE


def test_one_that_breaks_off_is_named_and_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(background, "_told", set())
    assert find(*world(HERE, OSError("no route"), ValueError("no address"), HERE)) == HERE
    assert not capsys.readouterr().err, "that a service is away is no mistake of ours"
    for _ in range(2):
        assert find(*world(HERE, RuntimeError("a mistake of a library"), HERE)) == HERE
    told = capsys.readouterr().err
    assert told.count("RuntimeError: a mistake of a library") == 1
    assert "The question to echo.operator-1.example1 broke off" in told
    assert "Traceback" in told
    with pytest.raises(AddressError, match=r"echo\.operator-1\.example1: RuntimeError"):
        find(*world(HERE, RuntimeError("a mistake of a library")))


@pytest.mark.parametrize(
    "said",
    [
        (HERE, THERE),
        (HERE, OSError()),
        (OSError(), OSError()),
        (HERE, HERE, THERE, THERE),
        (ipaddress.ip_address("10.0.0.1"),) * 3,
        (),
    ],
    ids=["disagree", "one", "none", "two pairs", "private", "no service"],
)
@pytest.mark.parametrize("published", [None, str(HERE), str(THERE)])
def test_nothing_is_known_otherwise(said: tuple[Any, ...], published: str | None) -> None:
    with pytest.raises(AddressError):
        find(*world(*said), published=published)


def always(answer: Any) -> echo.Ask:
    return lambda _service, _source, _limit: answer


@pytest.mark.parametrize(
    "urls",
    [
        ["https://a.operator.example/", "https://b.operator.example/"],
        ["https://ipv4.icanhazip.com/", "https://1.1.1.1/cdn-cgi/trace"],
        # Who redirects port 53 answers for all of them, with its own address.
        [OPENDNS, GOOGLE, "dns://1.1.1.1/whoami.cloudflare/TXT/CH"],
    ],
    ids=["one domain", "one company", "only DNS"],
)
def test_services_with_one_voice_do_not_confirm_each_other(urls: list[str]) -> None:
    with pytest.raises(AddressError):
        find(urls, always(THERE), published=str(HERE))
    with pytest.raises(AddressError):
        find(urls, always(THERE))
    # They may confirm what is published.
    assert find(urls, always(HERE), published=str(HERE)) == HERE


def test_dns_and_the_web_confirm_each_other() -> None:
    assert find([OPENDNS, "https://api.ipify.org/"], always(HERE)) == HERE


def test_the_families_are_apart() -> None:
    asked: list[tuple[str, str]] = []

    def ask(service: echo.Echo, source: str, _limit: float) -> Any:
        asked.append((service.url, source))
        raise OSError

    six = "dns://[2620:119:35::35]/myip.opendns.com/AAAA"
    for family in (4, 6):
        with pytest.raises(AddressError):
            echo.echo_address(["https://a.example/", OPENDNS, six], family, None, ask=ask)  # type: ignore[arg-type]
    assert sorted(asked) == sorted(
        [("https://a.example/", "0.0.0.0"), (OPENDNS, "0.0.0.0"), ("https://a.example/", "::"), (six, "::")]
    )


# Real sockets on loopback ---------------------------------------------------------------------------------------


Serve = Callable[[bytes, float], int]


@pytest.fixture
def web() -> Iterator[Serve]:
    """Servers that give an answer after some time, each on a port of its own."""
    servers = []
    gone = threading.Event()

    def serve(body: bytes, delay: float) -> int:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if gone.wait(delay):
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return int(server.server_address[1])

    yield serve
    gone.set()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def name_server() -> Iterator[Callable[..., int]]:
    """Name servers that answer every question with the same records, or not at all."""
    sockets = []

    def serve(rdtype: str, value: str | None, rdclass: str = "IN") -> int:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        sockets.append(server)

        def work() -> None:
            while True:
                try:
                    data, sender = server.recvfrom(4096)
                except OSError:
                    return
                query = dns.message.from_wire(data)
                answer = dns.message.make_response(query)
                if value is not None:
                    answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, rdclass, rdtype, value))
                server.sendto(answer.to_wire(), sender)

        if value != "silent":
            threading.Thread(target=work, daemon=True).start()
        return int(server.getsockname()[1])

    yield serve
    for one in sockets:
        one.close()


def test_a_web_service_that_answers_and_one_that_sends_a_page(web: Serve) -> None:
    for body in (b"198.51.100.10\n", b"<html>Your IP address is 198.51.100.10.</html>", b'{"ip": "198.51.100.10"}'):
        service = echo.parse(f"http://127.0.0.1:{web(body, 0)}/")
        assert echo.ask(service, "0.0.0.0", 2) == HERE
    for body in (b"nothing here", b"999.1.1.1", b"", b"2001:db8::1"):
        service = echo.parse(f"http://127.0.0.1:{web(body, 0)}/")
        with pytest.raises(ValueError):
            echo.ask(service, "0.0.0.0", 2)


@pytest.mark.parametrize(
    ("rdtype", "value", "rdclass"),
    [("A", "198.51.100.10", "IN"), ("TXT", '"198.51.100.10"', "IN"), ("TXT", '"198.51.100.10"', "CH")],
)
def test_a_name_server_that_answers(name_server: Callable[..., int], rdtype: str, value: str, rdclass: str) -> None:
    port = name_server(rdtype, value, rdclass)
    service = echo.parse(f"dns://127.0.0.1:{port}/whoami.example/{rdtype}/{rdclass}")
    assert echo.ask(service, "0.0.0.0", 2) == HERE


def test_a_name_server_without_an_answer(name_server: Callable[..., int]) -> None:
    service = echo.parse(f"dns://127.0.0.1:{name_server('A', None)}/whoami.example/A")
    with pytest.raises(ValueError):
        echo.ask(service, "0.0.0.0", 2)


def test_the_silent_and_the_late_hold_nobody_up(web: Serve, name_server: Callable[..., int]) -> None:
    """One never answers on TCP, one never by DNS, one answers after the time: the other two decide, in time."""
    silent = socket.create_server(("127.0.0.1", 0))
    try:
        urls = [
            f"http://127.0.0.1:{web(b'198.51.100.66', 30)}/",
            f"http://127.0.0.1:{silent.getsockname()[1]}/",
            f"dns://127.0.0.1:{name_server('A', 'silent')}/whoami.example/A",
        ]
        good = web(b"198.51.100.10", 0)
        answers = {"https://good.one.example/": good, "https://good.two.test/": good}

        def ask(service: echo.Echo, source: str, limit: float) -> Any:
            port = answers.get(service.url)
            if port:
                return echo.ask(echo.parse(f"http://127.0.0.1:{port}/"), source, limit)
            # Their own limit does not help: all together are cut off.
            return echo.ask(service, source, 30)

        start = time.monotonic()
        assert find([*urls, *answers], ask, limit=2) == HERE
        assert time.monotonic() - start < 15
        with pytest.raises(AddressError, match=r"no answer within 2 s"):
            find(urls, ask, limit=2)
    finally:
        silent.close()


def test_a_slow_trickle_ends(web: Serve) -> None:
    """A server that sends a byte now and then does not keep its thread for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
            try:
                while not stop.wait(0.1):
                    connection.sendall(b"x")
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with pytest.raises(OSError, match="too slowly"):
            echo.ask(echo.parse(f"http://127.0.0.1:{listener.getsockname()[1]}/"), "0.0.0.0", 0.4)
    finally:
        stop.set()
        thread.join()
        listener.close()
