"""The limits that we set on every provider's package: none of them may hold up a change of address.

Their own range from none at all (a hung connection hangs for ever) to four pauses of 5 minutes. All reading and writing
of one run ends after `hearthmail.ddns.publish.HARD_LIMIT` seconds in any case.
"""

from __future__ import annotations

from typing import Any

# Seconds to connect, and then to wait for each piece of an answer.
CONNECT, READ = 5.0, 10.0
TIMEOUT = (CONNECT, READ)
# How often a question that only reads is asked again, and the seconds before. What writes is never sent twice: nobody
# knows whether the first one arrived. The agent's next round reads the zone and sees.
RETRIES = 2
PAUSE = 0.5
# The longest single pause in seconds that a package may make by itself, where it makes its own.
LONGEST_PAUSE = 3.0


def patience(seconds: float = READ) -> tuple[float, float]:
    """The time-outs to connect and to read, where a person says how long to wait for an answer."""
    return min(CONNECT, seconds), seconds


def limit(session: Any) -> Any:
    """Give a `requests.Session` our time-outs and retries, for every request that does not say its own.

    Certificates are checked as before.

    :returns: the session.
    """
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    class LimitedAdapter(HTTPAdapter):
        def send(  # type: ignore[override]
            self, request: Any, stream: bool = False, timeout: Any = None, **rest: Any
        ) -> Any:
            return super().send(request, stream, timeout or TIMEOUT, **rest)

    retries = Retry(
        total=RETRIES,
        backoff_factor=PAUSE,
        status_forcelist=(502, 503, 504),
        allowed_methods=("GET", "HEAD"),
        # A provider may ask for a pause of an hour: that is for the agent's back-off, not for a sleep in here.
        respect_retry_after_header=False,
        raise_on_status=False,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, LimitedAdapter(max_retries=retries))
    return session
