"""Print a vault template with a random password in place of each `change-me`. Comments stay as they are.

Usage: fill_vault.py inventories/example/group_vars/all/vault.example | ansible-vault encrypt --output FILE
"""

from __future__ import annotations

import re
import secrets
import sys
from pathlib import Path

# Without l, o, 0, 1: passwords are typed into telephones. 20 of 32 characters: 100 bits.
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
GROUPS, GROUP = 5, 4


def random_password() -> str:
    """Make a password in groups of characters that cannot be mistaken for each other."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))


def fill(template: str) -> str:
    """Put passwords into a template."""
    return re.sub(r"^([^#\n]*:\s*)change-me$", lambda match: match[1] + random_password(), template, flags=re.MULTILINE)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.stdout.write(fill(Path(sys.argv[1]).read_text(encoding="utf-8")))
