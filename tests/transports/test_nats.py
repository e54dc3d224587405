"""docs/nats.md: the transport over NATS, in both roles, as it is printed, against a real server."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from urllib.parse import unquote

import pytest
from nats import errors

from artcafe_proto import AgentConfig, PlatformConfig, PlatformHub
from artcafe_proto.effects import PauseReading, ResumeReading
from artcafe_proto.events import (
    AgentIdContested,
    AgentOffline,
    AgentOnline,
    CommandAnswered,
    CommandReceived,
    MessageReceived,
    MessageSettled,
    Offline,
    StatusReceived,
)
from artcafe_proto.testing import check_channel
from support.certificates import issue
from support.nats_channels import nats_channel, nats_clients
from support.nats_server import NatsServer, nats_server, programs
from support.virtual import AGENT, TENANT

T = TypeVar("T")
PATIENCE_S = 120.0
"""Before a test is taken as failed: the computer may be busy."""


@pytest.mark.parametrize("role", ["agent", "platform"])
def test_its_link_keeps_all_rules_in_either_role(role: str, tmp_path: Path) -> None:
    async def main() -> tuple[str, ...]:
        with nats_server(tmp_path) as server:
            async with asyncio.timeout(PATIENCE_S), nats_clients(server) as clients:
                return await check_channel(lambda: nats_channel(role, clients), clock=time.perf_counter)

    assert asyncio.run(main()) == ("opening can be given up",)


# --- both roles together ----------------------------------------------------------------------------------------------


class Stage:
    """A platform and an agent of the page, and what happens to them."""

    def __init__(self, server: NatsServer, registered: tuple[str, ...] = (AGENT,), **options: Any) -> None:
        """`registered`: the agents that the platform knows. `options`: of both clients."""
        _, self.agents, platforms = programs()
        self.server, self.options = server, options
        self.seen: list[object] = []
        self.ran: list[str] = []
        self.is_answering = True
        self.held: list[CommandReceived] = []
        self.news = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.hub = PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32))
        for agent_id in registered:
            self.hub.registry.create_agent(TENANT, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=0.0)
        self.platform = platforms.NatsPlatform(self.hub, self.note)

    async def __aenter__(self) -> Stage:
        self.serving = self.begin(self.platform.run(**self.server.options("platform"), **self.options))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def begin(self, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(run))
        return self.tasks[-1]

    def join(self, agent_id: str = AGENT, user: str = "") -> Any:
        """An agent that runs, as the user of its own name if no other is given."""
        config = AgentConfig(agent_id=agent_id, tenant_id=TENANT, jitter=0.0)
        agent = self.agents.NatsAgent(config, self.handle, **self.server.options(user or agent_id), **self.options)
        agent.task = self.begin(agent.run())
        return agent

    def note(self, event: object) -> None:
        self.seen.append(event)
        self.news.set()

    def handle(self, agent: Any, event: object) -> None:
        self.note(event)
        if isinstance(event, CommandReceived):
            self.ran.append(event.command_id)
            if self.is_answering:
                agent.respond(event.command_id, event.args)
            else:
                self.held.append(event)

    def send(self, agent_id: str = AGENT, /, **args: object) -> str:
        return self.platform.turn(self.hub.send_command, TENANT, agent_id, "echo", args).command_id

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.seen if isinstance(event, kind)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what events bring about, or may be looked at."""
        while not holds():
            self.news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), 0.01)
            for task in self.tasks:
                if task.done():
                    task.result()


def run(scene: Callable[[Stage], Coroutine[Any, Any, None]], folder: Path, **settings: Any) -> None:
    async def main() -> None:
        with nats_server(folder) as server:
            async with asyncio.timeout(PATIENCE_S), Stage(server, **settings) as stage:
                await scene(stage)

    asyncio.run(main())


def test_commands_are_run_and_answered_once_though_the_server_is_killed(tmp_path: Path) -> None:
    """CMD-1, CMD-3, CMD-10, LINK-3, STAT-3: and at the end the agent says goodbye, then the platform."""

    async def scene(stage: Stage) -> None:
        sent = [stage.send(n=number) for number in range(100)]
        agent = stage.join()
        await stage.until(lambda: len(stage.of(CommandAnswered)) == 100)
        stage.is_answering = False
        sent += [stage.send(n=number, text="é" * 250_000 if number == 100 else "") for number in range(100, 200)]
        await stage.until(lambda: len(stage.held) == agent.config.max_concurrent)
        stage.server.kill()
        await stage.until(lambda: len(stage.of(Offline)) > 0 and len(stage.of(AgentOffline)) > 0)
        stage.is_answering = True
        for command in stage.held:
            agent.respond(command.command_id, command.args)
        await asyncio.to_thread(stage.server.start)
        await stage.until(lambda: len(stage.of(CommandAnswered)) == 200)
        assert sorted(stage.ran) == sorted(sent)
        answers = {event.command_id: event.response for event in stage.of(CommandAnswered)}
        assert sorted(answers) == sorted(sent)
        assert all(response.status == "success" for response in answers.values())
        assert len(bytes(answers[sent[100]].result)) > 500_000
        agent.turn(agent.machine.stop)
        await agent.task
        await stage.until(lambda: len(stage.of(AgentOffline)) == len(stage.of(AgentOnline)))
        assert stage.of(StatusReceived)[-1].status == "offline"
        assert stage.of(AgentOffline)[-1].reason == "the agent closed the link with 1000"
        stage.platform.stop()
        await stage.serving

    run(scene, tmp_path)


def test_cmd_3_a_message_is_settled_only_once_the_platform_has_read_it(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        agent = stage.join()
        await stage.until(lambda: len(stage.of(AgentOnline)) > 0)
        ((end, session),) = stage.platform.links.values()
        end.carry_out(PauseReading(session.conn))
        agent.turn(agent.machine.send_message, {"n": 1})
        await stage.until(lambda: len(end.unread) == 2)  # the message, and the ping behind it
        end.look()
        (end_of_agent,) = agent.ends.values()
        before = end_of_agent.expected
        await stage.until(lambda: end_of_agent.expected > before)  # whatever was said before that has come
        assert stage.of(MessageSettled) == []
        end.carry_out(ResumeReading(session.conn))
        await stage.until(lambda: len(stage.of(MessageSettled)) > 0)
        order = [type(event) for event in stage.seen if isinstance(event, MessageReceived | MessageSettled)]
        assert order == [MessageReceived, MessageSettled]

    run(scene, tmp_path)


def test_one_platform_has_several_agents_and_one_link_of_each(tmp_path: Path) -> None:
    """PLAT-6: a second process of an agent takes over. A lost frame ends a link, and the agent comes back (LINK-3)."""

    async def scene(stage: Stage) -> None:
        agents = [AGENT, "agent-2"]
        older, _ = [stage.join(agent_id) for agent_id in agents]
        sent = {stage.send(agent_id, to=agent_id): agent_id for agent_id in agents * 20}
        await stage.until(lambda: len(stage.of(CommandAnswered)) == len(sent))
        answered = {event.command_id: bytes(event.response.result) for event in stage.of(CommandAnswered)}
        assert answered == {command_id: b'{"to":"%b"}' % agent_id.encode() for command_id, agent_id in sent.items()}
        stage.join()
        await stage.until(lambda: len(stage.of(AgentIdContested)) > 0)
        older.turn(older.machine.stop)
        await older.task
        ((end, _),) = [each for each in stage.platform.links.values() if each[1].linked.record.agent_id == "agent-2"]
        end.arrived(b"")
        await stage.until(lambda: [each.agent_id for each in stage.of(AgentOnline)].count("agent-2") == 2)
        assert len(stage.platform.links) == 2

    run(scene, tmp_path, registered=(AGENT, "agent-2"))


def test_an_agent_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.join()
        await stage.until(lambda: "no such agent" in str(stage.seen))
        assert stage.of(AgentOnline) == []

    run(scene, tmp_path, registered=("agent-2",))


def test_an_agent_does_not_open_links_without_end(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        link, _, platforms = programs()
        broker = link.Broker()
        await broker.open(**stage.server.options(AGENT), inbox_prefix=f"_INBOX_{AGENT}")
        stage.send()
        stage.join()
        await stage.until(lambda: len(stage.of(CommandAnswered)) > 0)
        ask = partial(broker.client.request, f"artcafe.open.{AGENT}", timeout=PATIENCE_S, old_style=True)
        names = [b"%d" % number for number in range(platforms.MAX_LINKS + 1)]
        answers = [answer.data for answer in await asyncio.gather(*map(ask, names))]
        await broker.close()
        assert answers[-1] == b"this agent has opened too many links"
        assert set(answers[:-2]) == {b""}

    run(scene, tmp_path)


def test_an_agent_without_a_platform_tries_again(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        stage.platform.stop()
        await stage.serving
        agent = stage.join()
        await stage.until(lambda: "no responders" in str(stage.seen))
        agent.turn(agent.machine.stop)
        await agent.task

    run(scene, tmp_path)


def test_nobody_opens_a_link_in_the_name_of_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server as it is set up on the page sees to that."""

    async def scene(stage: Stage) -> None:
        stage.join(agent_id="agent-2", user="agent-1")
        refused = 'permissions violation for publish to "artcafe.open.agent-2"'
        await stage.until(lambda: refused in caplog.text.lower())
        assert not stage.platform.links

    run(scene, tmp_path, registered=("agent-2",))


def test_an_id_is_one_word_of_a_subject_and_has_only_one() -> None:
    link, _, platforms = programs()
    assert link.encoded("agent-1") == "agent-1"
    assert unquote(link.encoded("a.b*c>d é水%2E/")) == "a.b*c>d é水%2E/"
    assert not set(link.encoded("a.b*c>d é水%2E/")) & set(".*> ")
    answers: list[bytes] = []

    class Message:
        subject, data = "artcafe.open.%61gent-1", b"name"

        async def respond(self, answer: bytes) -> None:
            answers.append(answer)

    async def main() -> None:
        await platforms.NatsPlatform(None).link(Message())

    asyncio.run(main())
    assert len(answers) == 1
    assert answers[0].startswith(b"expected")


def test_tok_4_both_ends_speak_tls_from_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a password nor a frame is sent in clear: not by who asks for TLS, nor to a server that wants it."""
    authority = issue(common_name="The Authority", is_authority=True)
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    secured: dict[str, Any] = {"tls": trust, "tls_hostname": "localhost", "tls_handshake_first": True}

    async def main() -> None:
        link = programs()[0]
        folders = [tmp_path / name for name in ("secured", "plain")]
        for folder in folders:
            folder.mkdir()
        with (
            nats_server(folders[0], issue("localhost", by=authority)) as server,
            nats_server(folders[1]) as plain_server,
        ):
            async with asyncio.timeout(PATIENCE_S), Stage(server, **secured) as stage:
                stage.send(n=1)
                stage.join()
                await stage.until(lambda: len(stage.of(CommandAnswered)) > 0)
                monkeypatch.setattr(link, "OPEN_S", 0.5)
                for options in (server.options(AGENT), plain_server.options(AGENT) | secured):
                    broker = link.Broker()
                    with pytest.raises((OSError, errors.Error)):
                        await broker.open(**options, max_reconnect_attempts=1)
                    await broker.close()

    asyncio.run(main())
