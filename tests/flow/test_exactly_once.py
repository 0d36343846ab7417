"""At the very end: every message that arrived in any test is there, and is there once; what must not arrive is not."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.flow import lab


@pytest.mark.parametrize("user", [lab.HANAKO, lab.TARO, lab.HANA, lab.SMALL, lab.ALICE, lab.BOB])
def test_everything_that_arrived_is_there_once(user: str) -> None:
    expected = {token for mailbox, token in lab.arrived if mailbox == user}
    unwanted = {token for mailbox, token in lab.never if mailbox == user}
    seen: Counter[str] = Counter()
    with lab.inbox(user) as session:
        for folder in lab.folder_names(session):
            session.select_folder(folder, readonly=True)
            headers = session.fetch(session.search(["ALL"]), ["BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"])
            for entry in headers.values():
                (line,) = [value for key, value in entry.items() if key.startswith(b"BODY[")]
                seen[line.decode(errors="replace").partition("<")[2].partition("@")[0]] += 1
    assert {token: seen[token] for token in expected} == dict.fromkeys(expected, 1)
    assert not unwanted & set(seen)
