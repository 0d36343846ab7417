"""The specification of a site: what a person writes, and what the roles read.

- `values.py`: what one value may be: a domain, an address, a size, a hash.
- `spec.py`: every variable and key, with its default and its explanation. `docs/site-variables.md` is made from it.
- `reader.py`: takes the variables apart as `spec.py` says.
- `checks.py`: what the variables must be together: no alias to nowhere, no user twice.
- `model.py`: the normalised `site` that the roles' defaults read.

Nothing here knows Ansible: the lookup plugins `hearthmail_site` and `hearthmail_site_problems` do.
"""

from .model import build, examine
from .reader import Problem, Unreadable

__all__ = ["Problem", "Unreadable", "build", "examine"]
