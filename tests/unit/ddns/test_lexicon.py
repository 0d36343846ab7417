"""The bridge to dns-lexicon: every module offline, the named types against their far ends, PowerDNS over HTTP."""

from __future__ import annotations

import argparse
import importlib.util
import json
import pkgutil
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from urllib3.util.retry import Retry

from hearthmail.ddns import publish, text
from hearthmail.ddns.config import ProviderConfig
from hearthmail.ddns.errors import ConfigError, ProviderError
from hearthmail.ddns.providers import SPECS
from hearthmail.ddns.providers.lexicon import SPECS as LEXICON
from hearthmail.ddns.providers.lexicon_bridge import LexiconProvider, guarded, load, quoted_txt, unquoted
from hearthmail.ddns.publish import Job, make_provider, work
from hearthmail.ddns.records import Key, RRset, canonical
from hearthmail.ddns.report import OK

from .conftest import World
from .lexicon_fakes import FAKES, SECRET, ZONE, Fake, Row

NAMED = sorted(spec.type for spec in LEXICON if spec.type != "lexicon")
DKIM = "v=DKIM1; k=rsa; p=" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A/" * 12
TLSA = "3 1 1 " + "ab" * 32


def rrset(name: str, kind: str, *values: str, ttl: int = 3600) -> RRset:
    return RRset(Key(ZONE, name, kind), ttl, frozenset(canonical(kind, value) for value in values))


def full(ipv4: str = "198.51.100.10") -> list[RRset]:
    """Every type of ours, as for a site with all roles."""
    return [
        rrset("mail", "A", ipv4, ttl=60),
        rrset("mail", "AAAA", "2001:db8::10", ttl=60),
        rrset("", "MX", "10 mail.hearth.example.", "20 backup.isp.example."),
        rrset("", "TXT", "v=spf1 mx -all"),
        rrset("_dmarc", "TXT", "v=DMARC1; p=reject"),
        rrset("k1._domainkey", "TXT", DKIM),
        rrset("autoconfig", "CNAME", "mail.other.example."),
        rrset("_imaps._tcp", "SRV", "0 1 993 mail.hearth.example."),
        rrset("_25._tcp.mail", "TLSA", TLSA),
        rrset("", "CAA", '0 issue "letsencrypt.org"'),
    ]


def foreign() -> list[Row]:
    return [
        Row("TXT", "", "sitecheck=abc with words; and more"),
        Row("A", "www", "203.0.113.5"),
        Row("A", "www", "203.0.113.6"),
        Row("MX", "shop", "mx.provider.example.", 10),
        Row("MX", "shop", "mx2.provider.example.", 20),
        Row("CNAME", "blog", "pages.other.example."),
    ]


@pytest.fixture(params=[one for one in NAMED if one != "duckdns"])
def far_end(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Fake]:
    fake = FAKES[request.param]()
    for row in foreign():
        fake.add(row)
    if request.param != "namecheap":
        # A type that octoDNS or the module does not know.
        fake.add(Row("LOC", "where", "somewhere 1 2"))
    fake.install(monkeypatch)
    return request.param, fake


def run(kind: str, options: dict[str, Any], wanted: list[RRset], owned: Any = None, **job: Any) -> publish.Done:
    config = ProviderConfig("x", kind, options)
    held = SPECS[kind].held(options)
    ours = tuple(one for one in wanted if one.key.type in held)
    (done,) = work([Job(ours[0].key.zone, config, ours, owned or {}, frozenset(), adopt=False, **job)], True, False)
    return done


def test_the_full_record_set_is_written_moved_and_left_alone(far_end: tuple[str, Fake]) -> None:
    kind, fake = far_end
    before = fake.values
    held = SPECS[kind].held({})
    done = run(kind, fake.options, full())
    assert (done.error, done.written) == (None, True)
    for one in full():
        if one.key.type in held:
            assert {canonical(one.key.type, text) for text in fake.values[(one.key.name, one.key.type)]} >= one.values
    assert all(values <= fake.values[place] for place, values in before.items())
    # Nothing to do the second time.
    count = fake.writes
    assert done.merge
    again = run(kind, fake.options, full(), done.merge.owned)
    assert (again.error, fake.writes) == (None, count)
    assert again.merge
    assert again.merge.changes == []
    # Moved: the address is never absent, and the old one is gone.
    fake.history.clear()
    moved = run(kind, fake.options, full("198.51.100.99"), again.merge.owned)
    assert (moved.error, moved.written) == (None, True)
    assert all(state.get(("mail", "A")) for state in fake.history)
    assert fake.values[("mail", "A")] == {"198.51.100.99"}
    assert all(values <= fake.values[place] for place, values in before.items())
    # Taken back: only ours goes.
    assert moved.merge
    rest = [one for one in full("198.51.100.99") if one.key.type in ("A", "AAAA")]
    assert run(kind, fake.options, rest, moved.merge.owned).error is None
    assert {place: values for place, values in fake.values.items() if place[0] != "mail"} == before
    # valuedomain uses urllib, which has one for all.
    assert fake.timeouts == ({10.0} if kind == "valuedomain" else {(5.0, 10.0)})


def test_a_hand_made_change_is_healed(far_end: tuple[str, Fake]) -> None:
    kind, fake = far_end
    done = run(kind, fake.options, full())
    assert done.merge
    row = next(row for row in fake.rows if (row.name, row.type) == ("mail", "A"))
    row.value = "203.0.113.77"
    assert run(kind, fake.options, full(), done.merge.owned).written
    assert fake.values[("mail", "A")] == {"198.51.100.10"}


def test_a_refusal_names_the_keys_and_hides_the_secret(far_end: tuple[str, Fake]) -> None:
    kind, fake = far_end
    fake.refuse = 401
    error = run(kind, fake.options, full()).error
    assert isinstance(error, ProviderError)
    assert SECRET not in str(error)
    assert all(f"dns_providers.x.{key}" in str(error) for key in SPECS[kind].secrets)


def test_duck_dns_sets_one_address_without_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FAKES["duckdns"]()
    fake.install(monkeypatch)
    zone = "hearth.duckdns.org"

    def both(ipv4: str) -> list[RRset]:
        return [
            RRset(Key(zone, "", "A"), 60, frozenset({ipv4})),
            RRset(Key(zone, "", "AAAA"), 60, frozenset({"2001:db8::10"})),
        ]

    done = run("duckdns", fake.options, both("198.51.100.10"))
    assert (done.error, done.written, fake.writes) == (None, True, 2)
    assert done.merge
    moved = run("duckdns", fake.options, both("198.51.100.11"), done.merge.owned)
    assert (moved.written, fake.writes) == (True, 3)
    assert fake.values == {("", "A"): {"198.51.100.11"}, ("", "AAAA"): {"2001:db8::10"}}
    lower = RRset(Key(zone, "mail", "A"), 60, frozenset({"198.51.100.11"}))
    assert "not mail in it" in str(run("duckdns", fake.options, [lower]).error)
    fake.refuse = 500
    assert SECRET not in str(run("duckdns", fake.options, both("198.51.100.12"), done.merge.owned).error)


def test_duck_dns_is_not_written_to_because_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read by DNS, so what is ours is known from memory; a person's `apply` looks at what stands there."""
    fake = FAKES["duckdns"]()
    fake.add(Row("A", "", "203.0.113.66"))
    fake.install(monkeypatch)
    ipv4 = RRset(Key("hearth.duckdns.org", "", "A"), 60, frozenset({"198.51.100.10"}))
    done = run("duckdns", fake.options, [ipv4], {ipv4.key: ipv4.values})
    assert (done.error, done.merge and done.merge.changes, fake.writes) == (None, [], 0)
    done = run("duckdns", fake.options, [ipv4], {ipv4.key: ipv4.values}, in_person=True)
    assert (done.error, done.written, fake.values) == (None, True, {("", "A"): {"198.51.100.10"}})


def test_duck_dns_cannot_take_one_address_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FAKES["duckdns"]()
    zone = "hearth.duckdns.org"
    fake.add(Row("A", "", "198.51.100.10"))
    fake.add(Row("AAAA", "", "2001:db8::10"))
    fake.install(monkeypatch)
    ipv4 = RRset(Key(zone, "", "A"), 60, frozenset({"198.51.100.11"}))
    ipv6 = RRset(Key(zone, "", "AAAA"), 60, frozenset({"2001:db8::10"}))
    done = run("duckdns", fake.options, [ipv4], {ipv4.key: frozenset({"198.51.100.10"}), ipv6.key: ipv6.values})
    assert done.merge
    assert (done.error, done.written, done.merge.owned) == (None, True, {one.key: one.values for one in (ipv4, ipv6)})
    assert "both addresses together" in str(done.merge.withheld[ipv6.key])
    assert fake.values == {("", "A"): {"198.51.100.11"}, ("", "AAAA"): {"2001:db8::10"}}


def test_what_a_module_loses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that replaces the place: the worst of habits."""
    fake = FAKES["ionos"]()
    fake.add(Row("TXT", "", "sitecheck=abc"))
    fake.install(monkeypatch)
    real = fake.handle

    def careless(method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if method == "POST" and body[0]["type"] == "TXT":
            fake.rows = [row for row in fake.rows if row.type != "TXT"]
        return real(method, path, query, body)

    monkeypatch.setattr(fake, "handle", careless)
    error = run("ionos", fake.options, [rrset("", "TXT", "v=spf1 mx -all")]).error
    assert "@ TXT sitecheck=abc" in str(error)
    assert "not to be touched" in str(error)


@pytest.mark.parametrize("odd", ["odd \\300 value", "odd \\; value"])
def test_nothing_is_put_over_what_cannot_be_understood(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FAKES["ionos"]()
    fake.add(Row("TXT", "", odd))
    fake.add(Row("AAAA", "broken", "not-an-address"))
    fake.install(monkeypatch)
    before = fake.values
    spf = rrset("", "TXT", "v=spf1 mx -all")
    done = run("ionos", fake.options, [spf])
    assert done.merge
    assert "(TXT) cannot be understood" in str(done.merge.withheld[spf.key])
    assert (fake.values, fake.writes, done.error) == (before, 0, None)
    # All else is written, and what was ours there stays known as ours, wanted or not.
    mail = rrset("mail", "A", "198.51.100.10")
    for wanted in ([spf, mail], [mail]):
        done = run("ionos", fake.options, wanted, {spf.key: spf.values})
        assert done.merge
        assert (done.error, list(done.merge.withheld), done.merge.owned[spf.key]) == (None, [spf.key], spf.values)
        assert fake.values == {**before, ("mail", "A"): {"198.51.100.10"}}
    # Nor does a CNAME go beside it.
    alias = rrset("broken", "CNAME", "mail.hearth.example.")
    done = run("ionos", fake.options, [alias])
    assert done.merge
    assert "(AAAA) cannot be understood" in str(done.merge.withheld[alias.key])
    assert ("broken", "CNAME") not in fake.values


def test_a_text_that_cannot_be_understood_does_not_keep_the_address_from_being_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FAKES["ionos"]()
    fake.add(Row("TXT", "", "odd \\300 value"))
    fake.install(monkeypatch)
    world.config["providers"] = {"lab": {"type": "ionos", **fake.options}}

    def question(_server: str, key: Key) -> RRset:
        there = fake.values.get((key.name, key.type), set())
        return RRset(key, 60, frozenset(canonical(key.type, value) for value in there))

    monkeypatch.setattr(world, "make", make_provider)
    monkeypatch.setattr(world, "question", question)
    report = world.agent().apply()
    assert report.exit_code == OK, text.lines(report)
    assert [line for line in text.lines(report) if line.startswith("  NOT WRITTEN at hearth.example TXT: what stands")]
    world.ipv4 = "198.51.100.77"
    report = world.agent().check()
    assert (report.exit_code, fake.values["mail", "A"]) == (OK, {"198.51.100.77"})
    assert fake.values["", "TXT"] == {"odd \\300 value"}
    assert fake.values["", "MX"] == {"10 mail.hearth.example."}
    # It is told as long as it lasts, and only that.
    for _ in range(2):
        world.clock += 300
        assert text.lines(world.agent().check()) == []
        problems = text.status(world.state)["problems"]
        assert ["NOT WRITTEN at hearth.example TXT" in line for line in problems] == [True]
    fake.rows = [row for row in fake.rows if row.type != "TXT"]
    assert world.agent().apply().exit_code == OK
    assert fake.values["", "TXT"] == {"v=spf1 mx -all"}
    assert text.status(world.state)["problems"] == []


def test_a_value_with_a_quote_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FAKES["ionos"]()
    fake.add(Row("TXT", "", 'odd " value'))
    fake.install(monkeypatch)
    assert run("ionos", fake.options, [rrset("", "TXT", "v=spf1 mx -all")]).written
    assert fake.values == {("", "TXT"): {'odd " value', "v=spf1 mx -all"}}


# Offline --------------------------------------------------------------------------------------------------------

# What a module wants before it can be made, beside the usual keys.
SPECIAL = {
    "directadmin": {"endpoint": "https://da.example"},
    "onapp": {"auth_server": "https://onapp.example"},
    "ovh": {"auth_entrypoint": "ovh-eu", "auth_application_key": "a", "auth_application_secret": "b"}
    | {"auth_consumer_key": "c"},
    "plesk": {"plesk_server": "https://plesk.example"},
    "ddns": {"auth_token": "hmac-sha256:key:c2VjcmV0"},
    "hover": {"auth_totp_secret": "A" * 32},
}
# They need an SDK that is not taken along, or a key file; the agent says so.
NOT_HERE = {"gransy", "oci", "qcloud", "softlayer", "googleclouddns", "transip"}


def modules() -> list[str]:
    import lexicon._private.providers as folder

    return sorted(one.name for one in pkgutil.iter_modules(folder.__path__))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **_options: Any) -> None:
        raise AssertionError(f"the network is asked: {args}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("module", modules())
def test_every_module_is_made_without_the_network(module: str) -> None:
    keys = {
        "auth_token": "t",
        "auth_username": "u",
        "auth_password": "p",
        "auth_secret": "s",
        "auth_key": "k",
        "pdns_server": "http://127.0.0.1:1",
        **SPECIAL.get(module, {}),
    }
    provider = make_provider(ProviderConfig("x", "lexicon", {"module": module, **keys}))
    if module in NOT_HERE:
        with pytest.raises(ProviderError), provider._told(ZONE):
            provider.session(ZONE)
        return
    session = provider.session(ZONE)
    assert session.domain == ZONE
    assert session.config.resolve(f"lexicon:{module}:auth_token") == keys["auth_token"]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", NAMED)
def test_every_named_type_is_made_from_its_documented_keys(kind: str) -> None:
    spec = SPECS[kind]
    options = {option.name: f"value of {option.name}" for option in spec.options if option.required}
    provider = make_provider(ProviderConfig("x", kind, options))
    assert isinstance(provider, LexiconProvider)
    assert provider.timeout == 10
    assert provider.holds == spec.holds
    session = provider.session(ZONE)
    for key, value in options.items():
        assert session.config.resolve(f"lexicon:{kind}:{key}") == value
    assert any(option.secret for option in spec.options)
    assert spec.page.startswith("https://")
    assert set(FAKES[kind]().options) == set(spec.required)


@pytest.mark.usefixtures("offline")
def test_the_modules_that_cut_domains_do_not_ask_for_the_list() -> None:
    import tldextract

    load("namecheap")
    assert tldextract.extract("hearth.example.co.uk").suffix == "co.uk"
    assert (
        make_provider(ProviderConfig("x", "godaddy", {"auth_key": "k", "auth_secret": "s"}))
        .session("example.co.uk")
        .get_root_domain_name()
        == "example.co.uk"
    )


@pytest.mark.parametrize("module", ["nope", "../x", ""])
def test_an_unknown_module_is_named(module: str) -> None:
    with pytest.raises(ConfigError, match="module"):
        make_provider(ProviderConfig("x", "lexicon", {"module": module}))


def test_types_of_the_generic_type() -> None:
    spec = SPECS["lexicon"]
    assert spec.held({}) == {"A", "AAAA", "CNAME", "MX", "SRV", "TXT"}
    assert spec.held({"types": "a, tlsa"}) == {"A", "TLSA"}
    with pytest.raises(ConfigError, match=r"dns_providers\.x\.types"):
        make_provider(ProviderConfig("x", "lexicon", {"module": "powerdns", "types": ["A", "HINFO"]}))


def test_time_outs_are_ours_unless_given_and_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def send(_self: Any, _request: Any, **options: Any) -> requests.Response:
        seen.append(options["timeout"])
        answer = requests.Response()
        answer.status_code = 200
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    with guarded(3.5):
        requests.get("http://x.example/")
        requests.get("http://x.example/", timeout=1)
        requests.Session().post("http://x.example/")
        assert socket.getdefaulttimeout() == 3.5
    assert seen == [(3.5, 3.5), 1, (3.5, 3.5)]
    assert requests.adapters.HTTPAdapter.send is send
    assert socket.getdefaulttimeout() is None


def test_what_a_module_repeats_and_waits_for_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, slept = [], list[float]()

    def send(self: Any, _request: Any, **_: Any) -> requests.Response:
        seen.append((self.max_retries.total, self.max_retries.respect_retry_after_header))
        answer = requests.Response()
        answer.status_code = 200
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    monkeypatch.setattr(time, "sleep", slept.append)
    before = time.sleep
    with guarded(10):
        for total in (0, 1, 10):
            session = requests.Session()
            session.mount("http://", requests.adapters.HTTPAdapter(max_retries=Retry(total=total, backoff_factor=9)))
            session.get("http://x.example/")
        time.sleep(1)
        with pytest.raises(OSError, match="a pause of 30 s"):
            time.sleep(30)
    assert seen == [(0, True), (1, True), (2, False)]
    assert slept == [1]
    assert time.sleep is before


def test_a_secret_in_an_address_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def send(_self: Any, request: Any, **_: Any) -> requests.Response:
        raise requests.ConnectionError(f"Max retries exceeded with url: {request.url}")

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    error = run("namecheap", {"auth_username": "hanako", "auth_token": "to/ken +&1"}, full()).error
    assert isinstance(error, ProviderError)
    assert "ApiKey=***" in str(error)
    assert "ken" not in str(error).replace("apikey", "")


def test_the_keys_of_every_module_are_known() -> None:
    import lexicon._private.providers as folder

    for name in sorted(set(modules()) - NOT_HERE - {"auto"}):
        parser = argparse.ArgumentParser(add_help=False)
        importlib.import_module(f"{folder.__name__}.{name}").Provider.configure_parser(parser)
        for action in parser._actions:
            assert re.fullmatch(SPECS["lexicon"].further, action.dest), (name, action.dest)


def test_txt_forms() -> None:
    assert unquoted('"a" "b"') == "ab"
    assert unquoted("plain") == "plain"
    assert quoted_txt("x" * 300) == "x" * 255 + '" "' + "x" * 45


# lexicon's powerdns against PowerDNS's API, over HTTP -------------------------------------------------------------


class PowerDnsApi(BaseHTTPRequestHandler):
    """The part of PowerDNS's API that is used, as strict as the real one about names and quotes."""

    zone: dict[str, Any]
    patches: list[Any]
    key = SECRET

    def log_message(self, *_args: object) -> None:
        pass

    def answer(self, status: int, told: Any = None) -> None:
        content = b"" if told is None else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def ready(self) -> bool:
        if self.headers.get("X-API-Key") != self.key:
            self.answer(401, {"error": "Unauthorized"})
        elif self.path.split("?")[0] != f"/api/v1/servers/localhost/zones/{ZONE}.":
            self.answer(404, {"error": "Not Found"})
        else:
            return True
        return False

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.ready():
            self.answer(200, self.zone)

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.ready():
            return
        for change in body["rrsets"]:
            wrong = self.wrong(change)
            if wrong:
                self.answer(422, {"error": wrong})
                return
            place = (change["name"], change["type"])
            kept = [one for one in self.zone["rrsets"] if (one["name"], one["type"]) != place]
            if change["changetype"] == "REPLACE" and change["records"]:
                new = {key: change[key] for key in ("name", "type", "ttl", "records")}
                kept.append({**new, "comments": []})
            self.zone["rrsets"][:] = kept
        for rrset in self.zone["rrsets"]:
            if rrset["type"] == "SOA":
                fields = rrset["records"][0]["content"].split()
                rrset["records"][0]["content"] = " ".join([*fields[:2], str(int(fields[2]) + 1), *fields[3:]])
        self.patches.append([one for change in body["rrsets"] for one in change.get("records", [])])
        self.answer(204)

    @staticmethod
    def wrong(change: dict[str, Any]) -> str:
        if not change["name"].endswith("."):
            return f"Name {change['name']} is not canonical"
        if change["changetype"] == "DELETE":
            return ""
        contents = [one["content"] for one in change["records"]]
        if len(contents) != len(set(contents)):
            return "duplicate record"
        if change["type"] == "CNAME" and len(contents) > 1:
            return "more than one CNAME"
        for content in contents:
            if change["type"] in ("CNAME", "MX", "SRV", "NS") and not content.endswith("."):
                return f"{content} is not canonical"
            strings = content.split('" "')
            if change["type"] == "TXT" and (
                content[0] != '"' or content[-1] != '"' or any(len(one) > 257 for one in strings)
            ):
                return f"TXT {content} is not quoted"
        return ""


@pytest.fixture
def powerdns() -> Iterator[tuple[dict[str, Any], type[PowerDnsApi]]]:
    def there(name: str, kind: str, *contents: str) -> dict[str, Any]:
        full_name = f"{name}.{ZONE}." if name else f"{ZONE}."
        records = [{"content": one, "disabled": False} for one in contents]
        return {"name": full_name, "type": kind, "ttl": 300, "records": records, "comments": []}

    zone = {
        "kind": "Native",
        "rrsets": [
            there("", "SOA", "a. b. 1 2 3 4 5"),
            there("", "NS", "ns1.provider.example."),
            there("", "TXT", '"sitecheck=abc; x"'),
            there("www", "A", "203.0.113.5", "203.0.113.6"),
            there("*.pages", "A", "203.0.113.5"),
            there("sub", "NS", "ns.elsewhere.example."),
            there("blog", "CNAME", "pages.other.example."),
        ],
    }
    handler = type("Api", (PowerDnsApi,), {"zone": zone, "patches": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    options = {
        "module": "powerdns",
        "pdns_server": f"http://127.0.0.1:{server.server_port}",
        "auth_token": SECRET,
        "types": sorted(SPECS["lexicon"].holds),
        "timeout": 3,
    }
    yield options, handler
    server.shutdown()
    server.server_close()


def contents(zone: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    """The zone, but for its serial number, which every write changes."""
    sets = [one for one in zone["rrsets"] if one["type"] != "SOA"]
    return {(one["name"], one["type"]): {record["content"] for record in one["records"]} for one in sets}


def test_lexicons_powerdns_over_http(powerdns: tuple[dict[str, Any], type[PowerDnsApi]]) -> None:
    options, api = powerdns
    before = contents(api.zone)
    done = run("lexicon", options, full())
    assert (done.error, done.written) == (None, True)
    held = contents(api.zone)
    assert held[(f"mail.{ZONE}.", "A")] == {"198.51.100.10"}
    assert held[(f"{ZONE}.", "MX")] == {"10 mail.hearth.example.", "20 backup.isp.example."}
    assert held[(f"{ZONE}.", "TXT")] == {'"sitecheck=abc; x"', '"v=spf1 mx -all"'}
    assert held[(f"autoconfig.{ZONE}.", "CNAME")] == {"mail.other.example."}
    assert held[(f"k1._domainkey.{ZONE}.", "TXT")] == {f'"{DKIM[:255]}" "{DKIM[255:]}"'}
    assert {one["ttl"] for one in api.zone["rrsets"] if one["name"] == f"mail.{ZONE}."} == {60}
    assert all(values <= held[place] for place, values in before.items())
    assert done.merge
    count = len(api.patches)
    again = run("lexicon", options, full(), done.merge.owned)
    assert (again.error, len(api.patches)) == (None, count)
    # Moved: never empty. Another CNAME, and another key with a slash in it.
    assert again.merge
    api.patches.clear()
    wanted = [one for one in full("198.51.100.99") if one.key.name not in ("autoconfig", "k1._domainkey")]
    wanted += [rrset("autoconfig", "CNAME", "mail.hearth.example."), rrset("k1._domainkey", "TXT", "v=DKIM1; p=a/b")]
    moved = run("lexicon", options, wanted, again.merge.owned)
    assert (moved.error, moved.written) == (None, True)
    held = contents(api.zone)
    assert held[(f"mail.{ZONE}.", "A")] == {"198.51.100.99"}
    assert held[(f"autoconfig.{ZONE}.", "CNAME")] == {"mail.hearth.example."}
    assert held[(f"k1._domainkey.{ZONE}.", "TXT")] == {'"v=DKIM1; p=a/b"'}
    addresses = [{one["content"] for one in patch} for patch in api.patches if "198.51.100.99" in str(patch)]
    assert addresses == [{"198.51.100.10", "198.51.100.99"}, {"198.51.100.99"}]
    assert moved.merge
    assert run("lexicon", options, wanted[:2], moved.merge.owned).error is None
    rest = {place: values for place, values in contents(api.zone).items() if not place[0].startswith("mail.")}
    assert rest == before


def test_nothing_is_written_below_a_delegation(powerdns: tuple[dict[str, Any], type[PowerDnsApi]]) -> None:
    options, api = powerdns
    done = run("lexicon", options, [rrset("mail.sub", "A", "198.51.100.10")])
    assert done.merge
    assert "is delegated" in done.merge.conflicts[0].why
    assert api.patches == []


def test_a_wrong_key_is_named(powerdns: tuple[dict[str, Any], type[PowerDnsApi]]) -> None:
    options, _api = powerdns
    error = run("lexicon", {**options, "auth_token": "wrong-token"}, full()).error
    assert "dns_providers.x.auth_token, dns_providers.x.pdns_server" in str(error)
    assert "401" in str(error)
    assert "wrong-token" not in str(error)


def test_the_labs_dynamic_dns_writes_into_powerdns(powerdns: tuple[dict[str, Any], type[PowerDnsApi]]) -> None:
    """The strict stand-in for PowerDNS serves the lab's /nic/update too."""
    path = Path(__file__).parents[3] / "molecule/shared/files/hearth-provider/nic_update.py"
    spec = importlib.util.spec_from_file_location("nic_update", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options, api = powerdns
    port = int(options["pdns_server"].rpartition(":")[2])
    storage = module.PowerDns("127.0.0.1", port, SECRET, [ZONE])
    nic = module.Nic({"hanako": {"password": "p", "hosts": [f"mail.{ZONE}", f"www.{ZONE}"]}}, storage)
    before = contents(api.zone)
    query = {"hostname": [f"mail.{ZONE}"], "myip": ["198.51.100.1,2001:db8::1"], "mx": ["backup.isp.example"]}
    query["backmx"] = ["YES"]
    agent = "A B/1.0 c@d.example"
    assert nic.update("hanako", agent, "::1", query) == ["good 198.51.100.1,2001:db8::1"]
    assert nic.update("hanako", agent, "::1", query) == ["nochg 198.51.100.1,2001:db8::1"]
    held = contents(api.zone)
    assert held[(f"mail.{ZONE}.", "MX")] == {"10 mail.hearth.example.", "20 backup.isp.example."}
    assert nic.update("hanako", agent, "::1", {"hostname": [f"mail.{ZONE}"], "myip": ["198.51.100.1"]})
    assert (f"mail.{ZONE}.", "AAAA") not in contents(api.zone)
    assert all(contents(api.zone)[place] == values for place, values in before.items())
