"""One run of the agent as a process of its own, for the tests that kill it: `ADDRESS FOLDER PORT RUN`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hearthmail.ddns import text
from hearthmail.ddns.address import Found
from hearthmail.ddns.agent import Agent
from hearthmail.ddns.config import parse
from hearthmail.ddns.records import Key, RRset
from hearthmail.ddns.state import Ipv6Proof

ZONE = "hearth.example"
FRAGMENT = [
    {"zone": ZONE, "name": "", "type": "MX", "ttl": 3600, "values": ["10 mail.hearth.example."]},
    {"zone": ZONE, "name": "", "type": "TXT", "ttl": 3600, "values": ["v=spf1 mx -all"]},
]


def agent(address: str, folder: Path, port: int, **world: Any) -> Agent:
    """An agent that finds this address. Name servers are not asked: they are not what is tried here."""
    (folder / "records.d").mkdir(exist_ok=True)
    fragment = folder / "records.d" / "postfix.json"
    if not fragment.exists():
        fragment.write_text(json.dumps(FRAGMENT))
    config = {
        "hostname": f"mail.{ZONE}",
        "domains": [{"name": ZONE, "dns": "lab"}],
        "providers": {
            "lab": {"type": "powerdns", "url": f"http://127.0.0.1:{port}", "api_key": "standin", "timeout": 30}
        },
        "address": {"allow_documentation": True},
    }

    def question(_server: str, _key: Key) -> RRset | None:
        return None

    return Agent(
        parse(config),
        folder / "records.d",
        folder / "ddns.json",
        look=lambda *_args: Found(address, "router", "", None, "", Ipv6Proof(), 0.0),
        find_servers=lambda _zone, _configured: ["192.0.2.53"],
        question=question,
        **world,
    )


def main() -> int:
    """Run it once."""
    address, folder, port, run = sys.argv[1:]
    one = agent(address, Path(folder), int(port))
    report = one.apply() if run == "apply" else one.check()
    print("\n".join(text.lines(report)))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
