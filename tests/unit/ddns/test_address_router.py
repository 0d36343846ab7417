"""Asking the router: three protocols, who is asked when, and that a poll every 10 s is cheap."""

from __future__ import annotations

import http.server
import ipaddress
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hearthmail.ddns.address import background, fritzbox, natpmp, upnp
from hearthmail.ddns.address.memory import RouterMemory
from hearthmail.ddns.address.router import LIMIT, REST, NoWanAddressError, ask_router
from hearthmail.ddns.config import AddressConfig
from hearthmail.ddns.errors import AddressError

GATEWAY = "192.168.77.254"
WAN = "198.51.100.10"

# UPnP -----------------------------------------------------------------------------------------------------------


class FakeUpnp:
    """miniupnpc's object, as the lab's router and broken ones answer."""

    searches = 0
    found: Exception | int = 1
    answer: Exception | str = WAN
    host = GATEWAY

    def discover(self) -> int:
        type(self).searches += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def selectigd(self) -> str:
        if not self.found:
            raise Exception("No UPnP device discovered")  # noqa: TRY002 - as miniupnpc does
        return f"http://{self.host}:5000/ctl/IPConn"

    def externalipaddress(self) -> str:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def igd(monkeypatch: pytest.MonkeyPatch) -> type[FakeUpnp]:
    """What miniupnpc finds; each search makes a new object of this class."""

    class Igd(FakeUpnp):
        pass

    monkeypatch.setitem(sys.modules, "miniupnpc", types.SimpleNamespace(UPnP=Igd))  # type: ignore[arg-type]
    return Igd


@pytest.mark.parametrize(
    ("found", "answer", "host", "said"),
    [
        (Exception("Success"), "", GATEWAY, "No router answers"),
        (0, "", GATEWAY, "No UPnP device"),
        (1, Exception("Invalid Args"), GATEWAY, "Invalid Args"),
        (1, "198.51.100.66", "192.168.77.66", "192.168.77.66 answers to UPnP, but the router is"),
    ],
    ids=["silent", "no router", "refuses", "not the router"],
)
def test_no_answer_by_upnp(igd: type[FakeUpnp], found: Any, answer: Any, host: str, said: str) -> None:
    igd.found, igd.answer, igd.host = found, answer, host
    with pytest.raises(AddressError, match=said):
        upnp.ask(GATEWAY, {}, 1901)


@pytest.mark.parametrize("url", ["http://[x", "http://[fe80::1%lan", "http://]/", "http://\u2100.example/"])
def test_a_device_whose_address_is_none_is_not_the_router(igd: type[FakeUpnp], url: str) -> None:
    igd.selectigd = lambda _self: url  # type: ignore[method-assign]
    with pytest.raises(AddressError, match="UPnP"):
        upnp.ask(GATEWAY, {}, 1901)


def test_the_router_is_searched_for_once(igd: type[FakeUpnp]) -> None:
    handles: dict[str, Any] = {}
    for _ in range(3):
        assert upnp.ask(GATEWAY, handles, 1901) == WAN
    assert igd.searches == 1
    # Its control URL has changed: it is searched for again, within the same question.
    handles["upnp"].answer = Exception("HTTP 404")
    assert upnp.ask(GATEWAY, handles, 1901) == WAN
    assert igd.searches == 2


# NAT-PMP --------------------------------------------------------------------------------------------------------

# What natpmpc of Debian 12 printed for a server on loopback, standard output and error together.
HEAD = """\
initnatpmp() returned 0 (SUCCESS)
using gateway : 127.0.0.1
sendpublicaddressrequest returned 2 (SUCCESS)
"""
GOOD = """\
readnatpmpresponseorretry returned 0 (OK)
Public IP address : {address}
epoch = 77
closenatpmp() returned 0 (SUCCESS)
"""
FAILED = """\
readnatpmpresponseorretry returned {code} (FAILED)
readnatpmpresponseorretry() failed : {text}
  errno=0 'Success'
"""
# From the source of the version in Debian 13: it refuses addresses that it takes for private.
REFUSED = """\
readnatpmpresponseorretry returned 0 (OK)
readnatpmpresponseorretry() failed : invalid Public IP address {address}
"""
RETRIED = "readnatpmpresponseorretry returned -100 (TRY AGAIN)\n" * 3


@pytest.mark.parametrize(
    ("output", "address"),
    [
        (HEAD + GOOD.format(address=WAN), WAN),
        (HEAD + RETRIED + GOOD.format(address="100.64.0.7"), "100.64.0.7"),
        (HEAD + REFUSED.format(address="192.168.1.20"), "192.168.1.20"),
        (HEAD + GOOD.format(address="0.0.0.0"), "0.0.0.0"),
        (HEAD + FAILED.format(code=-52, text="network failure"), "0.0.0.0"),
    ],
)
def test_what_natpmpc_prints(output: str, address: str) -> None:
    assert natpmp.parse(output) == address


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (HEAD + FAILED.format(code=-51, text="not authorized"), "not authorized"),
        (HEAD + FAILED.format(code=-14, text="unsupported nat-pmp version error from server"), "unsupported nat-pmp"),
        (HEAD + FAILED.format(code=-7, text="the gateway does not support nat-pmp"), "does not support"),
        (HEAD + RETRIED, "no answer"),
        ("", "no answer"),
    ],
)
def test_no_answer_by_natpmp(output: str, said: str) -> None:
    with pytest.raises(AddressError, match=said):
        natpmp.ask(GATEWAY, 5, lambda command: subprocess.CompletedProcess(command, 1, output))


def test_natpmpc_is_told_the_gateway_and_the_limit() -> None:
    asked = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, HEAD + GOOD.format(address=WAN))

    assert natpmp.ask(GATEWAY, LIMIT, run) == WAN
    assert asked == [["timeout", "5", "natpmpc", "-g", GATEWAY]]


def test_a_natpmpc_that_waits_for_ever_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "natpmpc"
    program.write_text(f"#!/bin/sh\necho '{HEAD}'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    start = time.monotonic()
    with pytest.raises(AddressError, match="no answer"):
        natpmp.ask(GATEWAY, 0.3)
    assert time.monotonic() - start < 30
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(AddressError, match="cannot be started"):
        natpmp.ask(GATEWAY, 0.3)


# FRITZ!Box ------------------------------------------------------------------------------------------------------

SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
DESCRIPTION = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<friendlyName>FRITZ!Box 7590</friendlyName><manufacturer>AVM Berlin</manufacturer>
<modelName>FRITZ!Box 7590</modelName><UDN>uuid:75802409-bccb-40e7-8e6c-000000000000</UDN>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType>
<serviceList><service><serviceType>{SERVICE}</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><controlURL>/igdupnp/control/WANIPConn1</controlURL>
<eventSubURL>/igdupnp/control/WANIPConn1</eventSubURL><SCPDURL>/igdconnSCPD.xml</SCPDURL></service></serviceList>
</device></deviceList></device></deviceList></device></root>
"""
ARGUMENTS = {
    "GetExternalIPAddress": {"NewExternalIPAddress": "string"},
    "X_AVM_DE_GetIPv6Prefix": {
        "NewIPv6Prefix": "string",
        "NewPrefixLength": "ui1",
        "NewValidLifetime": "ui4",
        "NewPreferedLifetime": "ui4",
    },
}


def scpd(actions: dict[str, dict[str, str]]) -> str:
    """The description of the service, as AVM's boxes give it."""
    lines, variables = [], []
    for action, arguments in actions.items():
        lines.append(f"<action><name>{action}</name><argumentList>")
        for name, kind in arguments.items():
            variable = name.removeprefix("New")
            lines.append(f"<argument><name>{name}</name><direction>out</direction>")
            lines.append(f"<relatedStateVariable>{variable}</relatedStateVariable></argument>")
            variables.append(f'<stateVariable sendEvents="no"><name>{variable}</name><dataType>{kind}</dataType>')
            variables.append("</stateVariable>")
        lines.append("</argumentList></action>")
    return (
        '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0"><specVersion><major>1</major>'
        f"<minor>0</minor></specVersion><actionList>{''.join(lines)}</actionList>"
        f"<serviceStateTable>{''.join(variables)}</serviceStateTable></scpd>"
    )


class FritzBox:
    """A FRITZ!Box's port 49000, strict: what is not asked as AVM documents it is an error 401 or 500."""

    def __init__(self) -> None:
        self.actions = dict(ARGUMENTS)
        self.values: dict[str, Any] = {
            "NewExternalIPAddress": WAN,
            "NewIPv6Prefix": "2001:db8:78::",
            "NewPrefixLength": 56,
            "NewValidLifetime": 7200,
            "NewPreferedLifetime": 3600,
        }
        self.requests: list[str] = []
        box = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, status: int, body: str) -> None:
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", 'text/xml; charset="utf-8"')
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                box.requests.append(self.path)
                pages = {"/igddesc.xml": DESCRIPTION, "/igdconnSCPD.xml": scpd(box.actions)}
                self.reply(200, pages[self.path]) if self.path in pages else self.send_error(404)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                action = self.headers["SOAPAction"].strip('"').removeprefix(f"{SERVICE}#")
                box.requests.append(action)
                envelope = "{http://schemas.xmlsoap.org/soap/envelope/}"
                sent = ElementTree.fromstring(body)  # noqa: S314 - by our own client
                asked = sent.find(f"{envelope}Body/{{{SERVICE}}}{action}")
                if self.path != "/igdupnp/control/WANIPConn1" or asked is None or "Authorization" in self.headers:
                    return self.send_error(500)
                if action not in box.actions:
                    return self.fault(401, "Invalid Action")
                values = "".join(f"<{name}>{box.values[name]}</{name}>" for name in box.actions[action])
                answer = f'<u:{action}Response xmlns:u="{SERVICE}">{values}</u:{action}Response>'
                return self.reply(200, self.soap(answer))

            def soap(self, body: str) -> str:
                space = "http://schemas.xmlsoap.org/soap"
                return (
                    f'<?xml version="1.0"?><s:Envelope xmlns:s="{space}/envelope/" s:encodingStyle="{space}/encoding/">'
                    f"<s:Body>{body}</s:Body></s:Envelope>"
                )

            def fault(self, code: int, text: str) -> None:
                error = f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode>'
                error += f"<errorDescription>{text}</errorDescription></UPnPError>"
                detail = f"<faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>{error}</detail>"
                self.reply(500, self.soap(f"<s:Fault>{detail}</s:Fault>"))

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def box() -> Iterator[FritzBox]:
    made = FritzBox()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_fritzbox_tells_address_and_prefix(box: FritzBox) -> None:
    handles: dict[str, Any] = {}
    prefix = ipaddress.IPv6Network("2001:db8:78::/56")
    assert fritzbox.ask("127.0.0.1", handles, 2, box.port) == (WAN, prefix)
    assert box.requests == ["/igddesc.xml", "/igdconnSCPD.xml", *ARGUMENTS]
    # Afterwards only the two questions themselves.
    box.values["NewExternalIPAddress"] = "198.51.100.11"
    assert fritzbox.ask("127.0.0.1", handles, 2, box.port) == ("198.51.100.11", prefix)
    assert box.requests[4:] == list(ARGUMENTS)


@pytest.mark.parametrize("change", [{"NewPrefixLength": 0}, {"NewPreferedLifetime": 0}, {"NewIPv6Prefix": "nonsense"}])
def test_a_fritzbox_without_ipv6(box: FritzBox, change: dict[str, Any]) -> None:
    box.values |= change
    assert fritzbox.ask("127.0.0.1", {}, 2, box.port) == (WAN, None)


def test_an_old_fritzbox_that_does_not_know_the_prefix(box: FritzBox) -> None:
    del box.actions["X_AVM_DE_GetIPv6Prefix"]
    assert fritzbox.ask("127.0.0.1", {}, 2, box.port) == (WAN, None)


def test_what_is_no_fritzbox(box: FritzBox, caplog: pytest.LogCaptureFixture) -> None:
    del box.actions["GetExternalIPAddress"]
    handles: dict[str, Any] = {}
    with pytest.raises(AddressError, match="FRITZ!Box"):
        fritzbox.ask("127.0.0.1", handles, 2, box.port)
    assert handles == {}
    with pytest.raises(AddressError, match="FRITZ!Box"):
        fritzbox.ask("127.0.0.1", handles, 2, 9)
    assert not caplog.records


# Who is asked when ----------------------------------------------------------------------------------------------


class Router:
    """A router that speaks some protocols; what it is asked is written down."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"upnp": None, "natpmp": None, "fritzbox": None} | answers
        self.asked: list[str] = []
        self.memory = RouterMemory()
        self.clock = 1000.0
        self.gateway: str | None = GATEWAY
        self.config = AddressConfig(allow_documentation=True)

    def protocol(self, name: str) -> Callable[..., Any]:
        def ask(gateway: str, _memory: RouterMemory, _config: AddressConfig, _limit: float) -> Any:
            assert gateway == (self.config.router or self.gateway)
            self.asked.append(name)
            answer = self.answers[name]
            if callable(answer):
                answer = answer()
            if answer is None:
                raise AddressError(f"No {name} here.", "")
            return answer, None

        return ask

    def ask(self, limit: float = 2) -> tuple[str, str]:
        self.asked = []
        answer = ask_router(
            self.config,
            self.memory,
            lambda: ipaddress.IPv4Address(self.gateway) if self.gateway else None,
            {name: self.protocol(name) for name in self.answers},
            limit,
            lambda: self.clock,
        )
        return str(answer.ipv4), answer.protocol


def test_at_first_all_are_asked_and_the_order_decides() -> None:
    router = Router(natpmp=WAN, fritzbox="198.51.100.66")
    assert router.ask() == (WAN, "natpmp")
    assert {"upnp", "natpmp"} <= set(router.asked)


def test_who_answered_last_is_asked_first_and_alone() -> None:
    router = Router(natpmp=WAN, fritzbox=WAN)
    router.ask()
    for _ in range(3):
        assert router.ask() == (WAN, "natpmp")
        assert router.asked == ["natpmp"]
    router.answers["natpmp"] = None
    assert router.ask() == (WAN, "fritzbox")
    assert router.asked == ["natpmp", "fritzbox"]
    assert router.ask() == (WAN, "fritzbox")
    assert router.asked == ["fritzbox"]
    # It did answer by the former one, so that one does not rest.
    router.answers |= {"natpmp": WAN, "fritzbox": None}
    assert router.ask() == (WAN, "natpmp")


def test_a_router_that_cannot_answer_is_left_alone_for_ten_minutes() -> None:
    router = Router()
    with pytest.raises(AddressError) as first:
        router.ask()
    assert sorted(router.asked) == ["fritzbox", "natpmp", "upnp"]
    for wait in (10, REST - 11):
        router.clock += wait
        with pytest.raises(AddressError) as again:
            router.ask()
        assert router.asked == []
        assert str(again.value) == str(first.value)
    router.clock += 1
    router.answers["upnp"] = WAN
    assert router.ask() == (WAN, "upnp")


def test_a_router_that_starts_again_is_asked_all_the_time() -> None:
    router = Router(upnp=WAN)
    router.ask()
    router.answers["upnp"] = None
    for _ in range(5):
        router.clock += 10
        with pytest.raises(AddressError):
            router.ask()
        assert "upnp" in router.asked
    router.answers["upnp"] = "198.51.100.11"
    assert router.ask() == ("198.51.100.11", "upnp")


@pytest.mark.parametrize(("answer", "said"), [("0.0.0.0", "no IPv4"), ("", "no address"), ("x" * 99, "no address")])
def test_an_answer_without_an_address_is_an_answer(answer: str, said: str) -> None:
    router = Router(upnp=answer)
    for _ in range(2):
        with pytest.raises(NoWanAddressError, match=said):
            router.ask()
    assert router.asked == ["upnp"]


def test_another_router_is_asked_anew() -> None:
    router = Router()
    with pytest.raises(AddressError):
        router.ask()
    router.gateway, router.answers["upnp"] = "192.168.78.1", WAN
    assert router.ask() == (WAN, "upnp")
    router.gateway = None
    with pytest.raises(AddressError, match="no default route"):
        router.ask()
    router.config = AddressConfig(router="192.168.78.1", router_protocols=("fritzbox",))
    router.answers["fritzbox"] = WAN
    assert router.ask() == (WAN, "fritzbox")


def test_a_protocol_that_breaks_off_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(background, "_told", set())

    def broken() -> None:
        raise RuntimeError("a mistake of a library")

    router = Router(upnp=broken, natpmp=WAN)
    assert router.ask() == (WAN, "natpmp")
    told = capsys.readouterr().err
    assert "The question by upnp broke off by a mistake" in told
    assert "RuntimeError: a mistake of a library" in told
    router.answers["natpmp"] = None
    with pytest.raises(AddressError, match="upnp broke off: RuntimeError"):
        router.ask()
    # It rests as any other that does not answer.
    assert "upnp" not in router.asked
    router.clock += REST
    with pytest.raises(AddressError):
        router.ask()
    assert "upnp" in router.asked


def test_one_that_never_answers_does_not_hold_up_the_others() -> None:
    gone = threading.Event()
    router = Router(upnp=lambda: gone.wait(60) and None, natpmp=WAN)
    try:
        start = time.monotonic()
        assert router.ask(limit=0.3) == (WAN, "natpmp")
        assert time.monotonic() - start < 15
        assert router.ask(limit=0.3) == (WAN, "natpmp")
        assert router.asked == ["natpmp"]
        assert "within 0.3 s" in router.memory.mute_why["upnp"]
    finally:
        gone.set()
