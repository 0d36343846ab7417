"""The state: written at one stroke, read back whole or not at all; and the lock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthmail.ddns import state, text
from hearthmail.ddns.errors import LockError
from hearthmail.ddns.limits import Account, ready_at
from hearthmail.ddns.outages import Outage
from hearthmail.ddns.records import Key


def sample() -> state.State:
    one = state.State(published="abc", ipv4="198.51.100.10")
    one.set_owned("hearth.example", {Key("hearth.example", "", "TXT"): frozenset({"v=spf1 mx -all"})})
    one.ipv6_proof = state.Ipv6Proof("2001:db8::1", shown=True, at=12.5)
    one.set_pending("hearth.example", {Key("hearth.example", "mail", "A"): frozenset({"198.51.100.11"})})
    one.limits["lab"] = Account(12.5, 3.0, [1.0, 2.5])
    one.outages["lab"] = Outage(3, 10.0, 30.0, "It is down.", "Wait.")
    return one


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "ddns.json"
    state.save(sample(), path)
    assert state.load(path) == sample()
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_mtime_ns
    state.save(sample(), path)
    assert path.stat().st_mtime_ns == before, "an unchanged state is not written"
    assert [one.name for one in path.parent.iterdir()] == ["ddns.json"]


def test_missing(tmp_path: Path) -> None:
    assert state.load(tmp_path / "ddns.json") is None


def test_every_truncation_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "ddns.json"
    state.save(sample(), path)
    whole = path.read_bytes()
    # Without the last line break it is still whole.
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        assert state.load(path) is None, length
    path.write_bytes(whole[:-1])
    assert state.load(path) == sample()


@given(garbage=st.binary(max_size=300))
def test_anything_else_is_no_state(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.json"
    path.write_bytes(garbage)
    assert state.load(path) is None


@given(data=st.data())
def test_a_state_with_foreign_values_in_it_is_whole_or_none(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever stands in place of one value: what is loaded can be saved and used."""
    path = tmp_path_factory.getbasetemp() / "changed.json"
    state.save(sample(), path)
    document = json.loads(path.read_text())
    name = data.draw(st.sampled_from(sorted(document)))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    document[name] = data.draw(
        st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
    )
    path.write_text(json.dumps(document))
    loaded = state.load(path)
    if loaded:
        loaded.owned_in("hearth.example")
        loaded.pending_in("hearth.example")
        text.status(loaded)
        ready_at(loaded.limits.get("lab", Account()), "address", 3, 100.0)
        state.save(loaded, path)
        assert state.load(path) == loaded


def test_unreadable_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "ddns.json"
    path.mkdir()
    assert state.load(path) is None
    path.rmdir()
    path.write_text("[" * 100_000)
    assert state.load(path) is None


def test_a_state_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ddns.json"
    earlier = {
        "version": 1,
        "published": "abc",
        "owned": {"hearth.example|mail|A": ["198.51.100.10"]},
        "ipv4": "198.51.100.10",
        "ipv6_proof": {"address": "", "shown": False, "why": "", "at": 0.0, "tries": 0},
        "last_write": 12.5,
        "last_look": {"seen": "", "at": 0.0, "exit_code": 0, "text": []},
        "last_adoption": {"seen": "", "at": 0.0, "exit_code": 0, "text": []},
        "of another release": {"x": [1]},
    }
    path.write_text(json.dumps(earlier))
    loaded = state.load(path)
    assert loaded
    assert loaded.owned_in("hearth.example") == {Key("hearth.example", "mail", "A"): frozenset({"198.51.100.10"})}
    assert (loaded.pending, loaded.limits, loaded.outages, loaded.told) == ({}, {}, {}, [])
    state.save(loaded, path)
    assert "of another release" not in path.read_text()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"version": 2},
        {"version": 1, "owned": []},
        {"version": 1, "owned": {"x": ["y"]}},
        {"version": 1, "owned": {"a|b|c": [1]}},
        {"version": 1, "owned": {"a|b|c": 1}},
        {"version": 1, "owned": {"a|b|c": "198.51.100.10"}},
        {"version": 1, "pending": {"x": ["y"]}},
        {"version": 1, "limits": []},
        {"version": 1, "limits": {"lab": 1}},
        {"version": 1, "limits": {"lab": {"address": float("nan")}}},
        {"version": 1, "limits": {"lab": {"day": ["x"]}}},
        {"version": 1, "outages": {"lab": {"until": "x"}}},
        {"version": 1, "outages": {"lab": {"until": float("inf")}}},
        {"version": 1, "told": [1]},
        {"version": 1, "published": 1},
        {"version": 1, "ipv6_proof": []},
        {"version": 1, "ipv6_proof": {"at": "now"}},
        {"version": 1, "last_look": {"text": "x"}},
        [],
        None,
    ],
)
def test_malformed(data: object, tmp_path: Path) -> None:
    (tmp_path / "ddns.json").write_text(json.dumps(data))
    assert state.load(tmp_path / "ddns.json") is None


def test_runs_follow_one_another(tmp_path: Path) -> None:
    path = tmp_path / "ddns.json"
    with state.lock(path):
        with pytest.raises(LockError), state.lock(path, wait=0):
            pass
    with state.lock(path, wait=0):
        pass
