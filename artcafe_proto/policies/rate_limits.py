"""How often somebody may try to sign in (PLAT-8): by address, and by address with agent.

Never by agent alone: then anyone could lock an agent out by trying in its name.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from artcafe_proto.limits import MAX_RATE_LIMITED

if TYPE_CHECKING:
    from collections.abc import Hashable


class RateLimit:
    """A token bucket for each key: it holds `burst` tokens, and `per_second` come back.

    Of a key only the moment is kept at which its bucket is full again; with that passed it is as one never seen. Beyond
    `MAX_RATE_LIMITED` keys those that were seen longest ago are forgotten: who has that many addresses is not held up
    by limits on each.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval_s: Final = 1 / per_second
        self._slack_s: Final = (burst - 1) / per_second
        self._full_at: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_s(self, key: Hashable, mono: float) -> float:
        """Seconds until there is a token for `key`; 0 if there is one."""
        return max(self._full_at.get(key, mono) - self._slack_s - mono, 0.0)

    def take(self, key: Hashable, mono: float) -> None:
        """Take a token, for which `wait_s` was 0."""
        full_at = max(self._full_at.pop(key, mono), mono) + self._interval_s
        self._full_at[key] = full_at  # behind all that were seen earlier
        if len(self._full_at) > MAX_RATE_LIMITED:
            del self._full_at[next(iter(self._full_at))]


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, the /64 that is one IPv6 subscriber's (RFC 6177), else the text."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or f"{int(parsed) >> 64:016x}/64")
    return str(parsed)
