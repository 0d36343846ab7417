"""What all unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# These machines are shared: how long an example takes, or the making of one, is no matter of right or wrong.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the programs that the tests start share what Python compiles.

    Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each of a hundred starts of Ansible would compile all
    of it anew: a second each. A folder of its own, so that nothing is written into a clone under test.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        environment.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("pycache")))
        yield
