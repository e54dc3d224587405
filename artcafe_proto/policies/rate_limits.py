"""How often somebody may try to sign in (PLAT-8): by address, and by address with agent.

Never by agent alone: then anyone could lock an agent out by trying in its name.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from artcafe_proto.limits import MAX_RATE_LIMITED

if TYPE_CHECKING:
    from collections.abc import Hashable


class RateLimit:
    """A token bucket for each key: it holds `burst` tokens, and `per_second` come back.

    A key that was never seen has a full bucket. Beyond `MAX_RATE_LIMITED` keys those that were seen longest ago are
    forgotten: who has that many addresses is not held up by limits on each.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second: Final = per_second
        self._burst: Final = burst
        self._missing: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """When, and how many tokens were missing then."""

    def __len__(self) -> int:
        return len(self._missing)

    def wait_s(self, key: Hashable, mono: float) -> float:
        """Seconds until there is a token for `key`; 0 if there is one."""
        excess = self._missing_at(key, mono) + 1 - self._burst
        return 0.0 if excess < _ROUNDING else excess / self._per_second

    def take(self, key: Hashable, mono: float) -> None:
        """Take a token, for which `wait_s` was 0."""
        missing = self._missing_at(key, mono) + 1
        self._missing[key] = (mono, missing)
        self._missing.move_to_end(key)  # behind all that were seen earlier
        if len(self._missing) > MAX_RATE_LIMITED:
            self._missing.popitem(last=False)

    def _missing_at(self, key: Hashable, mono: float) -> float:
        when, missing = self._missing.get(key, (mono, 0.0))
        return max(missing - max(mono - when, 0.0) * self._per_second, 0.0)


_ROUNDING: Final = 1e-6
"""Of a token: the last digit of a clock does not make anybody wait."""


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, the /64 that is one IPv6 subscriber's (RFC 6177), else the text."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or f"{int(parsed) >> 64:016x}/64")
    return str(parsed)
