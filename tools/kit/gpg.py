"""Encrypts with a passphrase, by GnuPG: `gpg -d` opens it on any Debian, in ten years too (RFC 4880, RFC 9580)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence

from .errors import KitError

# Each guess costs a tenth of a second: the iterated and salted S2K (RFC 4880 3.7.1.3) with the largest count there is.
# AES-256; gpg adds the code that tells a damaged message from a whole one (RFC 4880 5.13).
_ENCRYPT = (
    *("--symmetric", "--cipher-algo", "AES256", "--s2k-cipher-algo", "AES256"),
    *("--s2k-mode", "3", "--s2k-digest-algo", "SHA512", "--s2k-count", "65011712"),
)
# The agent, which would remember the passphrase, is not started.
_ALWAYS = ("--batch", "--quiet", "--no-options", "--no-autostart", "--no-symkey-cache", "--pinentry-mode", "loopback")


def encrypt(clear: bytes, passphrase: str) -> bytes:
    """Encrypt.

    :raises KitError: gpg is missing or fails.
    """
    done = _gpg(_ENCRYPT, clear, passphrase)
    if done.returncode != 0:
        raise KitError(f"gpg did not encrypt the kit: {_said(done)}")
    return done.stdout


def decrypt(encrypted: bytes, passphrase: str) -> bytes:
    """Decrypt; what gpg gives before it finds a damage is thrown away.

    :raises KitError: the passphrase is wrong, or not a bit is to be trusted.
    """
    done = _gpg(("--decrypt",), encrypted, passphrase)
    status = {line.split()[1] for line in done.stderr.decode(errors="replace").splitlines() if "[GNUPG:] " in line}
    # GOODMDC comes with AEAD too, as gpg 2.4 may write it.
    if done.returncode == 0 and {"DECRYPTION_OKAY", "GOODMDC"} <= status:
        return done.stdout
    # Two bytes tell: one wrong passphrase of 65,536 is taken for a damage below.
    if any(word in done.stderr for word in (b"BAD_PASSPHRASE", b"Bad session key", b"MISSING_PASSPHRASE")):
        raise KitError("The passphrase does not open this kit (capital letters? another kit's passphrase?)")
    if "NEED_PASSPHRASE_SYM" not in status:
        raise KitError("This is no recovery kit, or its beginning is lost: take another copy of it")
    raise KitError("The kit is damaged or cut off, nothing was taken from it: take another copy of it")


def _gpg(words: Sequence[str], given: bytes, passphrase: str) -> subprocess.CompletedProcess[bytes]:
    # The passphrase goes by a pipe: arguments and environment can be seen by others. It fits into the pipe's buffer.
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(passphrase.encode() + b"\n")
        # A home of its own, without keys or settings; nothing that is secret is written there.
        with tempfile.TemporaryDirectory(prefix="kit-") as home:
            command = ["gpg", "--homedir", home, *_ALWAYS, "--passphrase-fd", str(reading), "--status-fd", "2", *words]
            return subprocess.run(
                command, input=given, capture_output=True, pass_fds=(reading,), env={**os.environ, "LC_ALL": "C"}
            )
    except FileNotFoundError as error:
        raise KitError("gpg is missing: install the package gnupg (make venv does it)") from error
    finally:
        os.close(reading)


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").splitlines()
    return "; ".join(line for line in lines if not line.startswith("[GNUPG:]")) or f"exit code {done.returncode}"
