"""A repository whose machine is away is told at once, not after restic's quarter of an hour."""

from __future__ import annotations

import socket

import pytest

from hearthmail.backup.errors import BackupError
from hearthmail.backup.reach import address, must_answer


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("rest:https://box:hidden@backup.example:8000/box/", ("backup.example", 8000)),
        ("rest:https://backup.example/box/", ("backup.example", 443)),
        ("rest:http://[2001:db8::1]/box/", ("2001:db8::1", 80)),
        ("sftp:box@backup.example:mail", None),
        ("s3:https://s3.example/mail", ("s3.example", 443)),
        ("s3:http://s3.example:8080/mail/box", ("s3.example", 8080)),
        ("s3:s3.example/mail", ("s3.example", 443)),
        ("s3://s3.example:9000/mail", ("s3.example", 9000)),
        ("/mnt/disk/mail", None),
    ],
)
def test_only_a_web_server_is_asked(
    repository: str, expected: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert address(repository) == expected


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
def test_one_behind_a_proxy_is_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address("s3:https://s3.example/mail", {name: "http://proxy.example:3128"}) is None
    monkeypatch.setenv(name, "http://proxy.example:3128")
    assert address("s3:https://s3.example/mail") is None


def test_one_that_listens_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        must_answer(f"rest:http://127.0.0.1:{server.getsockname()[1]}/box/", "shown")


def test_one_that_does_not_is_told_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(BackupError, match=r"The repository shown cannot be reached: .*refused") as told:
        must_answer(f"rest:http://box:hidden@127.0.0.1:{port}/box/", "shown")
    assert told.value.kind == "unreachable"
    assert "hidden" not in str(told.value)


def test_one_that_keeps_silent_is_not_waited_for() -> None:
    # A full queue of connections answers no further one.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        with pytest.raises(BackupError, match="cannot be reached"):
            must_answer(f"rest:http://127.0.0.1:{server.getsockname()[1]}/", "shown", patience=0.5)
        for one in waiting:
            one.close()
