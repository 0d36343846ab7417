"""A site that is good, to be spoilt by the tests."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def site() -> dict[str, Any]:
    """Give the lab's site as a person would write it."""
    return {
        "mail_domains": [{"name": "hearth.example", "dns": "lab"}, {"name": "second.example", "dns": "lab"}],
        "dns_providers": {
            "lab": {"type": "powerdns", "url": "http://api.provider.example:8081", "api_key": "lab-api-key"}
        },
        "mail_users": [
            {"address": "hanako@hearth.example", "password": "hanako-secret", "aliases": ["info@hearth.example"]},
            {"address": "Taro@hearth.example", "password": "taro-secret", "quota": "1M"},
            {"address": "hana@second.example", "password_hash": "$6$mRn8eg2bqZk1$" + "a" * 86},
        ],
        "mail_aliases": {
            "sales@hearth.example": ["hanako@hearth.example", "taro@hearth.example"],
            "contact@second.example": "hanako@hearth.example",
        },
    }
