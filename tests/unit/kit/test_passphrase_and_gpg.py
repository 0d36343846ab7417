"""What a kit is encrypted with, and what gpg makes of one that is not whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.kit import gpg, passphrase
from tools.kit.errors import KitError

CLEAR = b"what nobody may read " * 500
GOOD = "stapler heron lattice"


def answers(*lines: str) -> passphrase.Ask:
    given = iter(lines)
    return lambda prompt: next(given)


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(passphrase.VARIABLE, raising=False)


def test_a_person_types_it_twice() -> None:
    assert passphrase.of_new_kit(None, answers(GOOD, GOOD)) == GOOD
    with pytest.raises(KitError, match="The passphrases differ"):
        passphrase.of_new_kit(None, answers(GOOD, "stapler heron lettuce"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("eleven char", "has 11 characters, and a kit's needs 12"),
        ("", "has 0"),
        ("a" * 201, "200 is the most"),
        ("tab\tin the middle", "cannot be seen"),
    ],
)
def test_a_bad_one_is_refused_before_it_is_asked_again(bad: str, said: str) -> None:
    with pytest.raises(KitError, match=said) as refused:
        passphrase.of_new_kit(None, answers(bad))
    assert not bad or bad not in str(refused.value)


def test_a_file_or_the_environment_take_the_place_of_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "passphrase"
    file.write_text("from the first line\nnot this\n", encoding="utf-8")
    monkeypatch.setenv(passphrase.VARIABLE, "from the environment")
    assert passphrase.of_new_kit(file, answers()) == passphrase.of_kit(file, answers()) == "from the first line"
    assert passphrase.of_new_kit(None, answers()) == passphrase.of_kit(None, answers()) == "from the environment"
    with pytest.raises(KitError, match="cannot be read from"):
        passphrase.of_kit(tmp_path / "missing", answers())


@pytest.mark.parametrize(
    "secret", [GOOD, "vier Wörter, größer", "--output /tmp/x $(id) 'q' \"", "日本語の合言葉を長くする"]
)
def test_what_is_encrypted_opens_with_the_same_passphrase(secret: str) -> None:
    encrypted = gpg.encrypt(CLEAR, secret)
    assert b"nobody" not in encrypted
    assert gpg.decrypt(encrypted, secret) == CLEAR


def test_another_passphrase_does_not_open_it() -> None:
    encrypted = gpg.encrypt(CLEAR, GOOD)
    for wrong in ("stapler heron lettuce", "", GOOD + " "):
        with pytest.raises(KitError, match="does not open this kit"):
            gpg.decrypt(encrypted, wrong)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_kit_that_is_cut_off_gives_nothing(part: float) -> None:
    encrypted = gpg.encrypt(CLEAR, GOOD)
    with pytest.raises(KitError, match="damaged or cut off"):
        gpg.decrypt(encrypted[: int(len(encrypted) * part)], GOOD)


@pytest.mark.parametrize("place", [0.6, 0.8, 0.99])
def test_one_bit_that_is_another_one_is_found(place: float) -> None:
    encrypted = bytearray(gpg.encrypt(CLEAR, GOOD))
    encrypted[int(len(encrypted) * place)] ^= 1
    with pytest.raises(KitError, match="damaged or cut off"):
        gpg.decrypt(bytes(encrypted), GOOD)


@pytest.mark.parametrize("file", [b"", b"a holiday photo", bytes(1000)])
def test_what_is_no_kit_is_named_so(file: bytes) -> None:
    with pytest.raises(KitError, match="no recovery kit"):
        gpg.decrypt(file, GOOD)


def test_gpg_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KitError, match="install the package gnupg"):
        gpg.encrypt(CLEAR, GOOD)
