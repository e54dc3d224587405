"""Agents that outlive their platform: `killed_agents.py PORT KEYS COUNT`.

They are `agent-0` and so on, with the keys of those names in the directory KEYS. Each line of standard output is a word
and what it is about: `online` and `offline` an agent, `ran`, `settled`, `repeated` and `gave-up` a command. They stop,
after a drain, at the end of standard input.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from artcafe_anyio import Agent, CommandContext
from artcafe_proto.events import Offline, Online, RepeatReceived, ResponseReplaced, ResponsesSettled
from support.kill_phases import TENANT
from support.short_waits import shorten_waits

if TYPE_CHECKING:
    from artcafe_proto.events import AgentEvent


def say(word: str, about: str) -> None:
    """In one piece, at once."""
    os.write(1, f"{word} {about}\n".encode())


def tell(agent_id: str, event: AgentEvent) -> None:
    """What concerns whoever watches."""
    match event:
        case Online():
            say("online", agent_id)
        case Offline():
            say("offline", agent_id)
        case ResponsesSettled():
            for command_id in event.command_ids:
                say("settled", command_id)
        case RepeatReceived():
            say("repeated", event.command_id)
        case ResponseReplaced():
            say("gave-up", event.command_id)
        case _:
            pass


async def work(seconds: float, ctx: CommandContext) -> str:
    """The one handler."""
    say("ran", ctx.command_id)
    await anyio.sleep(seconds)
    return f"done {ctx.command_id}"


async def main(port: int, keys: Path, count: int) -> None:
    """All of them, until the end of standard input."""
    agents: list[Agent] = []
    for number in range(count):
        agent_id = f"agent-{number}"
        agent = Agent(
            agent_id=agent_id,
            tenant_id=TENANT,
            private_key_path=keys / agent_id,
            api_endpoint=f"http://127.0.0.1:{port}",
            stable_after=0.001,  # a link that has received something resets the waits: else they grow to two minutes
        )
        agent.command("work")(work)
        agent.on_event(partial(tell, agent_id))
        agents.append(agent)
    async with anyio.create_task_group() as tasks:
        for agent in agents:
            tasks.start_soon(agent.serve)
        await to_thread.run_sync(sys.stdin.read)
        for agent in agents:
            agent.stop()


if __name__ == "__main__":
    logging.disable()  # of a link that is lost, and of the attempts after it
    shorten_waits()
    anyio.run(main, int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
