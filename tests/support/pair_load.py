"""A tenant's load on agents and a platform that are killed, and all that it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

from support.kill_load import OVER, Client, Tenant, expect

SENDERS: Final = 3
"""Connections for each agent: so many of its commands are waited for at once."""
PAUSE_S: Final = 0.15
INTERRUPTED: Final = "interrupted"


class Told:
    """What the processes have said, by which they are judged."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        """Commands that were answered 202."""
        self.idempotent: set[str] = set()
        """Those of them whose handler may be called twice."""
        self.answers: dict[str, str] = {}
        """What the tenant was shown in the end: `done`, or the code of an error."""
        self.stored: dict[str, set[str]] = {}
        """Of each agent the commands whose responses its journal got in its last life."""
        self.settled: set[str] = set()
        """Commands whose agents got a pong after their responses."""
        self.interruptible: set[str] = set()
        """Commands whose agents were killed before the journal was said to have their responses."""
        self.recent: list[str] = []
        """The latest commands of the platform's last life."""
        self.broken: list[str] = []

    def shown(self, command_id: str, shown: dict[str, Any], *, was_over: bool) -> bool:
        """What the platform shows of a command, and whether it had shown an answer before it was asked: answers to
        several clients may be read in another order than they were given. Returns whether the command is over.
        """
        if shown["state"] not in OVER:
            if was_over:
                self.broken.append(f"{command_id} was over, and is {shown['state']}")
            return False
        response = shown["response"]
        if shown["state"] == "succeeded" and response == {"status": "success", "result": f"done {command_id}"}:
            answer = "done"
        elif shown["state"] == "failed" and response["code"] == INTERRUPTED:
            answer = INTERRUPTED
        else:
            answer = str(shown)
            self.broken.append(f"{command_id} was answered {answer}")
        before = self.answers.setdefault(command_id, answer)
        if before != answer:
            self.broken.append(f"{command_id} was answered {before}, and then {answer}")
        return True


class PairLoad(Tenant):
    """Commands for all agents, from `start` to `stop`. Half of them are waited for, the others looked at in the end."""

    def __init__(self, agents: Iterable[str], client: Callable[[], Client], seed: int, told: Told) -> None:
        super().__init__()
        self._seed = seed
        self._told = told
        self._is_stopping = False
        self._clients = {f"{agent_id}.{sender}": client() for agent_id in agents for sender in range(SENDERS)}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._send(*each)) for each in self._clients.items()]

    async def stop(self) -> None:
        """Wait until all that was begun is answered. Raises what has gone wrong."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise what has gone wrong, if anything has."""
        for task in self._tasks:
            if task.done():
                task.result()

    def cancel(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        for client in self._clients.values():
            client.close()

    async def _send(self, name: str, client: Client) -> None:
        """Names commands `AGENT.SENDER-NUMBER`."""
        rng, agent_id = Random(f"{self._seed} {name}"), name.rpartition(".")[0]
        sent: list[str] = []
        while not self._is_stopping:
            command_id = f"{name}-{len(sent)}"
            sent.append(command_id)
            is_slow, is_idempotent = rng.random() < 0.2, rng.random() < 0.3
            if is_idempotent:
                self._told.idempotent.add(command_id)
            body = {
                "command": "again" if is_idempotent else "once",
                "args": {"seconds": rng.uniform(0.1, 0.5) if is_slow else rng.uniform(0, 0.02)},
                "command_id": command_id,
            }
            expect(await self.surely(client, "POST", f"/agents/{agent_id}/commands", body), 202)
            self._told.accepted.add(command_id)
            if rng.random() < 0.5:
                await self._see(client, command_id)
            else:
                await asyncio.sleep(rng.uniform(0, PAUSE_S))
        for command_id in sent:
            if command_id not in self._told.answers:
                await self._see(client, command_id)

    async def _see(self, client: Client, command_id: str) -> None:
        """Wait for the end of a command."""
        is_over = False
        while not is_over:
            was_over = command_id in self._told.answers
            shown = expect(await self.surely(client, "GET", f"/commands/{command_id}?wait=5"), 200)
            is_over = self._told.shown(command_id, shown, was_over=was_over)
