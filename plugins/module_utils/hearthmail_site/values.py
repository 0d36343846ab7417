"""What one value may be. A parser takes what a person wrote and gives it in normal form, or raises `BadValueError`."""

from __future__ import annotations

import ipaddress
import re
import string
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# UTS 46 and IDNA 2008; the standard library still has the rules of 2003. It comes with `requests`, and is pinned.
import idna


class BadValueError(ValueError):
    """A value is not what it must be.

    :param why: what is wrong with it; never contains a secret.
    :param way_out: what to write instead.
    :param hide: the value must not be shown, for it may hold a secret.
    """

    def __init__(self, why: str, way_out: str, *, hide: bool = False) -> None:
        super().__init__(why, way_out)
        self.why = why
        self.way_out = way_out
        self.hide = hide


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    :param name: what it is called in the documentation.
    :param parse: the parser.
    :param secret: whether the value must never be shown.
    """

    name: str
    parse: Callable[[Any], Any]
    secret: bool = False


def text_of(raw: Any, example: str) -> str:
    """Take a text; a number or a yes/no is what YAML makes of one without quotes."""
    if isinstance(raw, bool):
        raise BadValueError("YAML reads this word as yes or no", f'put it in quotes, as in "{example}"')
    if isinstance(raw, int | float):
        raise BadValueError("this is a number", f'put it in quotes, as in "{example}"')
    if not isinstance(raw, str):
        raise BadValueError("this is not a text", f"write one, such as {example}")
    return str(raw)


# --- names ---------------------------------------------------------------------------------------------------------

# Names that nobody outside the home can look up (RFC 6761, 6762, 8375, 9476 and ICANN's .internal).
_PRIVATE_ENDINGS = ("local", "localhost", "lan", "home", "internal", "intranet", "home.arpa", "invalid", "onion", "alt")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def parse_domain(raw: Any, example: str = "hearth.example") -> str:
    """Take a domain or host name that the world can look up, in lower case without a dot at the end.

    Letters, digits, hyphens (RFC 1123 2.1); at most 63 in a label, 253 in all (RFC 1035 2.3.4).
    """
    name = text_of(raw, example)
    if not name.isascii():
        raise BadValueError("letters beyond a-z travel in mail as an xn-- name", _idna_hint(name))
    name = name.lower()
    if name.endswith("."):
        raise BadValueError("there is a dot at its end", f"write {name.rstrip('.')}")
    if "@" in name:
        raise BadValueError("this is a mail address, not a domain", f"write {name.rsplit('@', 1)[1] or example}")
    if "://" in name or "/" in name:
        raise BadValueError("this is not a bare name", f"write only the name, such as {example}")
    labels = name.split(".")
    if len(labels) < 2:
        raise BadValueError(
            "a domain has at least two parts with a dot between", f"write it in full, such as {example}"
        )
    if len(name) > 253:
        raise BadValueError(f"a domain has at most 253 characters, this one {len(name)}", "use a shorter one")
    for label in labels:
        if not label:
            raise BadValueError("there are two dots side by side, or one in front", f"write it like {example}")
        if len(label) > 63:
            raise BadValueError("a part between two dots has at most 63 characters", "use a shorter one")
        if not _LABEL.fullmatch(label):
            raise BadValueError(
                f'"{label}" is no part of a domain: only a-z, 0-9 and, not at an end, the hyphen',
                f"write it like {example}",
            )
        if label.startswith("xn--"):
            try:
                idna.ulabel(label)
            except (idna.IDNAError, UnicodeError):
                raise BadValueError(
                    f'"{label}" stands for no name in other letters', "copy the xn-- form from your registrar"
                ) from None
    if labels[-1].isdigit():
        raise BadValueError("this is a number or an address, not a domain", f"write a name, such as {example}")
    ending = next((one for one in _PRIVATE_ENDINGS if name.endswith(f".{one}")), None)
    if ending:
        raise BadValueError(f"nobody in the world can look up a name in .{ending}", "use a domain that is registered")
    return name


def _idna_hint(name: str) -> str:
    try:
        return f"write {idna.encode(name.rstrip('.'), uts46=True).decode()}"
    except (idna.IDNAError, UnicodeError):
        return "correct the name: there is no xn-- form for it"


def parse_host(raw: Any) -> str:
    """Take the name of a server; its certificate is checked against it, so it is no address."""
    return parse_domain(raw, "smtp.isp.example")


def parse_name_server(raw: Any) -> str:
    """Take a name server: an address or a name."""
    name = text_of(raw, "ns1.provider.example")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return parse_domain(name, "ns1.provider.example")


def parse_url(raw: Any) -> str:
    """Take `http(s)://host:port` without a path."""
    example = "https://dns.provider.example:8081"
    url = text_of(raw, example)
    try:
        parts = urlsplit(url)
        good = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        good = False
    if not good:
        raise BadValueError("this is no address of an API", f"write it like {example}", hide="@" in url)
    if "@" in parts.netloc:
        raise BadValueError("there is a login in it", "write the credentials under their own keys", hide=True)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise BadValueError(
            "there is more than host and port", f"write only these, like {example}", hide=bool(parts.query)
        )
    return url.rstrip("/")


def parse_web_address(raw: Any) -> str:
    """Take a URL with a path, without a login and without parameters: those would be shown."""
    example = "https://dyn.example/nic/update"
    url = text_of(raw, example)
    try:
        parts = urlsplit(url)
        good = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        good = False
    if not good:
        raise BadValueError("this is no web address", f"write it like {example}", hide="@" in url or "?" in url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise BadValueError(
            "there is a login or a parameter in it", "write the credentials under their own keys", hide=True
        )
    return url


# --- mail addresses ------------------------------------------------------------------------------------------------

# What a mailbox of ours may be called. `+` parts off a detail, `/` would leave the mail's folder, and Dovecot's
# auth_username_chars takes no others; a hyphen in front is refused by Postfix (allow_min_user).
_OWN_LOCAL = re.compile(r"[a-z0-9_][a-z0-9._-]*")
_ALIAS_LOCAL = re.compile(r"[a-z0-9_][a-z0-9._+-]*")
# What others may be called (RFC 5321 4.1.2 without quoting); `!`, `%`, `#`, `|` and the backquote mean something to
# mail servers.
_FOREIGN_LOCAL = re.compile(r"[A-Za-z0-9_&'*+./=?^{}~$-]+")


def _split(raw: Any) -> tuple[str, str]:
    example = "hanako@hearth.example"
    address = text_of(raw, example)
    if address != address.strip() or any(c.isspace() for c in address):
        raise BadValueError("there is a space in it", f"write it like {example}")
    if address.count("@") != 1:
        raise BadValueError("a mail address has exactly one @", f"write it in full, such as {example}")
    local, domain = address.split("@")
    if not local:
        raise BadValueError(
            "nothing stands before the @; all addresses of a domain at once would take every spammer's guess",
            "write each address that shall exist",
        )
    if not local.isascii():
        raise BadValueError(
            "the part before the @ has letters beyond a-z, which most mail servers refuse", "use a-z, 0-9, . _ -"
        )
    if len(local) > 64:
        raise BadValueError("the part before the @ has more than 64 characters (RFC 5321)", "use a shorter one")
    if local.startswith(".") or local.endswith(".") or ".." in local:
        raise BadValueError(
            "there is a dot at an end of the part before the @, or two side by side", f"write it like {example}"
        )
    return local, domain


def _domain_part(domain: str) -> str:
    if not domain:
        raise BadValueError("nothing stands behind the @", "write it in full, such as hanako@hearth.example")
    return parse_domain(domain)


def parse_mailbox(raw: Any) -> str:
    """Take the address of a mailbox of ours, in lower case: whoever writes to Hanako@ means hanako@."""
    local, domain = _split(raw)
    if "+" in local:
        raise BadValueError(
            "the + parts off a detail, and mail for it goes to the address without it",
            f"write {local.split('+')[0]}@{domain}: it gets the mail of every +detail",
        )
    if not _OWN_LOCAL.fullmatch(local.lower()):
        raise BadValueError(
            "a mailbox has before the @ only a-z, 0-9, . _ - and begins with none of . -", "use another name"
        )
    return f"{local.lower()}@{_domain_part(domain)}"


def parse_alias(raw: Any) -> str:
    """Take a further address of ours, in lower case."""
    local, domain = _split(raw)
    if not _ALIAS_LOCAL.fullmatch(local.lower()):
        raise BadValueError(
            "an alias has before the @ only a-z, 0-9, . _ + - and begins with none of . + -", "use another name"
        )
    return f"{local.lower()}@{_domain_part(domain)}"


def parse_target(raw: Any) -> str:
    """Take an address anywhere. Its local part stays as written: only its server knows its case (RFC 5321 2.4)."""
    local, domain = _split(raw)
    if not _FOREIGN_LOCAL.fullmatch(local):
        raise BadValueError(
            "there is a character before the @ that mail servers read as an instruction", "use another address"
        )
    return f"{local}@{_domain_part(domain)}"


# --- numbers -------------------------------------------------------------------------------------------------------

_SIZE = re.compile(r"(\d+)\s*([kmgt]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def parse_bytes(raw: Any, example: str) -> int:
    """Take a size: digits and one of K, M, G, T (powers of 1024); without a letter bytes."""
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise BadValueError("this is no size", f"write a whole number and K, M, G or T, such as {example}")
    match = _SIZE.fullmatch(str(raw).strip())
    if not match:
        raise BadValueError("this is no size", f"write a whole number and K, M, G or T, such as {example}")
    return int(match[1]) * _UNITS[match[2].lower()]


def parse_quota(raw: Any) -> int:
    """Take a quota in bytes; 0: no limit."""
    size = parse_bytes(raw, "5G")
    if 0 < size < 64 * 1024:
        raise BadValueError(
            f"{size} bytes hold not even one mail", "write a unit, such as 500M or 5G, or 0 for no limit"
        )
    if size >= 2**62:
        raise BadValueError("this is more than any disk holds", "write a smaller size, or 0 for no limit")
    return size


def parse_message_size(raw: Any) -> int:
    """Take the largest message, in bytes: 1M to 2G. Postfix keeps the number in 31 bits on some machines."""
    size = parse_bytes(raw, "50M")
    if size < 1024**2:
        raise BadValueError("common mail with a picture would be refused", "write at least 1M; 50M is usual")
    if size > 2**31 - 1:
        raise BadValueError("no other mail server takes messages of this size", "write less than 2G; 50M is usual")
    return size


def parse_port(raw: Any) -> int:
    """Take a TCP port."""
    if isinstance(raw, str) and raw.isascii() and raw.isdigit():
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise BadValueError("this is no port", "write a number, such as 587")
    if not 1 <= raw <= 65535:
        raise BadValueError("a port is from 1 to 65535", "submission is 587 or 465")
    return int(raw)


def seconds(low: int, high: int) -> Kind:
    """Make the kind of whole seconds between two bounds."""

    def parse(raw: Any) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
            raise BadValueError("this is no number of seconds that can be used", f"write one from {low} to {high}")
        return int(raw)

    return Kind("seconds", parse)


def parse_network(raw: Any) -> str:
    """Take a network, IPv4 or IPv6, or a single address."""
    example = "192.168.178.0/24"
    written = text_of(raw, example)
    try:
        interface = ipaddress.ip_interface(written)
    except ValueError:
        raise BadValueError("this is no network", f"write it like {example} or fd00:1::/64") from None
    network = interface.network
    if network.network_address != interface.ip:
        raise BadValueError(
            "this is an address inside a network", f"write {network}, or {interface.ip} for one computer"
        )
    if network.prefixlen < (8 if network.version == 4 else 7):
        raise BadValueError(
            "this is a large part of the world", "write the network of your home; mail_access takes world"
        )
    return str(network)


# --- words ---------------------------------------------------------------------------------------------------------


def choice(*words: str, later: tuple[str, ...] = ()) -> Kind:
    """Make the kind of one of some words; those of `later` are planned, not there."""
    allowed = f"write {', '.join(words[:-1])} or {words[-1]}"

    def parse(raw: Any) -> str:
        if isinstance(raw, str) and raw in later:
            raise BadValueError("this is not supported yet", allowed)
        if isinstance(raw, str) and raw in words:
            return str(raw)
        raise BadValueError("this is none of the words that can stand here", allowed)

    return Kind(", ".join(f"`{word}`" for word in words), parse)


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def parse_name(raw: Any) -> str:
    """Take a name that only this file uses."""
    name = text_of(raw, "home")
    if not _NAME.fullmatch(name):
        raise BadValueError("a name has only letters, digits, . _ -", "use another name")
    return name


def parse_text(raw: Any) -> str:
    """Take one line of text."""
    return _one_line(text_of(raw, "localhost"))


def _one_line(text: str) -> str:
    if not text:
        raise BadValueError("this is empty", "write a value, or take the line out")
    if any(unicodedata.category(c) == "Cc" for c in text):
        raise BadValueError(
            "there is a line break or another control character in it", "write it on one line, in quotes"
        )
    if text != text.strip():
        raise BadValueError("it begins or ends with a space", "take the space away")
    return text


def parse_login(raw: Any) -> str:
    """Take a login at another server; a colon would end it in Postfix's file."""
    login = _one_line(text_of(raw, "hanako@isp.example"))
    if ":" in login:
        raise BadValueError("a login cannot contain a colon", "correct it")
    return login


_SPF_TERM = re.compile(
    r"[+]?(include:[\w.-]+|a(:[\w.-]+)?(/\d+)?|mx(:[\w.-]+)?(/\d+)?|exists:[\w.%{}-]+|ip4:[\d.]+(/\d+)?|ip6:[0-9a-f:.]+(/\d+)?)",
    re.IGNORECASE | re.ASCII,
)


def parse_spf(raw: Any) -> str:
    """Take one or more SPF mechanisms (RFC 7208 section 5) that let mail pass, with spaces between."""
    example = "include:isp.example"
    term = text_of(raw, example)
    words = term.split()
    if not words:
        raise BadValueError("this is empty", f"write what your relay asks for, such as {example}")
    if words[0].lower().startswith("v=spf1") or words[-1].lower() in ("-all", "~all", "?all", "+all", "all"):
        raise BadValueError("this is a whole record", f"write only the middle of it, such as {example}")
    for word in words:
        if not _SPF_TERM.fullmatch(word):
            raise BadValueError(f'"{word}" is no SPF term that allows a sender', f"write one such as {example}")
        _, _, rest = word.partition(":")
        if word.lower().lstrip("+").startswith(("ip4:", "ip6:")):
            try:
                network = ipaddress.ip_network(rest, strict=False)
            except ValueError:
                raise BadValueError(f'"{word}" has no good address', "write it like ip4:198.51.100.7") from None
            if word.lower().lstrip("+")[2] != str(network.version):
                raise BadValueError(f'"{word}" mixes IPv4 and IPv6', f"write ip{network.version}:{rest}")
            if network.prefixlen < 8:
                raise BadValueError(f'"{word}" allows a large part of the world to send', "name fewer addresses")
    return " ".join(words)


_SFTP = re.compile(r"sftp:[^@/:\s]+@[^@/:\s]+:.+")
_WEB = re.compile(r"rest:https?://[^/\s]+/.*")
_S3 = re.compile(r"s3:.+")


def parse_repository(raw: Any) -> str:
    """Take the place of a restic repository. It may hold a login, so no message shows it."""
    example = (
        "/mnt/backup/hearthmail, sftp:hearth@backup.example:hearthmail, rest:https://backup.example/hearth/ or s3:..."
    )
    try:
        place = _one_line(text_of(raw, "/mnt/backup/hearthmail"))
    except BadValueError as error:
        raise BadValueError(error.why, error.way_out, hide=True) from None
    if PLACEHOLDER in place.lower():
        raise BadValueError("this is still the placeholder of the example", "write the real one", hide=True)
    if place.startswith("/"):
        if len(place.strip("/").split("/")) < 2:
            raise BadValueError("that folder is not on a disk of its own", f"write one such as {example}", hide=True)
        return place.rstrip("/")
    if not any(form.fullmatch(place) for form in (_SFTP, _WEB, _S3)):
        raise BadValueError("this is no place that backups go to", f"write one such as {example}", hide=True)
    return place


def parse_private_key(raw: Any) -> str:
    """Take an SSH private key, all of its lines."""
    if not isinstance(raw, str) or not raw.strip().startswith("-----BEGIN "):
        raise BadValueError(
            "this is no private key", "write all lines of the file which ssh-keygen made, after `|`", hide=True
        )
    return raw.strip() + "\n"


def parse_count(raw: Any) -> int:
    """Take how many of something to keep."""
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= 10000:
        raise BadValueError("this is no number from 0 to 10000", "write one such as 24")
    return int(raw)


def parse_yes_no(raw: Any) -> bool:
    """Take a yes or no; on the command line (`-e name=no`) it is a text."""
    words = {"yes": True, "true": True, "no": False, "false": False}
    if isinstance(raw, bool):
        return bool(raw)
    if not isinstance(raw, str) or raw.lower() not in words:
        raise BadValueError("this is neither true nor false", "write true or false")
    return words[raw.lower()]


# --- secrets: no message below shows the value ----------------------------------------------------------------------

# The example's vault file has this in place of each secret.
PLACEHOLDER = "change-me"
MIN_PASSWORD = 10
# Tried first by whoever guesses. Longer lists are a matter for a tool that knows the leaks.
_GUESSED_FIRST_WORDS = (
    "1234567890 0123456789 0987654321 12345678910 qwertyuiop qwertz123456 1q2w3e4r5t 1qaz2wsx3edc password12 "
    "password123 password1234 passwort123 iloveyou123 letmein1234 welcome1234 administrator abcdefghij abcdefghijk"
)
_GUESSED_FIRST = frozenset(_GUESSED_FIRST_WORDS.split())


def _secret(raw: Any) -> str:
    if isinstance(raw, int | float):
        raise BadValueError("YAML reads it as a number, and may lose digits", "put it in quotes")
    if not isinstance(raw, str):
        raise BadValueError("this is not a text", "write one line in quotes")
    secret = _one_line(str(raw))
    if PLACEHOLDER in secret.lower():
        raise BadValueError("this is still the placeholder of the example", "write the real one into the vault file")
    return secret


def parse_secret(raw: Any) -> str:
    """Take a credential that someone else made."""
    return _secret(raw)


def parse_password(raw: Any) -> str:
    """Take a password for a mailbox, in Unicode's form C: keyboards send one letter in two ways (RFC 8265 4.2)."""
    password = unicodedata.normalize("NFC", _secret(raw))
    if len(password) < MIN_PASSWORD:
        raise BadValueError(
            f"it has fewer than {MIN_PASSWORD} characters, and the whole world may try it",
            "use four words, or more characters",
        )
    if len(set(password)) < 5 or password.lower() in _GUESSED_FIRST:
        raise BadValueError("it is among the first that anybody tries", "use four words that do not belong together")
    return password


_B64 = f"[{re.escape(string.ascii_letters + string.digits)}./]"
# Modular crypt forms, as the prefix tells them apart.
_CRYPT = {
    "$6$": re.compile(rf"\$6\$(rounds=\d{{4,9}}\$)?[^$:\s]{{1,16}}\${_B64}{{86}}"),
    "$5$": re.compile(rf"\$5\$(rounds=\d{{4,9}}\$)?[^$:\s]{{1,16}}\${_B64}{{43}}"),
    "$y$": re.compile(rf"\$y\${_B64}+\${_B64}{{1,86}}\${_B64}{{43}}"),
    "$2": re.compile(rf"\$2[aby]\$(0[4-9]|[12]\d|3[01])\${_B64}{{53}}"),
}
_ARGON2 = re.compile(r"\$argon2(id|i)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_PBKDF2 = re.compile(r"\$1\$[^$:\s]{1,64}\$\d+\$[0-9a-f]{40}")
_SCHEME_CRYPT = {
    "SHA512-CRYPT": ("$6$",),
    "SHA256-CRYPT": ("$5$",),
    "BLF-CRYPT": ("$2",),
    "CRYPT": ("$6$", "$5$", "$y$", "$2"),
}

_WEAK_SCHEMES_WORDS = (
    "PLAIN CLEAR CLEARTEXT PLAIN-MD5 PLAIN-TRUNC LDAP-MD5 MD5 MD5-CRYPT SMD5 CRAM-MD5 DIGEST-MD5 DES-CRYPT LANMAN "
    "NTLM OTP RPA SKEY SHA SHA1 SSHA SHA256 SSHA256 SHA512 SSHA512 SCRAM-SHA-1 SCRAM-SHA-256"
)
_WEAK_SCHEMES = frozenset(_WEAK_SCHEMES_WORDS.split())


def parse_hash(raw: Any) -> str:
    """Take a hash as `doveadm pw` or crypt(3) print it, and put its scheme in front where there is none.

    Only schemes that cost a guesser something are taken, and only whole hashes: half of one locks its user out.
    """
    way_out = (
        "make one with: doveadm pw -s SHA512-CRYPT (or: openssl passwd -6), and copy the whole line in single quotes"
    )
    if not isinstance(raw, str):
        raise BadValueError("this is no hash", way_out)
    written = str(raw)
    if PLACEHOLDER in written.lower():
        raise BadValueError("this is still the placeholder of the example", way_out)
    match = re.fullmatch(r"\{([A-Za-z0-9.-]+)\}(.*)", written, re.DOTALL)
    scheme, digest = (match[1].upper(), match[2]) if match else ("", written)
    if not scheme:
        argon = _ARGON2.fullmatch(digest)
        scheme = f"ARGON2{argon[1].upper()}" if argon else "CRYPT"
        if not digest.startswith("$"):
            raise BadValueError("this is no hash", way_out)
    if scheme in _SCHEME_CRYPT:
        good = any(digest.startswith(p) and _CRYPT[p].fullmatch(digest) for p in _SCHEME_CRYPT[scheme])
    elif scheme in ("ARGON2ID", "ARGON2I"):
        argon = _ARGON2.fullmatch(digest)
        good = bool(argon and f"ARGON2{argon[1].upper()}" == scheme)
    elif scheme == "PBKDF2":
        good = bool(_PBKDF2.fullmatch(digest))
    else:
        # What follows {PLAIN} is a secret, and what stands in place of a name may be one.
        known = f"the scheme {scheme} is too weak" if scheme in _WEAK_SCHEMES else "its scheme is not known"
        raise BadValueError(known, way_out)
    if not good:
        raise BadValueError(f"this is no whole hash of the scheme {scheme}", way_out)
    return f"{{{scheme}}}{digest}"


DOMAIN = Kind("domain", parse_domain)
HOST = Kind("host name", parse_host)
NAME_SERVER = Kind("address or host name", parse_name_server)
URL = Kind("URL", parse_url)
WEB_ADDRESS = Kind("URL", parse_web_address)
MAILBOX = Kind("address", parse_mailbox)
ALIAS = Kind("address", parse_alias)
TARGET = Kind("address", parse_target)
QUOTA = Kind("size", parse_quota)
MESSAGE_SIZE = Kind("size", parse_message_size)
PORT = Kind("port", parse_port)
NETWORK = Kind("network", parse_network)
NAME = Kind("name", parse_name)
TEXT = Kind("text", parse_text)
LOGIN = Kind("text", parse_login)
SPF = Kind("SPF term", parse_spf)
REPOSITORY = Kind("place of backups", parse_repository, secret=True)
COUNT = Kind("number", parse_count)
YES_NO = Kind("true or false", parse_yes_no)
PRIVATE_KEY = Kind("private key", parse_private_key, secret=True)
SECRET = Kind("secret", parse_secret, secret=True)
PASSWORD = Kind("password", parse_password, secret=True)
HASH = Kind("hash", parse_hash, secret=True)
