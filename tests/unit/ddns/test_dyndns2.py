"""dyndns2: our provider against the lab's strict server, over real HTTP on loopback."""

from __future__ import annotations

import importlib.util
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthmail.ddns import publish, state, stops, text
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.config import ProviderConfig, parse
from hearthmail.ddns.errors import ConfigError, DnsError, ProviderError, StopError, WaitError
from hearthmail.ddns.providers import SPECS
from hearthmail.ddns.providers.dyndns2 import (
    SERVICES,
    STOPS,
    Host,
    Query,
    hostnames,
    mx_parameters,
    outcomes,
    queries,
    quoted,
    service_of,
)
from hearthmail.ddns.providers.dyndns2_client import Dyndns2Provider, retry_after
from hearthmail.ddns.publish import Job, work
from hearthmail.ddns.records import Key, RRset
from hearthmail.ddns.report import CONFLICT

ROOT = Path(__file__).parents[3]
ZONE = "hearth.example"
MAIL = f"mail.{ZONE}"
PASSWORD = "pass word&ü1"


def load_server() -> ModuleType:
    path = ROOT / "molecule/shared/files/hearth-provider/nic_update.py"
    spec = importlib.util.spec_from_file_location("nic_update", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SERVER = load_server()


def running(server: ThreadingHTTPServer) -> ThreadingHTTPServer:
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@dataclass
class Service:
    """The lab's server, and a provider that talks to it and reads its records as if by DNS."""

    nic: Any
    url: str
    control: str
    entry: dict[str, Any] = field(default_factory=dict)
    servers: tuple[str, ...] = ("192.0.2.53",)

    def config(self, **changes: Any) -> ProviderConfig:
        options = {
            "url": self.url,
            "plain_http": True,
            "username": "hanako",
            "password": PASSWORD,
            "hostnames": list(self.nic.accounts["hanako"]["hosts"]),
            "timeout": 20,
            **self.entry,
            **changes,
        }
        return ProviderConfig("dyn", "dyndns2", options)

    def answers(self, *given: dict[str, Any]) -> None:
        self.nic.answers = list(given)

    @property
    def requests(self) -> list[dict[str, Any]]:
        return list(self.nic.requests)

    def question(self, _server: str, key: Key) -> RRset | None:
        return RRset(key, 60, frozenset(self.nic.storage.get(key.fqdn).get(key.type, [])))

    def make(self, config: ProviderConfig) -> Dyndns2Provider:
        provider = publish.make_provider(config)
        assert isinstance(provider, Dyndns2Provider)
        provider.find_servers = lambda _zone, _configured: list(self.servers)
        provider.question = self.question
        return provider

    def put(self, *rrsets: RRset, config: ProviderConfig | None = None, **job: Any) -> publish.Done:
        config = config or self.config()
        owned, keep = job.pop("owned", {}), frozenset(job.pop("keep", ()))
        one = Job(ZONE, config, rrsets, owned, keep, adopt=job.pop("adopt", True), **job)
        (done,) = work([one], True, False, self.make)
        return done


@pytest.fixture
def service() -> Iterator[Service]:
    hosts = [MAIL, ZONE, *(f"host{number}.{ZONE}" for number in range(30))]
    nic = SERVER.make_nic({"accounts": {"hanako": {"password": PASSWORD, "hosts": hosts}}})
    update, control = running(SERVER.update_server(nic, "127.0.0.1", 0)), running(SERVER.control_server(nic, 0))
    yield Service(
        nic,
        f"http://127.0.0.1:{update.server_port}/nic/update",
        f"http://127.0.0.1:{control.server_port}",
    )
    for server in (update, control):
        server.shutdown()
        server.server_close()


def a(value: str = "198.51.100.10", name: str = "mail") -> RRset:
    return RRset(Key(ZONE, name, "A"), 60, frozenset({value}))


def aaaa(value: str = "2001:db8::10", name: str = "mail") -> RRset:
    return RRset(Key(ZONE, name, "AAAA"), 60, frozenset({value}))


def mx(*values: str, name: str = "mail") -> RRset:
    return RRset(Key(ZONE, name, "MX"), 3600, frozenset(values))


# What is sent ---------------------------------------------------------------------------------------------------


def test_both_families_go_in_one_request(service: Service) -> None:
    done = service.put(a(), aaaa())
    assert (done.written, done.error) == (True, None)
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"], "AAAA": ["2001:db8::10"]}
    (request,) = service.requests
    assert request["query"] == {"hostname": [MAIL], "myip": ["198.51.100.10,2001:db8::10"]}
    assert (request["method"], request["user"]) == ("GET", "hanako")
    assert request["agent"] == f"Hearthmail hearth-ddns/Linux-0.1.0 postmaster@{ZONE}"


def test_a_change_of_one_family_sends_the_other_along(service: Service) -> None:
    done = service.put(a(), aaaa())
    assert done.merge
    owned = done.merge.owned
    service.put(a("198.51.100.11"), aaaa(), owned=owned)
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"], "AAAA": ["2001:db8::10"]}
    # Nothing is known about the other one now, but that it is ours.
    service.put(aaaa("2001:db8::11"), owned={**owned, a().key: a("198.51.100.11").values}, keep={a().key})
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"], "AAAA": ["2001:db8::11"]}
    service.put(a("198.51.100.12"), owned={**owned, aaaa().key: aaaa("2001:db8::11").values}, keep={aaaa().key})
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.12"], "AAAA": ["2001:db8::11"]}


def test_nothing_is_sent_when_all_is_right(service: Service) -> None:
    service.put(a(), aaaa())
    # Another TTL is no difference: the protocol cannot set one.
    done = service.put(RRset(a().key, 300, a().values), aaaa())
    assert done.merge is not None
    assert done.merge.changes == []
    assert len(service.requests) == 1


def test_more_than_twenty_names_take_two_requests(service: Service) -> None:
    done = service.put(*(a(name=f"host{number}") for number in range(25)))
    assert done.written
    sizes = [len(request["query"]["hostname"][0].split(",")) for request in service.requests]
    assert sizes == [20, 5]
    assert all(service.nic.storage.get(f"host{number}.{ZONE}") for number in range(25))


def test_mx_alone(service: Service) -> None:
    service.put(a(name=""), mx("10 mail.hearth.example.", name=""))
    assert service.nic.storage.get(ZONE)["MX"] == ["10 mail.hearth.example."]
    assert service.put(a(name=""), mx("10 mail.hearth.example.", name="")).merge == publish.Merge(
        owned={a(name="").key: a().values, mx(name="").key: frozenset({"10 mail.hearth.example."})}
    )
    assert len(service.requests) == 1


def test_mx_with_a_backup(service: Service) -> None:
    wanted = mx("10 mail.hearth.example.", "20 backup.isp.example.")
    assert service.put(a(), wanted).written
    assert service.requests[0]["query"]["mx"] == ["backup.isp.example"]
    assert service.requests[0]["query"]["backmx"] == ["YES"]
    assert set(service.nic.storage.get(MAIL)["MX"]) == wanted.values
    assert service.put(a(), wanted).merge is not None
    assert len(service.requests) == 1


def test_a_backup_that_goes(service: Service) -> None:
    done = service.put(a(), mx("10 mail.hearth.example.", "20 backup.isp.example."))
    assert done.merge
    done = service.put(a(), mx("10 mail.hearth.example."), owned=done.merge.owned)
    assert (done.written, done.error) == (True, None)
    assert service.nic.storage.get(MAIL)["MX"] == ["10 mail.hearth.example."]


def test_mx_of_a_name_keeps_the_address_that_is_ours(service: Service) -> None:
    service.nic.storage.put(ZONE, {"A": ["198.51.100.65"]})
    there = a("198.51.100.65", name="")
    service.put(mx("10 mail.hearth.example.", name=""), owned={there.key: there.values}, keep={there.key})
    assert service.nic.storage.get(ZONE) == {"A": ["198.51.100.65"], "MX": ["10 mail.hearth.example."]}


def test_mx_of_a_name_with_a_foreign_address_is_told_and_not_sent(service: Service) -> None:
    """What only the name servers say is not sent; and without an address the service would take that of the asker."""
    service.nic.storage.put(ZONE, {"A": ["198.51.100.65"]})
    wanted = mx("10 mail.hearth.example.", name="")
    done = service.put(wanted)
    assert done.merge
    assert (list(done.merge.withheld), service.requests) == ([wanted.key], [])


def test_mx_of_a_name_without_an_address_is_told_and_not_sent(service: Service) -> None:
    wanted = mx("10 mail.hearth.example.", name="")
    done = service.put(wanted)
    assert done.merge
    assert "an address of ours" in str(done.merge.withheld[wanted.key])
    assert f"leave {ZONE} out of dns_providers.dyn.hostnames" in str(done.merge.withheld[wanted.key])
    assert (service.requests, done.error, done.merge.owned) == ([], None, {})
    # The address of another name does not wait for it.
    done = service.put(wanted, a())
    assert done.merge
    assert (done.written, list(done.merge.withheld)) == (True, [wanted.key])
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"]}
    assert service.nic.storage.get(ZONE) == {}


def test_mx_records_that_the_protocol_cannot_express_do_not_hold_up_the_address(service: Service) -> None:
    wanted = mx(*(f"{number}0 mx{number}.isp.example." for number in (1, 2, 3)))
    done = service.put(a(), wanted)
    assert done.merge
    assert "mx1.isp.example, mx2.isp.example, mx3.isp.example" in str(done.merge.withheld[wanted.key])
    assert done.written
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"]}


def test_a_name_that_the_account_does_not_hold_is_named(service: Service) -> None:
    done = service.put(a(name="other"))
    assert "the account holds other.hearth.example" in str(done.error)
    assert "dns_providers.dyn.hostnames" in str(done.error)
    assert service.requests == []


def test_no_answer_of_the_name_servers_sends_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_server: str, _key: Key) -> None:
        raise OSError("no route")

    monkeypatch.setattr(service, "question", silent)
    assert isinstance(service.put(a()).error, DnsError)
    assert service.requests == []


# What somebody may forge who answers in the place of the name servers.
FORGED = {
    "A": a("203.0.113.66"),
    "AAAA": aaaa("2001:db8:bad::1"),
    "MX": mx("10 mx.evil.example."),
    "more MX": mx("5 mx.evil.example.", f"10 {MAIL}.", "20 mx.evil.example."),
}


def sent_values(service: Service) -> str:
    return " ".join(value for request in service.requests for values in request["query"].values() for value in values)


@pytest.mark.parametrize("in_person", [False, True], ids=["service", "apply"])
@pytest.mark.parametrize("moved", [False, True], ids=["stays", "moves"])
@pytest.mark.parametrize("kinds", [["A"], ["AAAA"], ["MX"], ["more MX"], ["A", "AAAA", "MX"]], ids=" ".join)
@pytest.mark.parametrize("known", [True, False], ids=["ours", "new"])
def test_what_is_forged_in_the_dns_is_never_sent(
    service: Service, monkeypatch: pytest.MonkeyPatch, kinds: list[str], moved: bool, in_person: bool, known: bool
) -> None:
    exchange = mx(f"10 {MAIL}.")
    owned = {}
    if known:
        done = service.put(a(), exchange)
        assert done.merge
        owned = done.merge.owned
    service.nic.requests.clear()
    forged = {FORGED[kind].key: FORGED[kind] for kind in kinds}
    honest = service.question
    monkeypatch.setattr(service, "question", lambda server, key: forged.get(key) or honest(server, key))
    wanted = a("198.51.100.11" if moved else "198.51.100.10")
    done = service.put(wanted, exchange, owned=owned, adopt=False, in_person=in_person)
    for lie in ("203.0.113.66", "2001:db8:bad::1", "mx.evil.example"):
        assert lie not in sent_values(service)
    if known and not in_person and not moved:
        # Nor does it make us write.
        assert (service.requests, done.error) == ([], None)
    if known and not in_person and moved and "AAAA" not in kinds:
        # Nor does it keep us from it, where nothing of others is at stake.
        assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"], "MX": sorted(exchange.values)}
    # Who takes over what others have there does not spread it either.
    service.put(wanted, exchange, owned=owned, adopt=True, in_person=True)
    assert service.nic.storage.get(MAIL) == {"A": sorted(wanted.values), "MX": sorted(exchange.values)}
    for lie in ("203.0.113.66", "2001:db8:bad::1", "mx.evil.example"):
        assert lie not in sent_values(service)


@pytest.mark.parametrize("lags", ["192.0.2.1", "192.0.2.99"], ids=["first server", "last server"])
def test_a_foreign_address_that_an_update_would_wipe_stops_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, lags: str
) -> None:
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": ["2001:db8::66"]})
    service.servers = ("192.0.2.53", lags)
    honest = service.question

    def question(server: str, key: Key) -> RRset | None:
        old = server == lags and key.type == "AAAA"
        return RRset(key, 60, frozenset()) if old else honest(server, key)

    monkeypatch.setattr(service, "question", question)
    for in_person in (False, True):
        done = service.put(a("198.51.100.11"), owned={a().key: a().values}, adopt=False, in_person=in_person)
        assert done.merge
        (conflict,) = done.merge.conflicts
        assert (conflict.key, conflict.adoptable) == (a().key, True)
        assert conflict.there == (f"{MAIL}. 60 IN AAAA 2001:db8::66",)
        assert "would take it away" in conflict.why
        assert (service.requests, done.merge.owned) == ([], {a().key: a().values})
    done = service.put(a("198.51.100.11"), owned={a().key: a().values}, adopt=True, in_person=True)
    assert done.written
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"]}


def test_a_foreign_address_of_the_other_family_does_not_matter_where_each_goes_alone(service: Service) -> None:
    service.entry = {"service": "he"}
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": ["2001:db8::66"]})
    done = service.put(a("198.51.100.11"), owned={a().key: a().values}, adopt=False)
    assert done.written
    assert sent_values(service) == f"{MAIL} 198.51.100.11"


@pytest.mark.parametrize("kind", ["dynu", "inwx", "noip"])
def test_a_foreign_address_that_a_request_does_not_touch_does_not_stop_it(service: Service, kind: str) -> None:
    service.entry = {"service": kind, "hostnames": [MAIL]}
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": ["2001:db8::66"]})
    done = service.put(a(), adopt=False, in_person=True)
    assert done.merge
    assert (done.merge.conflicts, service.requests) == ([], [])
    service.answers({"body": "good 198.51.100.11"})
    done = service.put(a("198.51.100.11"), owned=done.merge.owned, adopt=False)
    assert (done.written, len(service.requests)) == (True, 1)
    assert "2001:db8::66" not in sent_values(service)


@pytest.mark.parametrize("kind", ["desec", "strato"])
def test_a_foreign_address_that_the_next_update_would_wipe_is_told_to_a_person_before(
    service: Service, kind: str
) -> None:
    service.entry = {"service": kind, "hostnames": [MAIL]}
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": ["2001:db8::66"]})
    done = service.put(a(), adopt=False, in_person=True)
    assert done.merge
    (conflict,) = done.merge.conflicts
    assert (conflict.key, conflict.adoptable, service.requests) == (a().key, True, [])
    assert conflict.there == (f"{MAIL}. 60 IN AAAA 2001:db8::66",)
    assert conflict.wanted == (f"{MAIL}. 60 IN A 198.51.100.10",)
    # The service, which nobody watches, goes on as long as nothing changes.
    done = service.put(a(), owned=done.merge.owned, adopt=False)
    assert done.merge
    assert (done.merge.conflicts, service.requests) == ([], [])
    # Taken over, it goes, and is in the way of nothing afterwards.
    service.answers({"body": "good 198.51.100.10"})
    assert service.put(a(), owned=done.merge.owned, adopt=True, in_person=True).written
    assert sent_values(service).split() == [MAIL, "198.51.100.10"]
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"]})
    done = service.put(a(), owned=done.merge.owned, adopt=False, in_person=True)
    assert done.merge
    assert (done.merge.conflicts, len(service.requests)) == ([], 1)


def test_a_foreign_ipv4_address_is_not_wiped_by_a_request_without_one(service: Service) -> None:
    """Without `myip`, the protocol takes the address of whoever asks."""
    service.entry = {"service": "noip"}
    service.nic.storage.put(MAIL, {"A": ["203.0.113.66"], "AAAA": ["2001:db8::10"]})
    done = service.put(aaaa("2001:db8::11"), owned={aaaa().key: aaaa().values}, adopt=False)
    assert done.merge
    assert ([one.key for one in done.merge.conflicts], service.requests) == ([aaaa().key], [])


def test_a_second_mx_of_others_stays_when_the_address_moves(service: Service) -> None:
    exchange = mx(f"10 {MAIL}.")
    there = [*exchange.values, "20 mx.isp.example."]
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "MX": there})
    owned = {a().key: a().values, exchange.key: exchange.values}
    assert service.put(a("198.51.100.11"), exchange, owned=owned, adopt=False).written
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"], "MX": there}
    # Another MX of ours cannot go beside it.
    new = mx("10 mx.hearth.example.")
    done = service.put(a("198.51.100.11"), new, owned={**owned, a().key: a("198.51.100.11").values}, adopt=False)
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"], "MX": there}
    assert done.merge
    assert [conflict.key for conflict in done.merge.conflicts] == [new.key]


def test_a_server_that_lags_does_not_keep_the_next_address_from_being_sent(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = service.put(a())
    assert done.merge
    owned = done.merge.owned

    def question(_server: str, key: Key) -> RRset:
        return RRset(key, 60, a("198.51.100.9").values if key.type == "A" else frozenset())

    monkeypatch.setattr(service, "question", question)
    assert service.put(a("198.51.100.11"), owned=owned, adopt=False).written
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"]}


# Where each address goes in a request of its own, and where leaving one out of a request says nothing about it.
APART, NOT_TAKEN_BACK = ["domaindiscount24", "he", "ovh"], ["dynu", "inwx", "noip"]


@pytest.mark.parametrize("kind", APART + NOT_TAKEN_BACK)
def test_an_address_that_cannot_be_taken_back_is_told_and_nothing_is_sent(service: Service, kind: str) -> None:
    assert sorted(name for name, one in SERVICES.items() if one.apart) == APART
    keeps = [name for name, one in SERVICES.items() if one.ipv6 and not one.apart and not one.takes_back]
    assert sorted(keeps) == NOT_TAKEN_BACK
    service.entry = {"service": kind, "hostnames": [MAIL]}
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": ["2001:db8::10"]})
    owned = {a().key: a().values, aaaa().key: aaaa().values}
    done = service.put(a(), owned=owned)
    assert done.merge
    said = str(done.merge.withheld[aaaa().key])
    assert f"{SERVICES[kind].title} cannot take it back" in said
    assert "Delete it in the service's own pages" in said
    assert (service.requests, done.written, done.error, done.merge.owned) == ([], False, None, owned)
    # The address that moves meanwhile is sent, alone.
    service.answers({"body": "code = 200\n" if SERVICES[kind].secret else "good 198.51.100.11"})
    done = service.put(a("198.51.100.11"), owned=owned)
    assert done.merge
    assert (done.written, list(done.merge.withheld)) == (True, [aaaa().key])
    (request,) = service.requests
    assert request["query"][SERVICES[kind].ipv4] == ["198.51.100.11"]
    assert "2001:db8::10" not in sent_values(service)
    # Somebody has deleted it.
    service.nic.storage.put(MAIL, {"A": ["198.51.100.11"]})
    done = service.put(a("198.51.100.11"), owned=done.merge.owned)
    assert done.merge
    assert (done.merge.withheld, list(done.merge.owned), len(service.requests)) == ({}, [a().key], 1)


@pytest.mark.parametrize("gone", ["address", "MX"])
def test_what_no_request_can_take_back_is_told(service: Service, gone: str) -> None:
    there = mx("10 mail.hearth.example.")
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "MX": sorted(there.values)})
    owned = {a().key: a().values, there.key: there.values}
    wanted = (there,) if gone == "address" else (a(),)
    done = service.put(*wanted, owned=owned, keep={there.key})
    if gone == "MX":
        done = service.put(*wanted, owned=owned)
    assert done.merge
    assert list(done.merge.withheld) == [a().key if gone == "address" else there.key]
    assert (service.requests, done.error, done.merge.owned) == ([], None, owned)


def test_the_last_addresses_of_a_name_are_told_and_another_name_is_written(service: Service) -> None:
    """The box was given another name."""
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": ["2001:db8::10"]})
    owned = {a().key: a().values, aaaa().key: aaaa().values}
    done = service.put(a(name="host1"), owned=owned)
    assert done.merge
    assert (done.written, sorted(done.merge.withheld)) == (True, sorted(owned))
    assert [request["query"]["hostname"] for request in service.requests] == [[f"host1.{ZONE}"]]
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"], "AAAA": ["2001:db8::10"]}


def test_an_ipv6_address_that_is_gone_is_taken_back_where_both_go_together(service: Service) -> None:
    service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": ["2001:db8::10"]})
    done = service.put(a(), owned={a().key: a().values, aaaa().key: aaaa().values})
    assert done.merge
    assert (done.written, done.merge.withheld) == (True, {})
    assert service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"]}


# Answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(STOPS))
def test_stop_codes(service: Service, code: str) -> None:
    service.answers({"body": f"{code}\n"})
    error = service.put(a()).error
    assert isinstance(error, StopError)
    assert code in str(error)
    assert STOPS[code] in str(error)
    assert "until dns_providers.dyn changes" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


@pytest.mark.parametrize("status", [401, 403])
def test_http_refusals_stop_too(service: Service, status: int) -> None:
    service.answers({"body": "<html>no</html>", "status": status})
    assert isinstance(service.put(a()).error, StopError)


def test_a_wrong_password_stops(service: Service) -> None:
    error = service.put(a(), config=service.config(password="wrong-one")).error
    assert isinstance(error, StopError)
    assert "badauth" in str(error)
    assert "wrong-one" not in repr(error)


@pytest.mark.parametrize("code", ["911", "dnserr"])
def test_wait_codes(service: Service, code: str) -> None:
    service.answers({"body": code})
    error = service.put(a()).error
    assert isinstance(error, WaitError)
    assert error.seconds >= 1800
    assert pickle.loads(pickle.dumps(error)).seconds == error.seconds  # noqa: S301


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry-After": "77"}, 77), ({}, 300), ({"Retry-After": "nonsense"}, 300)]
)
def test_too_many_requests(service: Service, headers: dict[str, str], seconds: float) -> None:
    service.answers({"status": 429, "body": "slow down", "headers": headers})
    error = service.put(a()).error
    assert isinstance(error, WaitError)
    assert error.seconds == seconds


def test_ignored(service: Service) -> None:
    service.answers({"body": "good 127.0.0.1"})
    done = service.put(a())
    assert not done.written
    assert isinstance(done.error, WaitError)
    assert "ignores us" in str(done.error)


def test_no_change_is_fine_once(service: Service) -> None:
    service.answers({"body": "nochg 198.51.100.10"}, {"body": "nochg 198.51.100.10"})
    done = service.put(a())
    assert done.written
    assert len(done.unchanged) == 1
    again = service.put(a(), unchanged=done.unchanged)
    assert isinstance(again.error, ProviderError)
    assert "holds this already" in str(again.error)
    assert len(service.requests) == 1
    # Another address is another request.
    service.answers()
    assert service.put(a("198.51.100.11"), unchanged=done.unchanged).written


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"body": "<html>\x1b[31mWelcome</html>"}, "`<html>?[31mWelcome</html>`"),
        ({"body": ""}, "``"),
        ({"body": "good good good\ngood\ngood"}, "good good good good good"),
        ({"body": f"x {PASSWORD} y"}, "`x *** y`"),
        ({"body": "y" * 5000}, "`" + "y" * 80 + "`"),
        ({"body": "oops", "status": 500}, "`HTTP 500 oops`"),
        ({"body": "", "status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, "`HTTP 302`"),
        ({"reset": True}, "cannot be asked"),
    ],
)
def test_anything_else_is_an_error_that_may_be_tried_again(
    service: Service, answer: dict[str, Any], expected: str
) -> None:
    service.answers(answer)
    done = service.put(a())
    assert type(done.error) is ProviderError
    assert expected in str(done.error)
    assert PASSWORD not in str(done.error)
    assert not done.written
    assert len(service.requests) == 1


def test_no_answer_in_time(service: Service) -> None:
    service.answers({"delay": 1})
    done = service.put(a(), config=service.config(timeout=0.2))
    assert type(done.error) is ProviderError
    assert "no answer within 0.2 s" in str(done.error)
    assert not done.written


def test_nobody_there(service: Service) -> None:
    error = service.put(a(), config=service.config(url="http://127.0.0.1:1/nic/update")).error
    assert type(error) is ProviderError
    assert "Connection refused" in str(error)


def test_a_password_in_the_address_is_in_no_message() -> None:
    config = ProviderConfig(
        "dd",
        "dyndns2",
        {"service": "domaindiscount24", "url": "http://127.0.0.1:1/u", "plain_http": True, "password": "geheim&1"}
        | {"hostnames": [MAIL]},
    )
    provider = publish.make_provider(config)
    with pytest.raises(ProviderError) as caught:
        provider._send(ZONE, Query((MAIL,), ("198.51.100.1",), (("hostname", MAIL), ("ip", "198.51.100.1"))))
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_one_bad_name_among_good_ones(service: Service) -> None:
    hosts = service.config().options["hostnames"]
    service.nic.accounts["hanako"]["hosts"].remove(f"host1.{ZONE}")
    done = service.put(a(name="host0"), a(name="host1"), config=service.config(hostnames=[*hosts, f"host1.{ZONE}"]))
    assert isinstance(done.error, StopError)
    assert f"nohost for host1.{ZONE}" in str(done.error)


def test_a_stop_spares_the_other_zones_of_the_provider(service: Service) -> None:
    service.answers({"body": "abuse"}, {"body": "abuse"})
    config = service.config(hostnames=[MAIL, "mail.second.example"])
    other = RRset(Key("second.example", "mail", "A"), 60, frozenset({"198.51.100.10"}))
    jobs = [
        Job(ZONE, config, (a(),), {}, frozenset(), adopt=False),
        Job("second.example", config, (other,), {}, frozenset(), adopt=False),
    ]
    first, second = work(jobs, True, False, service.make)
    assert isinstance(first.error, StopError)
    assert isinstance(second.error, StopError)
    assert len(service.requests) == 1


# The agent: what it remembers -----------------------------------------------------------------------------------


@dataclass
class Box:
    """The agent over the lab's server, with a clock and an address in the test's hand."""

    service: Service
    path: Path
    clock: float = 1_000_000.0
    ipv4: str = "198.51.100.10"
    ipv6: str | None = None
    entry: dict[str, Any] = field(default_factory=dict)

    def agent(self) -> Agent:
        from hearthmail.ddns.address import Found
        from hearthmail.ddns.state import Ipv6Proof

        options = dict(self.service.config(**self.entry).options)
        config = parse(
            {
                "hostname": MAIL,
                "domains": [{"name": ZONE, "dns": "dyn"}],
                "providers": {"dyn": {"type": "dyndns2", **options}},
            }
        )
        return Agent(
            config,
            self.path / "records.d",
            self.path / "ddns.json",
            look=lambda *_args: Found(self.ipv4, "router", "", self.ipv6, "", Ipv6Proof(), 0.0),
            make=self.service.make,
            find_servers=lambda _zone, _configured: ["192.0.2.53"],
            question=self.service.question,
            now=lambda: self.clock,
        )

    def hand_in(self, *fragment: dict[str, Any]) -> None:
        """What a role wants published."""
        (self.path / "records.d").mkdir(exist_ok=True)
        (self.path / "records.d" / "role.json").write_text(json.dumps(fragment))

    def later(self, seconds: float) -> int:
        """Let time pass, with a check every 30 s; the requests that this led to."""
        before = len(self.service.requests)
        end = self.clock + seconds
        while self.clock + 30 <= end:
            self.clock += 30
            self.agent().check()
        self.clock = end
        return len(self.service.requests) - before

    @property
    def status(self) -> list[str]:
        return text.status_lines(text.status(state.load(self.path / "ddns.json")))


@pytest.fixture
def box(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    def here(jobs: Any, write: bool, stop: bool, make: Callable[..., Any], permit: Any) -> list[Any]:
        return list(work(jobs, write, stop, make, permit))

    monkeypatch.setattr(publish, "work_limited", here)
    return Box(service, tmp_path)


MX_AND_SPF = [
    {"zone": ZONE, "name": "", "type": "MX", "ttl": 3600, "values": [f"10 {MAIL}."]},
    {"zone": ZONE, "name": "", "type": "TXT", "ttl": 3600, "values": ["v=spf1 mx -all"]},
]


@pytest.mark.parametrize("entry", [{"hostnames": [MAIL]}, {"hostnames": [MAIL, ZONE]}], ids=["not ours", "no address"])
def test_an_mx_that_the_account_cannot_hold_is_told_and_the_address_is_followed(
    box: Box, entry: dict[str, Any]
) -> None:
    box.entry = entry
    box.hand_in(*MX_AND_SPF)
    report = box.agent().apply()
    assert report.exit_code == 0, text.lines(report)
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"]}
    assert any(f"no TXT at {ZONE}: SPF stays off" in line for line in box.status)
    box.ipv4 = "198.51.100.11"
    assert box.later(600) == 1
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"]}
    assert ZONE not in box.service.nic.storage.names
    (said,) = [line for line in box.status if f"{ZONE} MX" in line or f"MX at {ZONE}" in line]
    assert "dns_providers.dyn.hostnames" in said


def test_an_ipv6_address_that_stays_at_the_service_is_told_until_it_is_deleted(box: Box) -> None:
    box.service.entry, box.ipv6 = {"service": "he"}, "2001:db8::10"
    # The lab's server is stricter: it wipes the family that is missing.
    box.service.answers(*({"body": f"good {one}"} for one in ("198.51.100.10", box.ipv6)))
    box.service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": [box.ipv6]})
    assert box.agent().apply(adopt=[]).exit_code == 0
    before, box.ipv6 = len(box.service.requests), None
    report = box.agent().check()
    (line,) = [line for line in text.lines(report) if "AAAA" in line]
    assert line.startswith(f"  NOT WRITTEN at {MAIL} AAAA: Hurricane Electric cannot take it back")
    assert box.later(600) == 0
    assert text.lines(box.agent().check()) == []
    assert [line for line in box.status if "NOT WRITTEN" in line]
    # The quick looks do not ask for it all the time.
    assert box.agent().check(full=False).zones == []
    box.service.nic.storage.put(MAIL, {"A": ["198.51.100.10"]})
    assert box.later(600) == 0
    assert not [line for line in box.status if "NOT WRITTEN" in line]
    assert len(box.service.requests) == before


def test_a_foreign_address_is_shown_and_goes_only_when_a_person_says_so(box: Box) -> None:
    assert box.agent().apply().exit_code == 0
    box.service.nic.storage.put(MAIL, {"A": ["198.51.100.10"], "AAAA": ["2001:db8::66"]})
    # While nothing has to be sent, it is nobody's business.
    assert text.lines(box.agent().check()) == []
    box.ipv4 = "198.51.100.11"
    before = len(box.service.requests)
    for look in (box.agent().check, box.agent().apply):
        report = look()
        said = text.lines(report)
        assert report.exit_code == CONFLICT
        assert f"    there:  {MAIL}. 60 IN AAAA 2001:db8::66" in said
        assert f"    wanted: {MAIL}. 60 IN A 198.51.100.11" in said
        assert text.ADOPT in said
    assert box.later(600) == 0
    assert len(box.service.requests) == before
    assert box.agent().apply(adopt=[]).exit_code == 0
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"]}
    # Or it was taken away meanwhile: then the service goes on by itself.
    box.service.nic.storage.put(MAIL, {"A": ["198.51.100.11"], "AAAA": ["2001:db8::66"]})
    box.ipv4 = "198.51.100.12"
    assert box.later(60) == 0
    box.service.nic.storage.put(MAIL, {"A": ["198.51.100.11"]})
    assert box.later(60) == 1
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.12"]}


def test_our_own_address_at_a_server_that_lags_is_not_in_the_way(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hearthmail.ddns.agent.WAIT", 0)
    box.ipv6 = "2001:db8::10"
    assert box.agent().apply().exit_code == 0
    honest = box.service.question
    late = RRset(aaaa().key, 60, frozenset({"2001:db8::10"}))
    monkeypatch.setattr(box.service, "question", lambda server, key: late if key == late.key else honest(server, key))
    box.ipv6 = None
    box.agent().check()
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"]}
    box.ipv4 = "198.51.100.11"
    assert box.agent().check().exit_code == 0
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"]}
    assert box.agent().apply().exit_code == 0
    # Nor for another one of the same family, that comes meanwhile and goes again.
    box.ipv6 = "2001:db8::11"
    assert box.agent().check().exit_code == 0
    assert box.agent().apply().exit_code == 0
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.11"], "AAAA": ["2001:db8::11"]}
    box.ipv6 = None
    box.clock += 60
    assert box.agent().check().exit_code == 0
    # Whoever answers it for longer than any server lags has it there.
    box.clock += 86401
    box.ipv4 = "198.51.100.12"
    assert box.agent().check().exit_code == CONFLICT


def test_a_withdrawn_address_that_is_ours_again_is_forgotten_as_withdrawn(box: Box) -> None:
    assert box.agent().apply().exit_code == 0
    for box.ipv4, gone in (("198.51.100.11", "198.51.100.10"), ("198.51.100.10", "198.51.100.11")):
        box.clock += 600
        box.agent().check()
        remembered = state.load(box.path / "ddns.json")
        assert remembered
        assert [one.split("|")[3] for one in remembered.withdrawn] == [gone]


@pytest.mark.parametrize("again", ["check", "quick", "apply", "lost too", "unchanged before", "unknown before"])
def test_an_update_that_arrived_although_its_answer_was_lost(
    box: Box, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """The line goes to another address and back, while the service's answers are lost."""
    if again == "unchanged before":
        box.service.nic.storage.put(MAIL, {"A": [box.ipv4]})
        empty = RRset(a().key, 60, frozenset())
        honest = box.service.question
        monkeypatch.setattr(box.service, "question", lambda _server, _key: empty)
        monkeypatch.setattr("hearthmail.ddns.agent.WAIT", 0)
        assert box.agent().apply().exit_code == 0
        monkeypatch.setattr(box.service, "question", honest)
        assert state.load(box.path / "ddns.json").unchanged  # type: ignore[union-attr]
    else:
        assert box.agent().apply().exit_code == 0
    # The servers lag all the time.
    monkeypatch.setattr(
        box.service, "question", lambda _server, key: a() if key == a().key else RRset(key, 60, frozenset())
    )

    def lost(ipv4: str) -> None:
        box.ipv4 = ipv4
        box.service.answers({"status": 502, "body": ""})
        box.clock += 600
        assert box.agent().check().exit_code == 1
        box.service.nic.storage.put(MAIL, {"A": [ipv4]})

    lost("198.51.100.11")
    if again == "lost too":
        lost("198.51.100.10")
        box.service.nic.storage.put(MAIL, {"A": ["198.51.100.11"]})
    if again == "unknown before":
        box.ipv4 = ""
        assert box.later(600) == 0
    box.clock += 600
    box.ipv4 = "198.51.100.10"
    before = len(box.service.requests)
    if again == "apply":
        assert box.agent().apply().exit_code == 0
    else:
        assert box.agent().check(full=again != "quick").exit_code == 0
    assert len(box.service.requests) == before + 1
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"]}
    assert box.later(1200) == 0


def test_an_address_that_another_client_overwrites_is_sent_again_twice_a_day_then_it_is_an_error(box: Box) -> None:
    assert box.agent().apply().exit_code == 0
    there = {"A": ["203.0.113.9"]}
    box.service.nic.storage.put(MAIL, there)
    assert box.later(3600) == 0
    # The answer was lost, or another program wrote there once: put right without a person.
    assert box.later(60) == 1
    assert sent_values(box.service).split()[-2:] == [MAIL, "198.51.100.10"]
    assert box.service.nic.storage.get(MAIL) == {"A": ["198.51.100.10"]}
    assert box.later(3600) == 0
    assert not [line for line in box.status if line.startswith("!")]
    # It goes on.
    box.service.nic.storage.put(MAIL, there)
    assert box.later(3700) == 1
    box.service.nic.storage.put(MAIL, there)
    assert box.later(3700) == 0
    assert box.agent().check().exit_code == 1
    (said,) = [line for line in box.status if "ERROR" in line]
    assert f"all name servers have answered another A for {MAIL} than ours since" in said
    assert "`hearth-ddns apply`" in said
    assert "203.0.113.9" not in sent_values(box.service)
    assert box.agent().apply().exit_code == 0
    assert box.agent().check().exit_code == 0
    assert not [line for line in box.status if line.startswith("!")]


def test_a_service_that_says_it_holds_it_is_asked_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    assert box.agent().apply().exit_code == 0
    lie = RRset(a().key, 60, frozenset({"203.0.113.9"}))
    monkeypatch.setattr(
        box.service, "question", lambda _server, key: lie if key == lie.key else RRset(key, 60, frozenset())
    )
    monkeypatch.setattr("hearthmail.ddns.agent.WAIT", 0)
    assert box.later(6 * 3600) == 1
    assert box.service.requests[-1]["answer"].startswith("nochg")
    assert box.agent().check().exit_code == 1


def test_stopped_means_no_request_until_the_entry_changes(box: Box) -> None:
    assert box.agent().apply().exit_code == 0
    box.service.answers({"body": "badauth"})
    box.ipv4 = "198.51.100.11"
    assert box.later(30) == 1
    assert any("is stopped" in line and "badauth" in line for line in box.status)
    # A day, and a person's `apply`: nothing is sent.
    assert box.later(86400 / 24) == 0
    box.ipv4 = "198.51.100.12"
    assert box.later(600) == 0
    report = box.agent().apply()
    assert isinstance(report.zones[0].error, StopError)
    assert len(box.service.requests) == 2
    # Another entry: it goes on at once.
    box.entry = {"attempt": 2}
    assert box.later(600) == 1
    assert box.service.nic.storage.get(MAIL)["A"] == ["198.51.100.12"]
    assert not any("is stopped" in line for line in box.status)


def test_911_waits_half_an_hour(box: Box) -> None:
    box.agent().apply()
    box.service.answers({"body": "911"})
    box.ipv4 = "198.51.100.11"
    assert box.later(30) == 1
    assert any("nothing is sent to it before" in line for line in box.status)
    assert box.later(1770) == 0
    assert box.later(600) == 1
    assert box.service.nic.storage.get(MAIL)["A"] == ["198.51.100.11"]
    assert not any("nothing is sent" in line for line in box.status)


def test_repeated_no_change_leads_to_no_requests(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service holds it, but its name servers go on answering something else."""
    box.service.nic.storage.put(MAIL, {"A": ["198.51.100.10"]})
    real = box.service.question
    monkeypatch.setattr(box.service, "question", lambda _server, key: RRset(key, 60, frozenset()))
    monkeypatch.setattr("hearthmail.ddns.authoritative.wait_until_right", lambda *_args, **_rest: (["late"], 0.0))
    box.agent().apply()
    assert [request["answer"] for request in box.service.requests] == ["nochg 198.51.100.10\n"]
    assert box.later(6 * 3600) == 0
    # Once they were seen right, a change by hand is told; who can forge an answer must not make us write. A person's
    # `apply` puts it right.
    monkeypatch.setattr(box.service, "question", real)
    assert box.later(600) == 0
    box.service.nic.storage.put(MAIL, {"A": ["203.0.113.9"]})
    assert box.later(600) == 0
    (said,) = [line for line in box.status if "203.0.113.9" in line]
    assert said.startswith("!   what was sent last is right, but 192.0.2.53 answers")
    assert "`hearth-ddns apply` sends it again" in said
    before = len(box.service.requests)
    assert box.agent().apply().exit_code == 0
    assert len(box.service.requests) == before + 1
    assert box.service.nic.storage.get(MAIL)["A"] == ["198.51.100.10"]


def test_a_pause_after_an_update(box: Box) -> None:
    box.service.entry = {"service": "domaindiscount24"}
    box.service.answers({"body": "[RESPONSE]\ncode = 200\ndescription = Command completed successfully\nEOF\n"})
    done = box.service.put(a())
    assert (done.written, done.pause) == (True, 1800)
    remembered = state.State()
    config = box.service.config()
    stops.record(remembered, config, done, 1000.0)
    assert isinstance(stops.held_back(remembered, ZONE, config, 2799.0), WaitError)
    assert stops.held_back(remembered, ZONE, config, 2800.0) is None


def test_the_seal_hides_the_password_and_sees_every_change(service: Service) -> None:
    config = service.config()
    sealed = stops.seal(config)
    assert PASSWORD not in sealed
    assert stops.is_sealed(config, sealed)
    assert not stops.is_sealed(service.config(password="x"), sealed)
    assert stops.seal(config) != sealed


def test_a_state_with_stops_survives_and_a_malformed_one_counts_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "ddns.json"
    remembered = state.State()
    stops.record(
        remembered,
        ProviderConfig("dyn", "dyndns2", {}),
        publish.Done(ZONE, None, False, StopError("dyn", ZONE, "answers abuse.", "Ask.")),
        1000.0,
    )
    state.save(remembered, path)
    assert state.load(path) == remembered
    for broken in ({"stopped": {"dyn": {}}}, {"waits": {"dyn": []}}, {"unchanged": {"dyn": {"k": "x"}}}):
        path.write_text(json.dumps({"version": 1, **broken}))
        assert state.load(path) is None


# Pure -----------------------------------------------------------------------------------------------------------

BOTH = Host(MAIL, "198.51.100.10", "2001:db8::10")


def sent(service: str, *hosts: Host) -> list[dict[str, str]]:
    return [dict(query.parameters) for query in queries(SERVICES[service], hosts)]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("noip", [{"hostname": MAIL, "myip": BOTH.ipv4, "myipv6": BOTH.ipv6}]),
        ("dynu", [{"hostname": MAIL, "myip": BOTH.ipv4, "myipv6": BOTH.ipv6}]),
        ("dyn", [{"hostname": MAIL, "myip": f"{BOTH.ipv4},{BOTH.ipv6}"}]),
        ("strato", [{"hostname": MAIL, "myip": f"{BOTH.ipv4},{BOTH.ipv6}"}]),
        ("inwx", [{"myip": BOTH.ipv4, "myipv6": BOTH.ipv6}]),
        ("desec", [{"hostname": MAIL, "myipv4": BOTH.ipv4, "myipv6": BOTH.ipv6}]),
        (
            "ovh",
            [{"system": "dyndns", "hostname": MAIL, "myip": one} for one in (BOTH.ipv4, BOTH.ipv6)],
        ),
        ("he", [{"hostname": MAIL, "myip": one} for one in (BOTH.ipv4, BOTH.ipv6)]),
        ("domaindiscount24", [{"hostname": MAIL, "ip": one} for one in (BOTH.ipv4, BOTH.ipv6)]),
    ],
)
def test_each_service_is_asked_in_its_own_way(service: str, expected: list[dict[str, str]]) -> None:
    assert sent(service, BOTH) == expected


def test_services_with_mx() -> None:
    host = Host(MAIL, BOTH.ipv4, "", ("mail.hearth.example", "backup.isp.example"))
    assert sent("visualdns", host) == [
        {"hostname": MAIL, "myip": BOTH.ipv4, "mx": "mail.hearth.example", "backmx": "backup.isp.example"}
    ]
    assert sent("easydns", Host(MAIL, BOTH.ipv4, "", ("mail.hearth.example",))) == [
        {"hostname": MAIL, "myip": BOTH.ipv4, "mx": "mail.hearth.example"}
    ]
    with pytest.raises(ValueError, match="cannot hold these MX"):
        mx_parameters(SERVICES["easydns"], host)
    with pytest.raises(ValueError, match="takes no IPv6"):
        queries(SERVICES["easydns"], [BOTH])


def test_desec_clears_an_old_ipv6_address() -> None:
    assert sent("desec", Host(MAIL, BOTH.ipv4)) == [{"hostname": MAIL, "myipv4": BOTH.ipv4, "myipv6": ""}]


def test_what_each_service_holds() -> None:
    spec = SPECS["dyndns2"]
    assert spec.held({"service": "noip"}) == {"A", "AAAA"}
    assert spec.held({"service": "visualdns"}) == {"A", "MX"}
    assert spec.held({"url": "https://x.example/"}) == {"A", "AAAA", "MX"}


@pytest.mark.parametrize("service", sorted(filter(None, SERVICES)))
def test_every_service_is_made_offline(service: str) -> None:
    options = {"service": service, "username": "u", "password": "p", "hostnames": [MAIL]}
    provider = publish.make_provider(ProviderConfig("x", "dyndns2", options))
    assert provider.timeout == 10
    assert SPECS["dyndns2"].held(options) == provider.SUPPORTS
    assert SERVICES[service].url.startswith("https://")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"service": "nope"}, "dns_providers.x.service"),
        ({"service": ""}, "dns_providers.x"),
        ({"service": "", "url": "http://x.example/nic"}, "dns_providers.x.url"),
        ({"url": "https://u:p@x.example/"}, "dns_providers.x.url"),
        ({"hostnames": "mail"}, "dns_providers.x.hostnames"),
        ({"hostnames": []}, "dns_providers.x.hostnames"),
        ({"username": ""}, "username"),
        ({"service": "inwx", "hostnames": "a.x.example, b.x.example"}, "dns_providers.x.hostnames"),
    ],
)
def test_a_wrong_entry_names_its_key(changes: dict[str, Any], named: str) -> None:
    options = {"service": "noip", "username": "u", "password": "top-secret", "hostnames": [MAIL], **changes}
    with pytest.raises(ConfigError) as caught:
        publish.make_provider(ProviderConfig("x", "dyndns2", options))
    assert named in str(caught.value)
    assert "top-secret" not in str(caught.value)


def test_hostnames_may_be_a_list_or_a_text() -> None:
    assert hostnames("x", {"hostnames": "A.example.org., b.example.org"}) == ("a.example.org", "b.example.org")


def test_retry_after_may_be_a_date() -> None:
    now = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
    assert retry_after("Tue, 24 Nov 2026 12:01:40 GMT", now) == 100
    assert retry_after("Tue, 24 Nov 2026 11:00:00 GMT", now) == 1
    assert retry_after("999999", now) == 86400
    assert retry_after("-5", now) is None
    assert retry_after(None, now) is None


@given(st.text(max_size=400), st.sampled_from(sorted(SERVICES)), st.integers(200, 599))
def test_no_answer_can_confuse(body: str, service: str, status: int) -> None:
    """Whatever comes: only the codes themselves, with status 200, are a success."""
    query = Query((MAIL,), ("198.51.100.10",), ())
    found = outcomes(SERVICES[service], query, status, None, body)
    assert found
    if any(one.kind in ("good", "nochg") for one in found):
        assert status == 200
        if service in ("", "noip"):
            assert body.split()[0].lower().rstrip(":") in ("good", "nochg")
    assert all(len(one.code) <= 100 and one.code.isprintable() and one.code.isascii() for one in found)


def test_quoting() -> None:
    assert quoted("a\tb\n\x00c é") == "a b ?c ?"
    assert service_of("x", {"url": "https://x.example/nic/update"}).url == "https://x.example/nic/update"


# The control of the lab's server --------------------------------------------------------------------------------


def test_the_control_over_http(service: Service) -> None:
    import requests

    order = [{"body": "911\n", "status": 200}]
    assert requests.post(f"{service.control}/answers", json=order, timeout=5).status_code == 204
    assert isinstance(service.put(a()).error, WaitError)
    told = requests.get(f"{service.control}/requests", timeout=5).json()
    assert [one["answer"] for one in told] == ["911\n"]
    requests.delete(f"{service.control}/requests", timeout=5)
    assert requests.get(f"{service.control}/requests", timeout=5).json() == []
    assert service.put(a()).written


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"agent": "python-requests/2"}, "badagent"),
        ({"hostname": "mail"}, "notfqdn"),
        ({"hostname": ""}, "notfqdn"),
        ({"hostname": "mail.other.example"}, "nohost"),
        ({"hostname": ",".join(f"host{number}.{ZONE}" for number in range(21))}, "numhost"),
        ({"myip": "somewhere"}, "badip"),
        ({"mx": "mail"}, "notfqdn"),
        ({"backmx": "maybe"}, "notfqdn"),
        ({}, "good 198.51.100.1"),
    ],
)
def test_the_server_is_strict(service: Service, changes: dict[str, str], expected: str) -> None:
    import requests

    agent = changes.pop("agent", "Some Program/1.0 someone@x.example") if "agent" in changes else "A B/1.0 c@d.example"
    query = {"hostname": MAIL, "myip": "198.51.100.1", **changes}
    for ask in (
        lambda: requests.get(service.url, params=query, auth=("hanako", "plain"), headers={"User-Agent": agent}),
        lambda: requests.post(service.url, data=query, auth=("hanako", "plain"), headers={"User-Agent": agent}),
    ):
        service.nic.accounts["hanako"]["password"] = "plain"
        service.nic.storage.put(MAIL, {})
        answer = ask()
        assert (answer.status_code, answer.text) == (200, f"{expected}\n")


def test_the_server_blocks_who_repeats_what_changes_nothing(service: Service) -> None:
    nic = service.nic
    query = {"hostname": [MAIL], "myip": ["198.51.100.1"]}
    said = [nic.update("hanako", "A B/1.0 c@d.example", "::1", query)[0].split()[0] for _ in range(5)]
    assert said == ["good", "nochg", "nochg", "nochg", "abuse"]


def test_the_server_wipes_the_family_that_is_missing(service: Service) -> None:
    nic = service.nic
    nic.update("hanako", "A B/1.0 c@d.example", "::1", {"hostname": [MAIL], "myip": ["198.51.100.1,2001:db8::1"]})
    nic.update("hanako", "A B/1.0 c@d.example", "::1", {"hostname": [MAIL], "myip": ["198.51.100.1"]})
    assert nic.storage.get(MAIL) == {"A": ["198.51.100.1"]}
