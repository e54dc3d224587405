"""What is drawn once for a whole world: settings of both roles, and how busy everybody is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from random import Random


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What one world is like."""

    latency_s: float
    agent: dict[str, Any]
    """Settings of `AgentConfig`."""
    platform: dict[str, Any]
    """Settings of `PlatformConfig`."""
    most_unanswered: int
    """How many of its commands for an agent the tenant lets wait."""
    says_gap_s: float
    """How often an application does something beside its commands, on average."""
    pongs: bool
    """Whether the platform's pongs say which ping they answer; a peer without that answers none (LINK-7, CMD-3)."""


def draw_world(rng: Random) -> World:
    """A world of its own kind."""
    return World(
        latency_s=rng.choice([0.0, 0.01, 0.2]),
        platform={
            "token_life": rng.choice([40.0, 120.0, 900.0]),
            "window": rng.choice([1, 4, 4, 16]),
        },
        agent={
            "drain_timeout": 20.0,
            "max_concurrent": rng.choice([1, 2, 2]),
            "max_queued": rng.choice([0, 1, 3, 3]),
            "heartbeat_interval": rng.choice([30.0, 30.0, 7.0]),
            "fixed_wait_growth": rng.choice([2.0, 2.0, 1.0]),
            "give_up_after": rng.choice([None, None, None, None, 90.0, 400.0]),
            "next_key": rng.random() < 0.3,
        },
        says_gap_s=rng.choice([3.0, 20.0, 60.0]),
        pongs=rng.random() >= 0.08,
        most_unanswered=rng.choice([8, 8, 30]),
    )
