"""One value at a time: what is taken, in which form, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hearthmail_site import values
from hearthmail_site.values import BadValueError
from hypothesis import given
from hypothesis import strategies as st

SHA512 = "$6$mRn8eg2bqZk1$" + "a" * 86
SHA256 = "$5$rounds=10000$mRn8eg2bqZk1$" + "a" * 43
YESCRYPT = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$" + "a" * 43
BCRYPT = "$2y$12$" + "a" * 53
ARGON2ID = "$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHQ$dGhpcyBpcyBhIGRpZ2VzdA"


@pytest.mark.parametrize(
    ("raw", "good"),
    [
        ("hearth.example", "hearth.example"),
        ("Hearth.EXAMPLE", "hearth.example"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("a-b.c1.example", "a-b.c1.example"),
        ("1and1.example", "1and1.example"),
    ],
)
def test_domains_are_kept_in_lower_case(raw: str, good: str) -> None:
    assert values.parse_domain(raw) == good


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("straße.example", "xn--"),
        ("hearth", "in full"),
        ("hearth.example.", "write hearth.example"),
        ("hearth..example", "like"),
        (".example", "like"),
        ("-hearth.example", "like"),
        ("hearth-.example", "like"),
        ("hea_rth.example", "like"),
        ("hea rth.example", "like"),
        ("hearth.example\n", "like"),
        ("198.51.100.7", "name"),
        ("home.local", "registered"),
        ("https://hearth.example", "only the name"),
        ("hanako@hearth.example", "write hearth.example"),
        ("xn--a.example", "registrar"),
        ("a" * 64 + ".example", "shorter"),
        (".".join(["abcdefgh"] * 29) + ".example", "shorter"),
        (5, "quotes"),
        (True, "quotes"),
        (["hearth.example"], "hearth.example"),
    ],
)
def test_domains_that_nobody_could_write_to_are_refused(raw: Any, hint: str) -> None:
    with pytest.raises(BadValueError) as caught:
        values.parse_domain(raw)
    assert hint in caught.value.way_out


@given(st.text())
def test_any_text_is_a_domain_or_is_refused(text: str) -> None:
    try:
        domain = values.parse_domain(text)
    except BadValueError:
        return
    assert domain == text.lower()
    assert values.parse_domain(domain) == domain
    assert len(domain) <= 253


@pytest.mark.parametrize(
    ("raw", "good"),
    [
        ("hanako@hearth.example", "hanako@hearth.example"),
        ("Hanako.Y@Hearth.Example", "hanako.y@hearth.example"),
        ("_a-b.c@hearth.example", "_a-b.c@hearth.example"),
    ],
)
def test_mailboxes_are_kept_in_lower_case(raw: str, good: str) -> None:
    assert values.parse_mailbox(raw) == good


@pytest.mark.parametrize(
    "raw",
    [
        "hanako",
        "@hearth.example",
        "hanako@",
        "hanako@@hearth.example",
        "a@b@hearth.example",
        "hana ko@hearth.example",
        " hanako@hearth.example",
        "hanako@hearth.example\n",
        ".hanako@hearth.example",
        "hanako.@hearth.example",
        "ha..nako@hearth.example",
        "-hanako@hearth.example",
        "花子@hearth.example",
        "../../etc@hearth.example",
        "a/b@hearth.example",
        '"hana ko"@hearth.example',
        "hanako+list@hearth.example",
        "a" * 65 + "@hearth.example",
        "hanako@localhost",
        "hanako@[198.51.100.7]",
        "a\x00b@hearth.example",
        7,
        None,
    ],
)
def test_malformed_mailboxes_are_refused(raw: Any) -> None:
    with pytest.raises(BadValueError):
        values.parse_mailbox(raw)


@given(st.text())
def test_any_mailbox_taken_is_safe_as_a_path_and_in_a_file_of_lines(text: str) -> None:
    try:
        address = values.parse_mailbox(text + "@hearth.example")
    except BadValueError:
        return
    assert not set(address) & set("/:+\\\"' \t\n{}%$")
    assert not address.startswith((".", "-"))


def test_a_foreign_local_part_keeps_its_case() -> None:
    assert values.parse_target("Bob.Builder+x=y@Peer.Example") == "Bob.Builder+x=y@peer.example"


@pytest.mark.parametrize(
    "raw", ["|cat@peer.example", "a%b@peer.example", "a!b@peer.example", "a,b@peer.example", "#a@peer.example"]
)
def test_a_target_is_never_an_instruction(raw: str) -> None:
    with pytest.raises(BadValueError):
        values.parse_target(raw)


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ("1M", 1024**2),
        ("5G", 5 * 1024**3),
        ("5 g", 5 * 1024**3),
        ("2T", 2 * 1024**4),
        (0, 0),
        ("0", 0),
        (1048576, 1024**2),
        ("512K", 512 * 1024),
    ],
)
def test_quotas_are_bytes(raw: Any, size: int) -> None:
    assert values.parse_quota(raw) == size


@pytest.mark.parametrize(
    "raw", ["lots", "5 GB", "5.5G", -1, "-1M", "", 500, True, None, [], 1.5, "9999999999T", "1M\n2"]
)
def test_a_quota_that_is_no_size_is_refused(raw: Any) -> None:
    with pytest.raises(BadValueError):
        values.parse_quota(raw)


@pytest.mark.parametrize("raw", ["10K", "2G", "much", 0])
def test_a_message_size_beyond_reason_is_refused(raw: Any) -> None:
    with pytest.raises(BadValueError):
        values.parse_message_size(raw)


@pytest.mark.parametrize("raw", [0, 65536, -1, "smtp", True, None, 587.0, "²"])
def test_a_port_out_of_range_is_refused(raw: Any) -> None:
    with pytest.raises(BadValueError):
        values.parse_port(raw)


def test_a_port_may_be_in_quotes() -> None:
    assert values.parse_port("465") == 465


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        ("192.168.1.5/24", "192.168.1.0/24"),
        ("192.168.1.0/33", "192.168.178.0/24"),
        ("home", "192.168.178.0/24"),
        ("0.0.0.0/0", "world"),
        ("::/0", "world"),
        (10, "quotes"),
    ],
)
def test_a_network_that_is_none_is_refused(raw: Any, hint: str) -> None:
    with pytest.raises(BadValueError) as caught:
        values.parse_network(raw)
    assert hint in caught.value.way_out


def test_a_single_computer_is_a_network() -> None:
    assert values.parse_network("192.168.1.5") == "192.168.1.5/32"
    assert values.parse_network("FD00:1::/64") == "fd00:1::/64"


@pytest.mark.parametrize(
    ("raw", "good"),
    [
        (SHA512, "{CRYPT}" + SHA512),
        ("{SHA512-CRYPT}" + SHA512, "{SHA512-CRYPT}" + SHA512),
        ("{sha512-crypt}" + SHA512, "{SHA512-CRYPT}" + SHA512),
        (SHA256, "{CRYPT}" + SHA256),
        (YESCRYPT, "{CRYPT}" + YESCRYPT),
        ("{BLF-CRYPT}" + BCRYPT, "{BLF-CRYPT}" + BCRYPT),
        (BCRYPT, "{CRYPT}" + BCRYPT),
        ("{ARGON2ID}" + ARGON2ID, "{ARGON2ID}" + ARGON2ID),
        (ARGON2ID, "{ARGON2ID}" + ARGON2ID),
        ("{PBKDF2}$1$pZFbtw9vdjy5vEnE$5000$" + "a" * 40, "{PBKDF2}$1$pZFbtw9vdjy5vEnE$5000$" + "a" * 40),
    ],
)
def test_hashes_get_their_scheme_in_front(raw: str, good: str) -> None:
    assert values.parse_hash(raw) == good


@pytest.mark.parametrize(
    "raw",
    [
        "geheimes-wort",
        "{PLAIN}geheimes-wort",
        "{geheimes-wort}",
        "{MD5-CRYPT}$1$geheimes$" + "a" * 22,
        "{SSHA}geheimes-wort",
        "$1$geheimes$" + "a" * 22,
        SHA512[:-1],
        "{SHA256-CRYPT}" + SHA512,
        "{ARGON2I}" + ARGON2ID,
        SHA512 + ":0:0",
        SHA512 + "\n",
        12345678901,
        None,
        "",
    ],
)
def test_weak_or_broken_hashes_are_refused_without_showing_them(raw: Any) -> None:
    with pytest.raises(BadValueError) as caught:
        values.parse_hash(raw)
    assert "geheim" not in f"{caught.value.why} {caught.value.way_out}".lower()


@pytest.mark.parametrize(
    "raw",
    [
        "short",
        "aaaaaaaaaaaaaaaa",
        "password123",
        1234567890,
        "",
        " hanako-secret",
        "hanako-secret\n",
        "hanako\x00secret",
        "change-me",
        None,
    ],
)
def test_weak_or_mistyped_passwords_are_refused(raw: Any) -> None:
    with pytest.raises(BadValueError):
        values.parse_password(raw)


def test_a_password_is_the_same_from_any_keyboard() -> None:
    assert values.parse_password("cafe\u0301 noir au lait") == values.parse_password("caf\u00e9 noir au lait")


@pytest.mark.parametrize(
    "raw", ["include:isp.example", "a:smtp.isp.example ip4:198.51.100.0/24", "ip6:2001:db8::/32", "mx"]
)
def test_spf_terms_that_allow_a_sender_are_taken(raw: str) -> None:
    assert values.parse_spf(raw) == raw


@pytest.mark.parametrize(
    "raw",
    [
        "v=spf1 include:isp.example -all",
        "include:isp.example -all",
        "-all",
        "isp.example",
        "ip4:300.1.1.1",
        "ip4:0.0.0.0/0",
        "ip6:1.2.3.4",
        "",
        "?a",
    ],
)
def test_other_spf_terms_are_refused(raw: str) -> None:
    with pytest.raises(BadValueError):
        values.parse_spf(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "dns.provider.example",
        "ftp://dns.provider.example",
        "http://",
        "https://dns.provider.example/api/v1",
        "http://[::1",
        "http://h:x",
    ],
)
def test_a_url_that_is_no_api_is_refused(raw: str) -> None:
    with pytest.raises(BadValueError):
        values.parse_url(raw)


def test_a_login_in_a_url_is_not_shown() -> None:
    with pytest.raises(BadValueError) as caught:
        values.parse_url("https://me:geheim@dns.provider.example")
    assert caught.value.hide
