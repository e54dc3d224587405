"""Awaiting what the platform says: calls about the agent itself (STAT-2), messages until they are settled (CMD-3)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform, Link
from artcafe_anyio import Agent, CallError, NotSettledError
from artcafe_anyio.keys import load_key
from artcafe_platform import Platform
from artcafe_proto import ArtCafeError, LocalProtocolError, OutboxFullError
from artcafe_proto.events import AgentEvent, MessageReceived, MessageSettled, Offline, Online, Stopped
from artcafe_proto.limits import MAX_UNSETTLED_MESSAGES, MAX_WAITING_CALLS

pytestmark = pytest.mark.anyio
DETAILS = "/api/v1/agents/agent-1"


class Stage:
    """The reference platform, and an agent that runs against it."""

    def __init__(self, platform: Platform, agent: Agent) -> None:
        self.platform = platform
        self.agent = agent
        self.events: list[AgentEvent] = []
        self.messages: list[dict[str, Any]] = []
        self._news = anyio.Event()
        agent.on_event(self._note)
        platform.on_event(self._note_platform)

    def _note(self, event: AgentEvent) -> None:
        self.events.append(event)
        self._tell()

    def _note_platform(self, event: object) -> None:
        if isinstance(event, MessageReceived):
            self.messages.append(event.data)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def count(self, kind: type[AgentEvent]) -> int:
        """How often this has happened."""
        return sum(isinstance(event, kind) for event in self.events)

    async def seen(self, kind: type[AgentEvent], times: int = 1) -> None:
        """Wait until this has happened so often."""
        with anyio.fail_after(PATIENCE_S):
            while self.count(kind) < times:
                await self._news.wait()


@asynccontextmanager
async def standing(key_path: Path, **parameters: Any) -> AsyncGenerator[Stage]:
    """A platform, and an agent that is not run yet."""
    async with Platform() as platform:
        await platform.create_agent("tenant-1", agent_id="agent-1", capabilities=["resize"])
        await platform.add_key("tenant-1", "agent-1", load_key(str(key_path)).public.openssh)
        own: Any = {
            "agent_id": "agent-1",
            "tenant_id": "tenant-1",
            "private_key_path": key_path,
            "api_endpoint": platform.url,
            "jitter": 0,
        }
        yield Stage(platform, Agent(**(own | parameters)))


@asynccontextmanager
async def online(key_path: Path, **parameters: Any) -> AsyncGenerator[Stage]:
    """The same, running and online."""
    async with standing(key_path, **parameters) as stage, stage.agent:
        await stage.seen(Online)
        yield stage


# --- calls ------------------------------------------------------------------------------------------------------------


async def test_stat_2_details_are_what_the_platform_shows(key_path: Path) -> None:
    async with online(key_path) as stage:
        details = await stage.agent.details()
    assert details["agent_id"] == "agent-1"
    assert details["capabilities"] == ["resize"]
    assert details["status"] == "online"


async def test_stat_2_the_status_can_be_put(key_path: Path) -> None:
    async with online(key_path) as stage:
        assert (await stage.agent.put_status("busy"))["status"] == "busy"
        assert (await stage.agent.details())["status"] == "busy"
        wrong: Any = "sleepy"
        with pytest.raises(LocalProtocolError, match="sleepy"):
            await stage.agent.put_status(wrong)


async def test_stat_2_many_at_once_are_all_answered_and_too_many_refused(key_path: Path) -> None:
    answers: list[dict[str, Any]] = []
    refusals: list[str] = []

    async def call(agent: Agent) -> None:
        try:
            answers.append(await agent.details())
        except LocalProtocolError as error:
            refusals.append(str(error))

    async with online(key_path) as stage:
        async with anyio.create_task_group() as tasks:
            for _ in range(MAX_WAITING_CALLS + 3):
                tasks.start_soon(call, stage.agent)
        assert len(answers) == MAX_WAITING_CALLS
        assert refusals == [f"{MAX_WAITING_CALLS} calls wait already: wait until one is answered"] * 3
        assert await stage.agent.details() == answers[0]


async def test_stat_2_a_refusal_is_raised_with_status_and_clause(key: Ed25519PrivateKey, key_path: Path) -> None:
    fake = FakePlatform(key.public_key())
    async with fake.listening(), agent_for(fake, key_path) as agent:
        await fake.link()
        with pytest.raises(CallError) as raised:  # it answers without a body
            await agent.details()
        assert (raised.value.clause, raised.value.status) == ("STAT-2", 200)
        assert str(raised.value).startswith("the call failed: expected an agent as a JSON object")
        assert isinstance(raised.value, ArtCafeError)


async def test_stat_2_no_answer_in_time_is_raised(key: Ed25519PrivateKey, key_path: Path) -> None:
    fake = FakePlatform(key.public_key())
    fake.mute.add(DETAILS)
    async with fake.listening(), agent_for(fake, key_path, call_timeout=0.05) as agent:
        await fake.link()
        with pytest.raises(CallError, match=r"no answer within 0\.05 s \[STAT-2\]"):
            await agent.details()


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_link_10_whoever_waits_is_told_that_the_agent_has_stopped(
    key: Ed25519PrivateKey, key_path: Path, how: str
) -> None:
    fake = FakePlatform(key.public_key())
    fake.mute.add(DETAILS)
    told: list[str] = []

    async def wait(agent: Agent, what: str) -> None:
        try:
            await (agent.details() if what == "call" else agent.deliver_message({}))
        except (CallError, NotSettledError) as error:
            told.append(f"{what}: {error.reason} [{error.clause}]")

    async with fake.listening(), anyio.create_task_group() as callers, anyio.create_task_group() as tasks:
        agent = new_agent(fake, key_path)
        await tasks.start(agent.serve)
        link = await fake.link()
        link.pongs = False  # so that nothing settles
        callers.start_soon(wait, agent, "call")
        callers.start_soon(wait, agent, "call")
        callers.start_soon(wait, agent, "message")
        await fake.asked_for(DETAILS)
        if how == "stop":
            agent.stop(drain=False)
        else:
            tasks.cancel_scope.cancel()
    reasons = ["call: the agent stopped [LINK-10]"] * 2 + ["message: the agent stopped [CMD-8]"]
    assert sorted(told) == reasons


async def test_a_wait_that_is_cancelled_leaves_nothing_behind(key: Ed25519PrivateKey, key_path: Path) -> None:
    fake = FakePlatform(key.public_key())
    fake.mute.add(DETAILS)
    async with fake.listening(), agent_for(fake, key_path) as agent:
        await fake.link()
        for _ in range(MAX_WAITING_CALLS + 1):  # more than may wait at once
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(agent.details)
                    await checkpoint()
                    scope.cancel()
        fake.mute.clear()
        with pytest.raises(CallError, match="JSON object"):
            await agent.details()
        driver = agent._driver  # pyright: ignore[reportPrivateUsage]
        assert driver is not None
        assert driver.waiting.is_empty


async def test_calls_need_an_agent_that_runs_and_its_event_loop(key_path: Path) -> None:
    async with standing(key_path) as stage:
        with pytest.raises(LocalProtocolError, match="does not run"):
            await stage.agent.details()
        with pytest.raises(LocalProtocolError, match="does not run"):
            await stage.agent.deliver_message({})

        def elsewhere() -> None:
            anyio.run(stage.agent.details)

        async with stage.agent:
            with pytest.raises(LocalProtocolError, match="event loop that runs the agent"):
                await to_thread.run_sync(elsewhere)


# --- messages ---------------------------------------------------------------------------------------------------------


async def test_cmd_3_a_message_is_delivered_once_the_platform_has_read_it(key_path: Path) -> None:
    async with online(key_path) as stage:
        message_id = await stage.agent.deliver_message({"n": 1})
        assert stage.messages == [{"n": 1}]
        assert MessageSettled(message_id) in stage.events


async def test_cmd_3_a_message_outlives_a_link_that_is_cut_before_it_settles(
    key: Ed25519PrivateKey, key_path: Path
) -> None:
    fake = FakePlatform(key.public_key())
    delivered: list[str] = []
    links: list[Link] = []

    async def deliver(agent: Agent) -> None:
        delivered.append(await agent.deliver_message({"n": 1}))

    async with fake.listening(), agent_for(fake, key_path) as agent, anyio.create_task_group() as tasks:
        links.append(await fake.link())
        links[0].pongs = False
        tasks.start_soon(deliver, agent)
        await links[0].wait_for("message", n=1)  # it was sent and read, but nothing says so
        assert delivered == []
        await links[0].cut()
        links.append(await fake.link())
    ids = [message["id"] for link in links for message in link.received if message["type"] == "message"]
    assert ids == [ids[0]] * 2
    assert delivered == ids[:1]


async def test_cmd_11_a_message_that_costs_every_link_is_dropped_and_that_is_raised(
    key: Ed25519PrivateKey, key_path: Path
) -> None:
    fake = FakePlatform(key.public_key())
    async with fake.listening(), agent_for(fake, key_path) as agent, anyio.create_task_group() as tasks:
        link = await fake.link()
        link.pongs = False

        async def refuse() -> None:
            await link.wait_for("message")
            await link.close(1009)

        tasks.start_soon(refuse)
        with pytest.raises(NotSettledError, match="dropped because it cost every link") as raised:
            await agent.deliver_message({"n": 1})
        assert raised.value.clause == "CMD-11"
        assert raised.value.message_id == next(each["id"] for each in link.received if each["type"] == "message")


@pytest.mark.parametrize("large", [False, True])
async def test_cmd_3_a_full_outbox_refuses_and_takes_again_what_has_place(
    key: Ed25519PrivateKey, key_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    fake = FakePlatform(key.public_key())
    data = {"x": "x" * 1000} if large else {}
    most = 20 if large else MAX_UNSETTLED_MESSAGES
    if large:
        monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGE_BYTES", 23_000)
    async with fake.listening(), agent_for(fake, key_path) as agent:
        settled: list[str] = []

        @agent.on_event
        def note(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
            if isinstance(event, MessageSettled):
                settled.append(event.message_id)

        link = await fake.link()
        link.pongs = False
        sent = [agent.send_message(data | {"n": number}) for number in range(most)]
        with pytest.raises(OutboxFullError, match=rf"{most} messages of \d+ bytes in all are not settled"):
            agent.send_message(data)
        with pytest.raises(OutboxFullError):
            await agent.deliver_message(data)
        await link.wait_for("message", n=most - 1)
        await link.pong()
        with anyio.fail_after(PATIENCE_S):
            while settled[-1:] != sent[-1:]:
                await checkpoint()
        last = await agent.deliver_message({"n": "last"})
        received = [message["id"] for message in link.received if message["type"] == "message"]
    assert received == [*sent, last]


async def test_cmd_8_messages_that_are_not_settled_are_named_at_the_end(key: Ed25519PrivateKey, key_path: Path) -> None:
    fake = FakePlatform(key.public_key())
    events: list[AgentEvent] = []
    async with fake.listening(), anyio.create_task_group() as tasks:
        agent = new_agent(fake, key_path)
        agent.on_event(events.append)
        await tasks.start(agent.serve)
        link: Link = await fake.link()
        link.pongs = False
        message_id = agent.send_message({})
        await link.wait_for("message")
        agent.stop(drain=False)
        with anyio.fail_after(PATIENCE_S):
            while not events or not isinstance(events[-1], Stopped):
                await checkpoint()
        assert events[-1] == Stopped((), messages=(message_id,))
    assert not any(isinstance(event, Offline) for event in events)


def new_agent(fake: FakePlatform, key_path: Path, **parameters: Any) -> Agent:
    """An agent for a platform played by the test."""
    own: Any = {
        "agent_id": "agent-1",
        "tenant_id": "tenant-1",
        "private_key_path": key_path,
        "api_endpoint": fake.url,
        "jitter": 0,
    }
    return Agent(**(own | parameters))


@asynccontextmanager
async def agent_for(fake: FakePlatform, key_path: Path, **parameters: Any) -> AsyncGenerator[Agent]:
    """The same, running; stopped at once at the end."""
    async with new_agent(fake, key_path, **parameters) as agent:
        yield agent
        agent.stop(drain=False)
