"""A doveadm for tests: `backup`, `import`, `mailbox list`, `mailbox status` over plain Maildirs.

`$FAKES/doveadm.fail` holds {address: [exit codes of the next calls]}; "away" is what a doveadm says without a Dovecot.
`$FAKES/dovecot.version` says which syntax is right.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from pathlib import Path

FAKES = Path(os.environ["FAKES"])
ROOT = FAKES.parent
NEW = (FAKES / "dovecot.version").read_text().startswith("2.4")


def home(address: str) -> Path:
    local, domain = address.split("@")
    return ROOT / "var/vmail" / domain / local


def place(text: str) -> Path:
    driver, *parts = text.split(":")
    assert driver == "maildir"
    # 2.4 takes driver:path and nothing more.
    assert len(parts) == 1 or (not NEW and parts[1].startswith("INDEX=")), text
    return Path(parts[0])


def next_failure(address: str) -> int | str:
    """Take the next exit code of this address. Two doveadm run at a time: one reads and writes after the other."""
    failures = FAKES / "doveadm.fail"
    if not failures.exists():
        return 0
    with failures.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        codes = json.load(file)
        code = codes[address].pop(0) if codes.get(address) else 0
        file.seek(0)
        json.dump(codes, file)
        file.truncate()
    return code


def main() -> None:
    words = sys.argv[1:]
    with (FAKES / "doveadm.log").open("a") as log:
        log.write(json.dumps(words) + "\n")
    address = words[words.index("-u") + 1]
    code = next_failure(address)
    if isinstance(code, str):
        where = "connect(/run/dovecot/auth-userdb) failed: Connection refused"
        print(f"doveadm({address}): Error: auth-master: userdb lookup({address}): {where}", file=sys.stderr)
        sys.exit(75)
    if code:
        print(f"doveadm({address}): Error: it failed with {code}", file=sys.stderr)
        sys.exit(code)
    if not (home(address) / "Maildir").is_dir():
        print(f"doveadm({address}): Error: User doesn't exist", file=sys.stderr)
        sys.exit(67)
    imports = ROOT / "imports" / address
    if words[0] == "backup":
        assert ("-p" in words) == NEW
        target = place(words[-1])
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(home(address) / "Maildir", target)
    elif "import" in words:
        assert words[:2] == ["-o", "mail_plugins="], words
        source, parent, query = words[-3:]
        assert query == "ALL"
        shutil.copytree(place(source), imports / parent)
    elif words[:2] == ["mailbox", "list"]:
        if (imports / words[-2]).exists():
            print(words[-2])
    else:
        assert words[:4] == ["-f", "tab", "mailbox", "status"], words
        print("mailbox\tmessages")
        parent = words[-1].removesuffix("/*")
        for folder in [imports / parent, *(imports / parent).glob(".*")]:
            count = len([*folder.glob("cur/*"), *folder.glob("new/*")])
            if count:
                print(f"{parent}/{folder.name}\t{count}")
