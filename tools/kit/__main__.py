"""The command line: `make kit` and `make kit-open` call it, started in the project's folder.

Exit codes: 0 good, 1 nothing was made or opened, 2 not understood.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# Ansible reads its settings when it is loaded.
os.environ.setdefault("ANSIBLE_CONFIG", str(PROJECT / "ansible.cfg"))
sys.path.append(str(PROJECT / "plugins" / "module_utils"))

from hearthmail_kit import Places  # noqa: E402

from . import howto, make, passphrase, unpack  # noqa: E402
from .errors import KitError  # noqa: E402


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kit", description="Makes and opens the recovery kit of a site.")
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="make the kit of a site")
    making.add_argument("site", help="a folder in inventories/")
    making.add_argument("--to", type=Path, default=PROJECT / "build" / "kit", help="folder for the kit")
    making.add_argument("--vault-password-file", type=Path, help="as for ansible-playbook; otherwise it is asked for")
    opening = commands.add_parser("open", help="put what is in a kit into this clone")
    opening.add_argument("kit", type=Path)
    for command in (making, opening):
        command.add_argument(
            "--passphrase-file", type=Path, help=f"its first line is the kit's passphrase (so is {passphrase.VARIABLE})"
        )
    return parser


def _make(words: argparse.Namespace, places: Places) -> None:
    made = make.make(words.site, places, words.to.resolve(), words.passphrase_file, words.vault_password_file)
    print(f"The recovery kit is made, and was opened to see that it is whole: {made.path}")
    print("In it:", *made.files, sep="\n  ")
    for warning in made.warnings:
        print(f"Note: {warning}")
    print(
        "\nNow carry it away: copy it to a USB stick, or to a friend's house, not only to this computer or the box.\n"
        "Write its passphrase on paper and keep that somewhere else. Without it nobody can open the kit, you neither.\n"
        f"It is opened by `make kit-open KIT=...` in a clone of the project, or anywhere by `gpg -d {made.path.name} | "
        f"tar -xf -`;\n{howto.NAME} in it tells the rest."
    )


def _open(words: argparse.Namespace, places: Places) -> None:
    opened = unpack.open_kit(words.kit, passphrase.of_kit(words.passphrase_file), places)
    print(f"The kit of {opened.made} is open: inventories/{opened.site} is there.")
    for path in opened.written:
        print(f"  written: {path}")
    if opened.vault:
        print(f"{opened.vault} holds the vault's password in clear: delete it when you know the password by heart.")
    if opened.other_commit:
        print(f"This clone is at another version. For the one that the box had: git checkout {opened.other_commit}")
    print("\nWith a bare Debian on the box, bring it back:")
    print(f"  {howto.deploy_command(opened.site, opened.vault)}")


def main(words: list[str]) -> int:
    """Do what `words` say."""
    parsed = _parser().parse_args(words)
    try:
        {"make": _make, "open": _open}[parsed.command](parsed, Places(PROJECT, Path.home()))
    except KitError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
