"""Every type of provider, without a network: what it is made from, the limits set on it, and what it would write.

The tests run over `SPECS`, so that a new type joins by itself. No request leaves this process: sockets are blocked.
"""

from __future__ import annotations

import dataclasses
import email.message
import io
import json
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import urllib.response
import xmlrpc.client
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import botocore.awsrequest
import botocore.httpsession
import dns.query
import dns.rcode
import dns.resolver
import dns.tsig
import dns.xfr
import httpx
import pytest
import requests
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from octodns.zone import Zone

from hearthmail.ddns import publish, shortfall
from hearthmail.ddns.config import Config, ProviderConfig, parse
from hearthmail.ddns.errors import ConfigError
from hearthmail.ddns.merge import Change
from hearthmail.ddns.providers import SPECS, lexicon
from hearthmail.ddns.providers.dyndns2 import SERVICES
from hearthmail.ddns.providers.limits import TIMEOUT
from hearthmail.ddns.providers.spec import ALL_TYPES, ProviderSpec
from hearthmail.ddns.records import Key, RRset

from .conftest import ZONE

# Those that a program serves, not a person.
SERVED = sorted(name for name, spec in SPECS.items() if spec.make)

# What an entry needs beside what every entry of its type does: one of two keys, or those of the module.
BESIDES: dict[str, dict[str, Any]] = {
    "dyndns2": {
        "url": "https://dyn.example/nic/update",
        "username": "hanako",
        "hostnames": [f"mail.{ZONE}", ZONE],
        "nameservers": ["192.0.2.53"],
    },
    "lexicon": {"module": "powerdns", "pdns_server": "https://pdns.example", "auth_token": "Z2VoZWltZXMgV29ydA=="},
}
# The same types with keys that change what they hold.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in SERVED),
    *(("dyndns2", {"url": None, "service": key, "hostnames": [f"mail.{ZONE}"]}) for key in SERVICES if key),
    ("lexicon", {"types": ["A", "TLSA"]}),
    ("lexicon", {"types": "a, caa"}),
]

# Those over a module of lexicon.
LEXICON = sorted(spec.type for spec in lexicon.SPECS)

# A credential as any other, and valid base64.
SECRET = "Z2VoZWltZXMgV29ydA=="
# The longest wait that we allow for one answer, and for pauses of one reading, in seconds.
LONGEST, LONGEST_PAUSES = 10, 10


class BlockedError(OSError):
    """The network was asked for."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing out."""

    def blocked(*_args: Any, **_kwargs: Any) -> Any:
        raise BlockedError("no network in here")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    monkeypatch.setattr(socket, "create_connection", blocked)


def test_the_network_is_blocked() -> None:
    with pytest.raises(BlockedError):
        socket.socket().connect(("127.0.0.1", 9))
    with pytest.raises(requests.ConnectionError, match="no network in here"):
        requests.get("http://127.0.0.1:9/", timeout=1)


@pytest.fixture(scope="module")
def private_key() -> str:
    """A key as TransIP gives one out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*pem).decode()


@pytest.fixture
def entry(private_key: str) -> Callable[..., dict[str, Any]]:
    """An entry of `dns_providers` as the documentation shows it, with nothing but what is required."""

    def make(spec: ProviderSpec, **changes: Any) -> dict[str, Any]:
        special = {("transip", "key"): private_key}
        options = {
            option.name: special.get((spec.type, option.name), SECRET)
            if option.secret
            else yaml.safe_load(option.example)
            for option in spec.options
            if option.required
        }
        return {"type": spec.type, **options, **BESIDES.get(spec.type, {}), **changes}

    return make


def site(entry: dict[str, Any]) -> Config:
    """A site with one domain at the provider."""
    return parse({"hostname": f"mail.{ZONE}", "domains": [{"name": ZONE, "dns": "home"}], "providers": {"home": entry}})


def provider_config(entry: dict[str, Any]) -> ProviderConfig:
    return site(entry).domains[ZONE]


def made(entry: dict[str, Any]) -> Any:
    return publish.make_provider(provider_config(entry))


# --- what it is made from -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_what_it_holds_is_what_its_package_says(name: str, changes: dict[str, Any], entry: Any) -> None:
    """For those without a package of octoDNS: what the object that reads and writes says, to octoDNS, of itself."""
    spec = SPECS[name]
    options = entry(spec, **changes)
    assert spec.held(options) <= spec.holds <= ALL_TYPES
    assert spec.holds_of or spec.held(options) == spec.holds
    assert frozenset(made(options).SUPPORTS) & ALL_TYPES == spec.held(options)


@pytest.mark.parametrize("name", [name for name in SERVED if SPECS[name].min_python > (3, 11)])
def test_one_that_needs_a_newer_python_says_so(name: str, entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = provider_config(entry(SPECS[name]))
    monkeypatch.setattr(publish, "sys", SimpleNamespace(version_info=(3, 11, 2)))
    with pytest.raises(ConfigError, match=r"needs Python 3\.\d+, and this is 3\.11") as caught:
        publish.make_provider(config)
    assert "Debian 13" in caught.value.way_out


@pytest.mark.parametrize("name", SERVED)
def test_a_library_that_is_not_there_is_named(name: str, entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str, _options: Any) -> Any:
        raise ModuleNotFoundError("No module named 'library'", name="library")

    monkeypatch.setitem(SPECS, name, dataclasses.replace(SPECS[name], make=missing))
    with pytest.raises(ConfigError, match="needs a library that cannot be loaded: No module named 'library'") as caught:
        made(entry(SPECS[name]))
    assert all(package in caught.value.way_out for package in SPECS[name].debian_packages)


def test_porkbun_alone_needs_a_newer_python() -> None:
    assert [name for name in SERVED if SPECS[name].min_python > (3, 11)] == ["porkbun"]


@pytest.mark.parametrize("name", SERVED)
def test_a_missing_credential_is_named(name: str, entry: Any) -> None:
    for key in SPECS[name].required:
        for nothing in ("", None):
            with pytest.raises(ConfigError) as caught:
                site(entry(SPECS[name], **{key: nothing}))
            assert f"dns_providers.home.{key}" in str(caught.value)
            assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", SERVED)
def test_a_credential_is_in_no_description(name: str, entry: Any) -> None:
    config = provider_config(entry(SPECS[name]))
    provider = publish.make_provider(config)
    assert SPECS[name].secrets_of(config.options)
    for key in SPECS[name].secrets_of(config.options):
        for text in (repr(config), repr(provider), str(provider), repr(site(entry(SPECS[name])))):
            assert str(config.options[key]) not in text


def test_only_the_type_lexicon_has_further_keys_and_they_are_secrets(entry: Any) -> None:
    assert [name for name, spec in SPECS.items() if spec.further] == ["lexicon"]
    options = entry(SPECS["lexicon"], auth_totp_secret=SECRET, types=["A"], tpyes="A")
    assert set(SPECS["lexicon"].secrets_of(options)) == {"auth_token", "auth_totp_secret", "pdns_server"}
    assert SPECS["dynu"].secrets_of({"auth_token": SECRET, "auth_more": SECRET}) == ("auth_token",)


@pytest.mark.parametrize(("name", "key"), [("rfc2136", "key_secret"), ("transip", "key")])
def test_a_malformed_credential_is_named_and_not_shown(name: str, key: str, entry: Any) -> None:
    with pytest.raises(ConfigError, match=rf"dns_providers\.home\.{key} is no ") as caught:
        made(entry(SPECS[name], **{key: "not!what;it.should-be"}))
    assert "not!what" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- limits ---------------------------------------------------------------------------------------------------------


# What providers say to somebody who asks too often, each in its own way.
SLOW_DOWN = (
    b'{"error": {"code": "rate_limit_exceeded", "message": "slow down"}, "errors": [{"message": "slow down"}],'
    b' "detail": "Request was throttled. Expected available in 600 seconds.", "message": "slow down",'
    b' "status": "ERROR", "serial": "1", "error_code": "slow", "error_msg": "slow"}'
)


@dataclasses.dataclass
class Heard:
    """What one reading of a zone asked for."""

    timeouts: list[Any] = dataclasses.field(default_factory=list)
    retries: list[int] = dataclasses.field(default_factory=list)
    unchecked: list[str] = dataclasses.field(default_factory=list)
    pauses: list[float] = dataclasses.field(default_factory=list)
    # What is answered: an HTTP status, or 0 for no connection; and with it.
    answer: int = 0
    body: bytes = SLOW_DOWN
    # What a zone transfer ends with.
    transfer: Exception = dataclasses.field(default_factory=lambda: BlockedError("no network in here"))

    def listen(self, timeout: Any, checked: bool, url: str) -> None:
        self.timeouts.append(timeout)
        if not checked and url.startswith("https"):
            self.unchecked.append(url)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Listen at the lowest place of `requests`, urllib and dnspython, where the time-out is what really counts."""
    heard = Heard()

    def send(self: Any, request: Any, stream: bool = False, timeout: Any = None, verify: Any = True, **_: Any) -> Any:
        heard.listen(timeout, bool(verify), request.url)
        retries = self.max_retries
        heard.retries.append(retries.total)
        # urllib3 makes no pause before the first repetition.
        heard.pauses += [retries.backoff_factor * 2**count for count in range(1, retries.total)]
        assert retries.total == 0 or not retries.respect_retry_after_header
        if not heard.answer:
            raise requests.ConnectionError("no network in here")
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = heard.answer, request.url, request
        answer._content, answer._content_consumed = heard.body, True  # type: ignore[attr-defined]
        return answer

    def do_open(_self: Any, _class: Any, request: Any, context: Any = None, **_: Any) -> Any:
        # Python's own mark for "that of all sockets".
        unset = request.timeout is socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
        checked = context is None or context.verify_mode == ssl.CERT_REQUIRED
        heard.listen(socket.getdefaulttimeout() if unset else request.timeout, checked, request.full_url)
        if not heard.answer:
            raise urllib.error.URLError("no network in here")
        answer = urllib.response.addinfourl(
            io.BytesIO(heard.body), email.message.Message(), request.full_url, heard.answer
        )
        answer.msg = "slow down"  # type: ignore[attr-defined]
        return answer

    def resolve(self: Any, *_args: Any, lifetime: Any = None, **_: Any) -> Any:
        heard.timeouts.append(lifetime or self.lifetime)
        raise BlockedError("no network in here")

    def udp(*_args: Any, timeout: Any, **_: Any) -> Any:
        heard.timeouts.append(timeout)
        raise BlockedError("no network in here")

    def xfr(*_args: Any, timeout: Any, lifetime: Any, **_: Any) -> Any:
        heard.timeouts += [timeout, lifetime]
        raise heard.transfer

    def aws(self: Any, request: Any) -> Any:
        heard.listen(None, True, request.url)
        raw = SimpleNamespace(stream=lambda *_args, **_kwargs: [heard.body])
        return botocore.awsrequest.AWSResponse(request.url, heard.answer, {}, raw)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    monkeypatch.setattr(urllib.request.AbstractHTTPHandler, "do_open", do_open)
    monkeypatch.setattr(dns.resolver.Resolver, "resolve", resolve)
    monkeypatch.setattr(dns.query, "udp_with_fallback", udp)
    monkeypatch.setattr(dns.query, "xfr", xfr)

    async def by_httpx(_self: Any, request: Any) -> httpx.Response:
        heard.timeouts += request.extensions["timeout"].values()
        if not heard.answer:
            raise httpx.ConnectError("no network in here", request=request)
        return httpx.Response(heard.answer, content=heard.body, request=request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", by_httpx)
    monkeypatch.setattr(botocore.httpsession.URLLib3Session, "send", aws)
    monkeypatch.setattr(time, "sleep", heard.pauses.append)
    return heard


def boto_limits(provider: Any, heard: Heard) -> None:
    config = provider._conn.meta.config
    heard.timeouts += [config.connect_timeout, config.read_timeout]
    heard.retries.append(config.retries["total_max_attempts"] - 1)
    # True, or the file of authorities that the environment names.
    if not provider._conn._endpoint.http_session._verify:
        heard.unchecked.append("boto3")


def porkbun_limits(provider: Any, heard: Heard) -> None:
    config = provider._client._async_client._config
    heard.timeouts.append(config.timeout)
    heard.retries.append(config.max_retries)


# Where the limits are, if not heard from `requests` or dnspython.
ELSEWHERE: dict[str, Callable[[Any, Heard], None]] = {"route53": boto_limits, "porkbun": porkbun_limits}


def write_by_dyndns2(provider: Any) -> None:
    """One new address, where the name servers know none."""
    provider.question = lambda _server, key: RRset(key, 0, frozenset())
    new = RRset(Key(ZONE, "mail", "A"), 60, frozenset({"198.51.100.7"}))
    job = publish.Job(ZONE, ProviderConfig("home", "dyndns2"), (new,), {}, frozenset(), adopt=False)
    (done,) = publish.work([job], True, False, lambda _config: provider)
    if done.error:
        raise done.error


def write_to_duckdns(provider: Any) -> None:
    provider._class._get_dns_record = staticmethod(lambda *_: {})
    zone = ZONES["duckdns"]
    new = RRset(Key(zone, "", "A"), 60, frozenset({"198.51.100.7"}))
    provider.apply(publish.to_plan(provider, publish.read_zone(provider, zone), [Change(new.key, None, new)]))


# These read by DNS, and only write by HTTP.
WRITE: dict[str, Callable[[Any], None]] = {"dyndns2": write_by_dyndns2, "duckdns": write_to_duckdns}
# Where the zone must have a name of the provider's.
ZONES = {"duckdns": "hearth.duckdns.org"}


@pytest.mark.parametrize("name", SERVED)
def test_our_limits_are_set(name: str, entry: Any, heard: Heard) -> None:
    provider = made(entry(SPECS[name]))
    assert heard.timeouts == [], "it asked the network when it was made"
    if name in ELSEWHERE:
        ELSEWHERE[name](provider, heard)
    else:
        with pytest.raises(Exception, match=FAILED):
            read_of(name)(provider)
    check_limits(heard)


@pytest.mark.parametrize("name", sorted(WRITE))
def test_our_limits_are_set_where_it_writes(name: str, entry: Any, heard: Heard) -> None:
    with pytest.raises(Exception, match=FAILED):
        WRITE[name](made(entry(SPECS[name])))
    assert heard.timeouts == [TIMEOUT]
    check_limits(heard)


@pytest.mark.parametrize("name", [name for name in LEXICON if name not in {"duckdns", "valuedomain"}])
def test_lexicons_requests_have_our_time_outs(name: str, entry: Any, heard: Heard) -> None:
    with pytest.raises(Exception, match=FAILED):
        read_of(name)(made(entry(SPECS[name])))
    assert set(heard.timeouts) == {TIMEOUT}


# How a call that was not let out ends.
FAILED = r"no network|retries|request failed|cannot be asked|None of the name servers"


def read_of(name: str) -> Callable[[Any], None]:
    def read(provider: Any) -> None:
        provider.populate(Zone(f"{ZONES.get(name, ZONE)}.", []), target=True, lenient=True)

    return read


def check_limits(heard: Heard) -> None:
    assert heard.timeouts
    for timeout in heard.timeouts:
        assert timeout is not None
        assert all(0 < one <= LONGEST for one in (timeout if isinstance(timeout, tuple) else (timeout,)))
    assert max(heard.retries, default=0) <= 2
    assert len(heard.timeouts) <= 3
    assert sum(heard.pauses) <= LONGEST_PAUSES
    assert heard.unchecked == []


@pytest.mark.parametrize("status", [429, 502, 503])
@pytest.mark.parametrize("name", [name for name in SERVED if name not in {"rfc2136", *ELSEWHERE}])
def test_no_answer_makes_it_wait_for_long(name: str, status: int, entry: Any, heard: Heard) -> None:
    """A provider may ask for a pause of minutes: the agent makes it, and not a sleep in the middle of a run."""
    heard.answer = status
    with pytest.raises(Exception, match=r".") as caught:
        WRITE.get(name, read_of(name))(made(entry(SPECS[name])))
    assert not isinstance(caught.value, AssertionError)
    assert 1 <= len(heard.timeouts) <= 3
    assert sum(heard.pauses) <= LONGEST_PAUSES


# --- a credential that is refused ------------------------------------------------------------------------------------

# What is said with HTTP 401 and 403: the secret itself is in it, as some services do.
REFUSED = json.dumps(
    {
        **dict.fromkeys(
            ("message", "detail", "error_msg", "status", "serial", "error_code"), f"no access for {SECRET}"
        ),
        "error": {"code": "unauthorized", "message": f"no access for {SECRET}"},
        "errors": [{"message": f"no access for {SECRET}"}],
    }
).encode()
NOT_BY_HTTP = {"rfc2136"}
REFUSALS = [
    (name, status)
    for name in SERVED
    for status in (401, 403)
    # PowerDNS' 403 is about the address that asks: see `webserver-allow-from`.
    if name not in NOT_BY_HTTP and (name, status) != ("powerdns", 403)
]


def aws_error(code: str) -> bytes:
    return (
        '<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>Look at it.</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    ).encode()


def namecheap_error(number: int, text: str) -> bytes:
    space = "http://api.namecheap.com/xml.response"
    errors = f'<Errors><Error Number="{number}">{text}</Error></Errors>'
    return f'<ApiResponse Status="ERROR" xmlns="{space}">{errors}</ApiResponse>'.encode()


def inwx_error(code: int, text: str) -> bytes:
    return xmlrpc.client.dumps(({"code": code, "msg": text},), methodresponse=True).encode()


# How else they say it, as the real ones do.
IN_THEIR_WORDS: list[tuple[str, int, bytes]] = [
    ("cloudflare", 400, b'{"success": false, "errors": [{"code": 6003, "message": "Invalid request headers"}]}'),
    ("cloudns", 200, b'{"status": "Failed", "statusDescription": "Invalid authentication, incorrect auth-id."}'),
    ("duckdns", 200, b"KO"),
    ("dyndns2", 200, b"badauth"),
    ("hetzner", 401, b'{"error": {"code": "unauthorized", "message": "the one provided is not valid"}}'),
    ("hetzner", 403, b'{"error": {"code": "forbidden", "message": "insufficient permissions"}}'),
    ("inwx", 200, inwx_error(2200, "Authentication error")),
    ("inwx", 200, inwx_error(2201, "Authorization error")),
    ("namecheap", 200, namecheap_error(1011102, "API Key is invalid or API access has not been enabled")),
    ("netcup", 200, b'{"status": "error", "statuscode": 4013, "longmessage": "More than 180 requests per minute."}'),
    ("porkbun", 200, b'{"status": "ERROR", "message": "Invalid API key. (002)"}'),
    ("porkbun", 400, b'{"status": "ERROR", "message": "Domain is not opted in to API access: not authorized."}'),
    ("ovh", 403, b'{"errorCode": "INVALID_CREDENTIAL", "message": "This credential is not valid"}'),
    ("ovh", 403, b'{"errorCode": "NOT_GRANTED_CALL", "message": "This call has not been granted"}'),
    (
        "sakuracloud",
        401,
        b'{"status": "401 Unauthorized", "serial": "f", "error_code": "unauthorized", "error_msg": ""}',
    ),
    *(
        ("route53", 403, aws_error(code))
        for code in ("InvalidClientTokenId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken")
    ),
]
BY_TRANSFER = [dns.xfr.TransferError(dns.rcode.NOTAUTH), dns.tsig.PeerBadKey(), dns.tsig.PeerBadSignature()]


def outcome(name: str, entry: dict[str, Any]) -> str:
    """What is said when an address is to be written, by the way that the agent goes."""
    config = provider_config(entry)
    zone = ZONES.get(name, ZONE)
    new = RRset(Key(zone, "" if name in ZONES else "mail", "A"), 60, frozenset({"198.51.100.7"}))

    def make(config: ProviderConfig) -> Any:
        provider = publish.make_provider(config)
        # These two read by DNS, which has no credential.
        if name == "dyndns2":
            provider.question = lambda _server, key: RRset(key, 0, frozenset())
        if name == "duckdns":
            provider._class._get_dns_record = staticmethod(lambda *_: {})
        return provider

    job = publish.Job(zone, config, (new,), {}, frozenset(), adopt=False)
    (done,) = publish.work([job], True, False, make)
    assert done.error
    assert not done.written
    return str(done.error)


def assert_names_the_credential(name: str, options: dict[str, Any], said: str) -> None:
    keys = SPECS[name].secrets_of(options)
    assert any(f"dns_providers.home.{key}" in said or f"`{key}`" in said for key in keys), said
    for key in keys:
        for form in (str(options[key]), quote(str(options[key]), safe=""), quote_plus(str(options[key]))):
            assert form not in said, said


@pytest.mark.parametrize(("name", "status"), REFUSALS)
def test_a_refused_credential_is_named_and_not_shown(name: str, status: int, entry: Any, heard: Heard) -> None:
    heard.answer, heard.body = status, REFUSED if name != "route53" else aws_error("AccessDenied")
    options = entry(SPECS[name])
    assert_names_the_credential(name, options, outcome(name, options))


@pytest.mark.parametrize(("name", "status", "body"), IN_THEIR_WORDS)
def test_a_refusal_in_words_of_its_own_names_the_credential(
    name: str, status: int, body: bytes, entry: Any, heard: Heard
) -> None:
    heard.answer, heard.body = status, body
    options = entry(SPECS[name])
    assert_names_the_credential(name, options, outcome(name, options))


@pytest.mark.parametrize("error", BY_TRANSFER, ids=str)
def test_a_refused_key_of_a_server_of_your_own_is_named(error: Exception, entry: Any, heard: Heard) -> None:
    heard.transfer = error
    options = entry(SPECS["rfc2136"])
    assert_names_the_credential("rfc2136", options, outcome("rfc2136", options))


def test_powerdns_that_lets_nobody_in_from_here_is_no_matter_of_the_key(entry: Any, heard: Heard) -> None:
    heard.answer, heard.body = 403, b"Forbidden"
    said = outcome("powerdns", entry(SPECS["powerdns"]))
    assert "webserver-allow-from" in said
    assert "api_key" not in said


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("name", [name for name in SERVED if name not in NOT_BY_HTTP])
def test_a_fault_of_the_provider_is_not_taken_for_a_refusal(name: str, status: int, entry: Any, heard: Heard) -> None:
    heard.answer, heard.body = status, SLOW_DOWN if name != "route53" else aws_error("InternalFailure")
    said = outcome(name, entry(SPECS[name]))
    assert "not accepted" not in said
    assert "correct" not in said
    assert SECRET not in said


# --- what it would write --------------------------------------------------------------------------------------------

DKIM = "v=DKIM1; k=rsa; p=" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" * 11
RECORDS = [
    ("mail", "A", ["198.51.100.10"]),
    ("mail", "AAAA", ["2001:db8::10"]),
    ("", "MX", [f"10 mail.{ZONE}.", "20 backup.example."]),
    ("", "TXT", ["v=spf1 mx include:isp.example -all"]),
    ("2026a._domainkey", "TXT", [DKIM]),
    ("_dmarc", "TXT", [f"v=DMARC1; p=quarantine; rua=mailto:dmarc@{ZONE}"]),
    ("_acme-challenge", "TXT", ["gfj9Xq-Rg85nM", "b2-second"]),
    ("_25._tcp.mail", "TLSA", [f"3 1 1 {'ab' * 32}"]),
    ("_imaps._tcp", "SRV", [f"0 1 993 mail.{ZONE}."]),
    ("_imap._tcp", "SRV", ["0 0 0 ."]),
    ("", "CAA", ['0 issue "letsencrypt.org; validationmethods=dns-01"']),
    ("autoconfig", "CNAME", [f"mail.{ZONE}."]),
]
FULL = [RRset(Key(ZONE, name, rdtype), 3600, frozenset(values)) for name, rdtype, values in RECORDS]


@pytest.mark.parametrize("name", SERVED)
def test_the_plan_for_the_full_record_set(name: str, entry: Any) -> None:
    assert len(DKIM) > 255
    config = site(entry(SPECS[name]))
    provider = publish.make_provider(config.domains[ZONE])
    held, lost = shortfall.split(FULL, config)
    assert {rrset.key.type for rrset in lost} == ALL_TYPES - config.domains[ZONE].holds
    plan = publish.to_plan(provider, Zone(f"{ZONE}.", []), [Change(rrset.key, None, rrset) for rrset in held])
    assert publish.snapshot(plan.desired) == {rrset.key: rrset for rrset in held}
    assert {(change.new.name, change.new._type) for change in plan.changes} == {(r.key.name, r.key.type) for r in held}
    assert plan.change_counts["Create"] == len(held) == len(plan.changes)


@pytest.mark.parametrize("name", SERVED)
def test_no_other_package_is_loaded(name: str, entry: Any) -> None:
    """In a Python of its own: nothing of octoDNS before a provider is made, and then no type's but its own."""
    script = (
        "import json, sys\n"
        "from hearthmail.ddns.providers import SPECS\n"
        "def loaded(): return sorted({m.split('.')[0] for m in sys.modules if m.startswith('octodns')})\n"
        f"before, entry = loaded(), {entry(SPECS[name])!r}\n"
        "heavy = sorted({'requests', 'boto3', 'lexicon', 'httpx', 'dns'} & set(sys.modules))\n"
        f"SPECS[{name!r}].make('home', entry)\n"
        "print(json.dumps([before, heavy, loaded(), 'lexicon' in sys.modules]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_path())
    before, heavy, after, with_lexicon = json.loads(ran.stdout)
    assert (before, heavy) == ([], [])
    assert sum(module.startswith("octodns_") for module in after) <= 1, after
    assert with_lexicon == (name in LEXICON)


@pytest.mark.parametrize("name", [name for name in LEXICON if not SPECS[name].debian_packages])
def test_no_module_of_lexicon_with_a_type_needs_a_compiled_package(name: str, entry: Any) -> None:
    """In a Python of its own, without the one that lexicon asks for."""
    script = (
        "import sys\n"
        "sys.modules['cryptography'] = None\n"
        "from hearthmail.ddns.providers import SPECS\n"
        f"SPECS[{name!r}].make('home', {entry(SPECS[name])!r}).session({ZONES.get(name, ZONE)!r})\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=_path())


def _path() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}


# --- the packages' faults -------------------------------------------------------------------------------------------


def cloudns_rows(provider: Any, rows: list[dict[str, Any]]) -> None:
    provider._zone_records[f"{ZONE}."] = {
        row["id"]: {"id": row["id"], "host": row["name"], "type": row["type"], "ttl": row["ttl"], **row["cloudns"]}
        for row in rows
    }


def easydns_rows(provider: Any, rows: list[dict[str, Any]]) -> None:
    provider._zone_records[f"{ZONE}."] = [
        {"id": row["id"], "host": row["name"], "type": row["type"], "ttl": row["ttl"], "rdata": row["text"]}
        for row in rows
    ]


def infomaniak_rows(provider: Any, rows: list[dict[str, Any]]) -> None:
    provider._zone_records[f"{ZONE}."] = [
        {"id": row["id"], "source": row["name"] or ".", "type": row["type"], "ttl": row["ttl"], "target": row["text"]}
        for row in rows
    ]


def inwx_rows(provider: Any, rows: list[dict[str, Any]]) -> None:
    full = [{**row, "name": f"{row['name']}.{ZONE}".lstrip("."), "content": row["text"]} for row in rows]
    provider._client.list_records = lambda _domain: full


def ovh_rows(provider: Any, rows: list[dict[str, Any]]) -> None:
    by_id = {
        # As OVH's own page enters an SPF.
        row["id"]: {
            "id": row["id"],
            "subDomain": row["name"],
            "ttl": row["ttl"],
            "target": row["text"],
            "fieldType": "SPF" if row["text"].startswith("v=spf1") else row["type"],
        }
        for row in rows
    }
    provider._client.get = lambda path, **_: list(by_id) if path.endswith("/record") else by_id[path.rpartition("/")[2]]
    provider._client.post = lambda *_args, **_kwargs: None


def porkbun_rows(provider: Any, rows: list[dict[str, Any]]) -> None:
    listed = [
        SimpleNamespace(
            id=row["id"],
            name=f"{row['name']}.{ZONE}".lstrip("."),
            record_type=row["type"],
            ttl=row["ttl"],
            content=row["text"],
            priority=0,
        )
        for row in rows
    ]
    provider._client.dns.list = lambda _domain: listed


BY_ROWS: dict[str, Callable[[Any, list[dict[str, Any]]], None]] = {
    "cloudns": cloudns_rows,
    "easydns": easydns_rows,
    "infomaniak": infomaniak_rows,
    "inwx": inwx_rows,
    "ovh": ovh_rows,
    "porkbun": porkbun_rows,
}
TLSA = [f"3 1 1 {digit * 64}" for digit in "ab"]
STANDING = [
    ("1", "", "TXT", 3600, "v=spf1 -all", {"record": "v=spf1 -all"}),
    ("2", "", "TXT", 3600, "site-verification=AbC;x", {"record": "site-verification=AbC;x"}),
    ("3", "", "CAA", 3600, '0 issue "a.example"', {"caa_flag": "0", "caa_type": "issue", "caa_value": "a.example"}),
    ("4", "mail", "A", 300, "192.0.2.1", {"record": "192.0.2.1"}),
]
STANDING_TLSA = [
    (
        str(number),
        "_25._tcp.mail",
        "TLSA",
        3600,
        text,
        {"record": text[6:], "tlsa_usage": "3", "tlsa_selector": "1", "tlsa_matching_type": "1"},
    )
    for number, text in enumerate(TLSA, 5)
]


@pytest.mark.parametrize("name", sorted(BY_ROWS))
def test_an_entry_that_stays_is_not_touched(
    name: str, entry: Any, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    """SPF changes beside a foreign text, an old TLSA goes, an address moves with a new TTL: nothing else happens."""
    provider = made(entry(SPECS[name]))
    standing = STANDING + (STANDING_TLSA if "TLSA" in SPECS[name].holds else [])
    names = ("id", "name", "type", "ttl", "text", "cloudns")
    BY_ROWS[name](provider, [dict(zip(names, row, strict=True)) for row in standing])
    steps: list[tuple[str, Any]] = []
    monkeypatch.setattr(
        provider,
        "_remove",
        lambda _zone, row: steps.append(("out", vars(row)["id"] if hasattr(row, "id") else row["id"])),
    )
    monkeypatch.setattr(
        provider,
        "_add",
        lambda _zone, record: steps.append(("in", (record._type, record.ttl, sorted(map(str, record.values))))),
    )
    existing = publish.read_zone(provider, ZONE)
    there = publish.snapshot(existing)
    apex, address = Key(ZONE, "", "TXT"), Key(ZONE, "mail", "A")
    assert there[apex].values == {"v=spf1 -all", "site-verification=AbC;x"}
    after = {
        apex: RRset(apex, 3600, frozenset({"v=spf1 mx -all", "site-verification=AbC;x"})),
        address: RRset(address, 60, frozenset({"198.51.100.7"})),
    }
    if "TLSA" in SPECS[name].holds:
        tlsa = Key(ZONE, "_25._tcp.mail", "TLSA")
        assert there[tlsa].values == set(TLSA)
        after[tlsa] = RRset(tlsa, 3600, frozenset({TLSA[1]}))
    provider.apply(publish.to_plan(provider, existing, [Change(key, there[key], new) for key, new in after.items()]))
    spf, moved = ("in", ("TXT", 3600, ["v=spf1 mx -all"])), ("in", ("A", 60, ["198.51.100.7"]))
    gone = [("out", "5")] if "TLSA" in SPECS[name].holds else []
    assert sorted(steps) == sorted([spf, ("out", "1"), ("out", "4"), moved, *gone])
    # The new one is there before the old one goes; with another TTL it is the other way round.
    assert steps.index(spf) < steps.index(("out", "1"))
    assert steps.index(("out", "4")) < steps.index(moved)


def test_scaleway_keeps_all_texts_of_a_name(entry: Any) -> None:
    provider = made(entry(SPECS["scaleway"]))
    texts = ("v=spf1 -all", "site-verification=AbC;x")
    provider._zone_records[f"{ZONE}."] = [{"name": "", "type": "TXT", "ttl": 3600, "data": text} for text in texts]
    existing = publish.read_zone(provider, ZONE)
    apex = Key(ZONE, "", "TXT")
    there = publish.snapshot(existing)[apex]
    assert there.values == set(texts)
    sent: list[Any] = []
    provider._client.record_updates = lambda _zone, data: sent.append(data)
    new = RRset(apex, 3600, there.values - {"v=spf1 -all"} | {"v=spf1 mx -all"})
    provider.apply(publish.to_plan(provider, existing, [Change(apex, there, new)]))
    (change,) = sent[0]["changes"]
    assert {row["data"] for row in change["set"]["records"]} == {"v=spf1 mx -all", "site-verification=AbC;x"}


def test_desec_keeps_the_parameters_of_a_caa(entry: Any) -> None:
    provider = made(entry(SPECS["desec"]))
    value = '0 issue "letsencrypt.org; accounturi=https://a.example/1"'
    provider.desec_api.get_rrset = lambda _zone: [{"type": "CAA", "subname": "", "ttl": 3600, "records": [value]}]
    assert publish.snapshot(publish.read_zone(provider, ZONE))[Key(ZONE, "", "CAA")].values == {value}


def test_gandi_replaces_in_one_request(entry: Any) -> None:
    provider = made(entry(SPECS["gandi"]))
    texts = ['"v=spf1 -all"', '"site-verification=AbC;x"']
    provider._zone_records[f"{ZONE}."] = [
        {"rrset_name": "", "rrset_type": "TXT", "rrset_ttl": 300, "rrset_values": texts}
    ]
    sent: list[Any] = []
    provider._client.zone = lambda _zone: {}
    provider._client._request = lambda method, path, data=None: sent.append((method, path, data))
    existing = publish.read_zone(provider, ZONE)
    apex = Key(ZONE, "", "TXT")
    there = publish.snapshot(existing)[apex]
    new = RRset(apex, 300, there.values - {"v=spf1 -all"} | {"v=spf1 mx -all"})
    provider.apply(publish.to_plan(provider, existing, [Change(apex, there, new)]))
    (put,) = sent
    assert put[:2] == ("PUT", f"/livedns/domains/{ZONE}/records/@/TXT")
    assert sorted(put[2]["rrset_values"]) == ["site-verification=AbC;x", "v=spf1 mx -all"]


def test_hetzner_takes_no_failed_question_for_an_empty_zone(entry: Any) -> None:
    provider = made(entry(SPECS["hetzner"]))

    class Broken:
        id, name, ttl = 1, ZONE, 3600

        def get_rrset_all(self) -> Any:
            raise ConnectionError("no answer")

    provider._client._zones.get_all = lambda: [Broken()]
    provider._client._zones.get_by_id = lambda _id: Broken()
    with pytest.raises(ConnectionError):
        publish.read_zone(provider, ZONE)


def test_a_whole_zone_is_not_written_over_what_is_not_known(entry: Any) -> None:
    provider = made(entry(SPECS["sakuracloud"]))
    rows = [{"Name": "@", "Type": "TXT", "RData": "x"}, {"Name": "@", "Type": "NEWTYPE", "RData": "y"}]
    provider.api._common_service_item_map = {f"{ZONE}.": {"ID": "1", "Settings": {"DNS": {"ResourceRecordSets": rows}}}}
    written: list[Any] = []
    provider.api._put_common_service_item = lambda _id, data: written.append(data) or {"CommonServiceItem": {}}
    existing = publish.read_zone(provider, ZONE)
    new = RRset(Key(ZONE, "mail", "A"), 60, frozenset({"198.51.100.7"}))
    plan = publish.to_plan(provider, existing, [Change(new.key, None, new)])
    with pytest.raises(Exception, match="NEWTYPE"):
        provider.apply(plan)
    assert written == []
    rows.pop()
    provider.apply(plan)
    assert len(written[0]["CommonServiceItem"]["Settings"]["DNS"]["ResourceRecordSets"]) == 2


def test_route53_asks_octodns_for_the_continent(entry: Any) -> None:
    made(entry(SPECS["route53"]))
    from octodns_route53 import provider

    assert provider.country_alpha2_to_continent_code("JP") == "AS"
