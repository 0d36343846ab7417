"""The state: written at one stroke, read back whole or not at all; and the lock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthmail.ddns import state
from hearthmail.ddns.errors import LockError
from hearthmail.ddns.records import Key


def sample() -> state.State:
    one = state.State(published="abc", ipv4="198.51.100.10")
    one.set_owned("hearth.example", {Key("hearth.example", "", "TXT"): frozenset({"v=spf1 mx -all"})})
    one.ipv6_proof = state.Ipv6Proof("2001:db8::1", shown=True, at=12.5)
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


TEXT = json.dumps({"version": 1, "owned": {"hearth.example||A": ["198.51.100.10"]}, "published": "abc"})


@given(st.one_of(st.binary(max_size=200), st.integers(0, len(TEXT) - 1).map(lambda end: TEXT[:end].encode())))
def test_anything_else_is_no_state(garbage: bytes) -> None:
    try:
        text = garbage.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises((ValueError, TypeError)):
        state.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"version": 2},
        {"version": 1, "owned": []},
        {"version": 1, "owned": {"x": ["y"]}},
        {"version": 1, "owned": {"a|b|c": [1]}},
        {"version": 1, "owned": {"a|b|c": 1}},
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
