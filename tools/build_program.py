"""Make build/hearth-NAME: one of our programs that need nothing but Python's own library, as one file.

Called by the roles on the controller, as `build_program.py probe`; prints `built` or `up to date`. The same sources
give the same file. (The DNS agent has libraries of others in it: `build_agent.py`.)
"""

from __future__ import annotations

import io
import sys
import zipapp
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "src" / "hearthmail"
BUILD = PROJECT / "build"
# Each program is the package of its name, started at `cli.main`.
PROGRAMS = ("probe", "backup")
# What lies beside the packages and is in every program.
SHARED = ("__init__.py", "files.py")
# A zip file holds times, and each zlib packs in its own way (so nothing is packed): the same sources must give the same
# file on every machine, the box itself among them.
TIME = (2000, 1, 1, 0, 0, 0)


def archive(name: str) -> bytes:
    """Pack a program: its package, what all programs share, and what starts it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as out:
        for path in [*(PACKAGE / one for one in SHARED), *sorted((PACKAGE / name).rglob("*.py"))]:
            out.writestr(zipfile.ZipInfo(str(path.relative_to(PACKAGE.parent)), TIME), path.read_bytes())
        start = f"import sys\nfrom hearthmail.{name}.cli import main\nsys.exit(main())\n"
        out.writestr(zipfile.ZipInfo("__main__.py", TIME), start)
    target = io.BytesIO()
    packed.seek(0)
    zipapp.create_archive(packed, target, interpreter="/usr/bin/python3 -I")
    return target.getvalue()


def main(words: list[str]) -> int:
    """Build a program unless it is there already."""
    if len(words) != 1 or words[0] not in PROGRAMS:
        print(f"Which one? {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    program = BUILD / f"hearth-{words[0]}"
    content = archive(words[0])
    if program.is_file() and program.read_bytes() == content:
        print("up to date")
        return 0
    BUILD.mkdir(exist_ok=True)
    new = program.with_suffix(".new")
    new.write_bytes(content)
    new.chmod(0o755)
    new.replace(program)
    print("built")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
