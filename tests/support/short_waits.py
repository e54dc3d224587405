"""Short waits for agents that live, or have a platform, for about a second at a time."""

from __future__ import annotations

from typing import Final
from unittest.mock import patch

from artcafe_proto.policies.backoff import WAITS

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 2.0
"""LINK-3: lives are short here, too. Two minutes after each failure would show little in an hour."""
SUDDEN_END_S: Final = 0.01
"""CMD-11: links end every second here, and are stable at once. By its 5 s the responses would be blamed for that."""


def shorten_waits() -> None:
    """In this process, for good."""
    patch("artcafe_proto.policies.outbox.SUDDEN_END_S", SUDDEN_END_S).start()
    WAITS.update({kind: wait._replace(first_s=FIRST_WAIT_S, cap_s=LONGEST_WAIT_S) for kind, wait in WAITS.items()})
