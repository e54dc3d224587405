"""How fast virtual time passes: `python tests/benchmarks/virtual_time.py`, on a quiet machine.

Prints simulated sessions per second of CPU, as `tests/campaign.py` has them, with all invariants: with real signatures,
and with canned ones, which cost nothing and are always right. And how much faster than real time an idle agent runs
that is online: alone, answered as a platform would, and in a whole simulated world.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from unittest.mock import patch

from jwt.algorithms import OKPAlgorithm

from artcafe_proto import AgentConfig, AgentProtocol
from artcafe_proto.effects import Connect, Disconnect, Sign, Write
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.testing import ManualClock, ScriptedPeer, Simulation

sys.path.insert(0, str(Path(__file__).parents[1]))
from campaign import collect_seldom, settings

DAY_S = 86_400.0
LONG_S = 30 * DAY_S
REPEATS = 5
SEEDS = range(0, 108, 4)


def sessions() -> float:
    """Worlds of the campaign. Returns how many sessions they had."""
    count = 0
    for seed in SEEDS:
        sim = Simulation(seed, **settings(seed))
        sim.run()
        count += sim.sessions
    return count


def sessions_with_canned_signatures() -> float:
    """The same, but neither the agents' keys nor the platform's are used."""
    with (
        patch.object(SigningKey, "sign", _sign),
        patch.object(PublicKey, "verify", _verify),
        patch.object(OKPAlgorithm, "sign", _sign),
        patch.object(OKPAlgorithm, "verify", _verify),
    ):
        return sessions()


def _sign(*_: object) -> bytes:
    return b"canned"


def _verify(*_: object, **__: object) -> str:
    return "canned"


def idle_world() -> float:
    """A day with an agent that has nothing to do, and its platform. Returns the seconds."""
    sim = Simulation(1, faults=[], command_gap_s=1e12, seconds=DAY_S, platform={"token_life": LONG_S})
    sim.run()
    return DAY_S


def idle_agent() -> float:
    """A day of an agent that has nothing to do, alone. Returns the seconds."""
    clock, peer = ManualClock(), ScriptedPeer(token_life_s=LONG_S)
    agent = AgentProtocol(AgentConfig(agent_id="a", tenant_id="t", api_endpoint="http://localhost"), rng=Random(1))
    agent.start(clock.now)
    end = clock.now.mono + DAY_S
    while clock.now.mono < end:
        while (output := agent.next_output()) is not None:
            match output:
                case Write():
                    for answer in peer.data_received(output.conn, output.data, clock.now):
                        if isinstance(answer, Write):
                            agent.data_received(answer.conn, answer.data, clock.now)
                case Connect():
                    agent.connected(output.conn, clock.now, tls=output.tls)
                case Disconnect():
                    peer.disconnected(output.conn)
                case Sign():
                    agent.signed(output.request, b"signature", clock.now)
                case _:
                    pass
        agent.handle_timer(clock.advance_to(agent.deadline() or end))
    assert len(peer.received("heartbeat")) >= DAY_S / 30
    return DAY_S


def rate(work: Callable[[], float]) -> str:
    """What is done per second of CPU: the median, and the worst and the best of a few times."""
    rates: list[float] = []
    for _ in range(REPEATS):
        began = time.process_time()
        done = work()
        rates.append(done / (time.process_time() - began))
    return f"{median(rates):>10,.0f}  ({min(rates):,.0f} to {max(rates):,.0f})"


if __name__ == "__main__":
    collect_seldom()
    print(f"{rate(sessions)}  simulated sessions per CPU second, signatures real")
    print(f"{rate(sessions_with_canned_signatures)}  the same, signatures canned")
    print(f"{rate(idle_agent)}  times real time, an idle agent, alone")
    print(f"{rate(idle_world)}  times real time, an idle agent in a simulated world")
