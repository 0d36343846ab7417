"""Asks for passwords: on the terminal, or, where nobody sits there, from a file or the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from getpass import getpass
from pathlib import Path

from .errors import KitError

VARIABLE = "HEARTH_KIT_PASSPHRASE"
# A kit may lie in strangers' hands for years, and whoever has it can try for as long (a tenth of a second each time).
MIN_LENGTH, MAX_LENGTH = 12, 200
ADVICE = "six words that do not belong together are good, and easy to copy from paper"

Ask = Callable[[str], str]


def ask(prompt: str) -> str:
    """Ask on the terminal, without an echo.

    :raises KitError: nobody sits there.
    """
    if not sys.stdin.isatty():
        raise KitError(
            f"There is no terminal to ask on ({prompt.strip(': ')}): "
            f"give the kit's passphrase by --passphrase-file or {VARIABLE}, the vault's by --vault-password-file"
        )
    return getpass(prompt)


def _given(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(VARIABLE)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"The passphrase cannot be read from {file}: {error}") from error
    return lines[0] if lines else ""


def of_new_kit(file: Path | None, asking: Ask = ask) -> str:
    """Give the passphrase for a kit that is to be made; a person types it twice.

    :param file: its first line, in place of a person.
    :raises KitError: it is too short, or was typed in two ways.
    """
    given = _given(file)
    passphrase = asking("A passphrase for the kit: ") if given is None else given
    if len(passphrase) < MIN_LENGTH:
        raise KitError(
            f"The passphrase has {len(passphrase)} characters, and a kit's needs {MIN_LENGTH} at least: {ADVICE}"
        )
    if len(passphrase) > MAX_LENGTH:
        raise KitError(
            f"The passphrase has {len(passphrase)} characters, {MAX_LENGTH} is the most: is it the right file?"
        )
    # gpg reads one line; a tab or an umlaut that a terminal spells in its own way would lock the owner out.
    if not passphrase.isprintable():
        raise KitError("The passphrase has characters in it that cannot be seen: take letters, digits, spaces")
    if given is None and asking("The same again: ") != passphrase:
        raise KitError("The passphrases differ, so no kit was made: type the command again")
    return passphrase


def of_kit(file: Path | None, asking: Ask = ask) -> str:
    """Give the passphrase of a kit that is to be opened."""
    given = _given(file)
    return asking("The passphrase of the kit: ") if given is None else given
