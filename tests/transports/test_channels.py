"""`check_channel`: the transports of docs/transports.md and our own pass; each rule has a channel that breaks it."""

from __future__ import annotations

import asyncio
import json
import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from websockets.client import ClientProtocol
from websockets.server import ServerProtocol

from artcafe_anyio.testing import VirtualTimeLoop
from artcafe_proto import AgentConfig, AgentMachine, AgentProtocol, Instant, PlatformProtocol
from artcafe_proto.effects import Connect, Disconnect, Sign, Write
from artcafe_proto.events import CommandAnswered, CommandReceived
from artcafe_proto.testing import ChannelError, check_channel
from support.channels import Told, memory_channel, printed, socket_channel, streams, transport, transports
from support.message_channels import broker_channel, printed_websocket_channel, websockets_channel
from support.openings import printed_opening
from support.virtual import AGENT, TENANT, WALL_AT_START, new_hub, signing_key

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

NOW = Instant(1000.0, WALL_AT_START)


OPENINGS = ("opening can be given up",)
"""What is looked at only where something opens."""
OF_MESSAGES = (
    "messages arrive whole, as they were sent",
    "the largest message arrives",
    "a sign of life comes before what was read",
    "pings and pongs keep their place among messages",
    "a pong leaves only when the protocol asks for it",
    "a close keeps its code",
    "a close is answered once",
    "nothing is told after a close",
    "nothing is sent after a close",
    "a close waits while reading is paused",
)
"""Rules that do not fit a byte stream."""


async def test_the_transport_in_memory_is_one() -> None:
    assert await check_channel(memory_channel, clock=time.perf_counter) == (*OF_MESSAGES, *OPENINGS)


async def test_our_own_transport_is_one() -> None:
    assert await check_channel(lambda: socket_channel(streams), clock=time.perf_counter) == (*OF_MESSAGES, *OPENINGS)


async def test_the_link_over_a_broker_is_one() -> None:
    assert await check_channel(broker_channel, clock=time.perf_counter) == OPENINGS


async def test_the_printed_channel_of_the_link_over_a_broker_passes() -> None:
    names = transport("broker")
    exec(compile(printed("channel"), "channel", "exec"), names)
    assert await check_channel(names["open_channel"], clock=time.perf_counter) == OPENINGS


@pytest.mark.parametrize("role", ["agent", "platform"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_websocket_library_without_io_is_one_in_either_role(role: str) -> None:
    assert await check_channel(lambda: websockets_channel(role), clock=time.perf_counter) == OPENINGS


@pytest.mark.parametrize("role", ["agent", "platform"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_library_that_answers_pings_is_found_out_in_either_role(role: str) -> None:
    with pytest.raises(ChannelError) as broken:
        await check_channel(lambda: websockets_channel(role, agents=ClientProtocol, platforms=ServerProtocol))
    assert {each.rule for each in broken.value.broken} == {"a pong leaves only when the protocol asks for it"}


async def test_without_a_clock_the_check_says_what_it_has_not_looked_at() -> None:
    assert await check_channel(broker_channel) == ("writing does not hold the event loop", *OPENINGS)


def test_the_example_over_a_broker_has_at_most_60_lines() -> None:
    lines = printed("broker").splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120


def test_over_a_broker_that_hands_over_at_once_the_order_is_kept() -> None:
    link_end: Any = transport("broker")["LinkEnd"]
    told: list[bytes] = []
    ends: dict[str, Any] = {}

    def hear(happened: str, *arguments: Any) -> None:
        told.extend(arguments if happened == "text_received" else ())

    def to(end: str) -> Callable[[bytes], None]:
        return lambda data: ends[end].arrived(data)

    near, far = link_end(to("far"), lambda *_: None), link_end(to("near"), hear)  # pyright: ignore[reportUnknownLambdaType]
    ends |= {"near": near, "far": far}
    far.reads = False
    sent = [b"%d" % number * 50_000 for number in range(10, 30)]
    for each in sent:
        near.send(b"=", each)
    far.reads = True
    far.flow()
    assert told == sent


class BrokersPlatform:
    """The platform's end of links over a broker, one after another: a command on each, and the first is cut."""

    def __init__(self) -> None:
        self.attempts = 0
        self.links: list[Any] = []
        self.heard: list[tuple[str, str]] = []

    def open_link(self, tell: Callable[..., object]) -> Any:
        """The agent's end of a new link: what each end publishes arrives in a later turn of the loop."""
        self.attempts += 1
        if self.attempts == 1:
            raise ConnectionRefusedError("the broker is away")
        link: Any = transport("broker")["LinkEnd"]
        ends: dict[str, Any] = {}

        def publish_to(end: str) -> Callable[[bytes], object]:
            return lambda data: asyncio.get_running_loop().call_soon(ends[end].arrived, data)

        def hear(happened: str, *arguments: Any) -> None:
            self.tell(ends["far"], happened, *arguments)

        near, far = link(publish_to("far"), tell), link(publish_to("near"), hear)
        ends |= {"near": near, "far": far}
        self.links.append(far)
        data = {"command": "echo", "args": {"n": len(self.links)}}
        command = {"type": "command", "id": f"cmd-{len(self.links)}", "data": data}
        far.send(b"=", json.dumps(command).encode())
        return near

    def tell(self, link: Any, happened: str, *arguments: Any) -> None:
        match happened:
            case "text_received":
                message = json.loads(arguments[0])
                said = message["data"].get("command_id") or message["data"]["status"]
                self.heard.append((message["type"], said))
                if message["type"] == "response" and len(self.links) == 1:
                    link.close(abort=True)  # before the ping behind the response is answered
            case "ping_received":
                link.send(b"!", arguments[0])
            case "close_received":
                self.heard.append((happened, str(arguments[0])))
            case _:
                pass


def test_an_agent_over_a_broker_keeps_its_rules_without_http() -> None:
    """CMD-1, CMD-3, LINK-3, STAT-3: a response is sent again on the next link, and a drain says goodbye."""
    platform, received = BrokersPlatform(), list[str]()
    config = AgentConfig(agent_id=AGENT, tenant_id=TENANT, api_endpoint="http://localhost", jitter=0.0)
    loop = VirtualTimeLoop()

    def handle(agent: AgentMachine, command: CommandReceived) -> None:
        now = Instant(loop.time(), WALL_AT_START)
        received.append(command.command_id)
        agent.respond(command.command_id, len(command.args), now)
        if len(received) == 2:
            agent.stop(now)

    began = loop.time()
    try:
        loop.run_until_complete(transport("broker")["drive"](config, platform.open_link, handle))
    finally:
        loop.close()
    assert received == ["cmd-1", "cmd-2"]
    assert platform.heard == [
        ("heartbeat", "online"),
        ("response", "cmd-1"),
        ("heartbeat", "online"),
        ("response", "cmd-1"),
        ("response", "cmd-2"),
        ("status", "offline"),
        ("close_received", "1000"),
    ]
    assert loop.time() - began == pytest.approx(1.0 + 2.0, abs=0.1), "two waits of LINK-3, and none for a close"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_our_own_transport_on_asyncio_is_one() -> None:
    assert await check_channel(lambda: socket_channel(transports), clock=time.perf_counter) == (*OF_MESSAGES, *OPENINGS)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_transport_over_websockets_is_one() -> None:
    opening = printed_opening()
    assert await check_channel(printed_websocket_channel, clock=time.perf_counter, opening=opening) == ()


class ThatGoesOn:
    """The page's transport, but for `Disconnect` while it opens: that changes nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.of_page = transport("websockets")["Transport"](*arguments)

    def carry_out(self, output: Disconnect) -> None:
        if self.of_page.transport is not None:
            self.of_page.carry_out(output)


class ThatTells(ThatGoesOn):
    """It ends the opening, and tells of it."""

    def carry_out(self, output: Disconnect) -> None:
        self.of_page.told("connect_failed", output.conn, "other", "it was given up")
        self.of_page.carry_out(output)


class ThatFails(ThatGoesOn):
    """It cannot give up."""

    def carry_out(self, output: Disconnect) -> None:
        raise ZeroDivisionError


class ThatTellsNothing(ThatGoesOn):
    """It opens, and keeps that to itself."""

    def __init__(self, asked: Any, config: Any, tell: Any, tls: Any) -> None:
        super().__init__(asked, config, lambda *_, **__: None, tls)  # pyright: ignore[reportUnknownLambdaType]

    def carry_out(self, output: Disconnect) -> None:
        self.of_page.carry_out(output)


@pytest.mark.parametrize(
    ("kind", "came"),
    [
        (ThatGoesOn, {"it stays", "it was told to be open, or to have failed"}),
        (ThatTells, {"it was told to be open, or to have failed"}),
        (ThatFails, {"ZeroDivisionError() was raised"}),
        (ThatTellsNothing, {"it did not"}),
    ],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_opening_that_cannot_be_given_up_is_found(kind: type[ThatGoesOn], came: set[str]) -> None:
    with pytest.raises(ChannelError) as broken:
        await check_channel(broker_channel, opening=printed_opening(kind))
    assert {each.rule for each in broken.value.broken} == {"opening can be given up"}
    assert {each.came for each in broken.value.broken} == came


class OfAgent(Told):
    """An agent's connection: what it is told goes to the protocol."""

    def __init__(self, protocol: AgentProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.conn = 0

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(self.conn, data, NOW)


class OfPlatform(Told):
    """The platform's side of it."""

    def __init__(self, session: PlatformProtocol) -> None:
        super().__init__()
        self.session = session

    def data_received(self, data: bytes) -> None:
        self.session.data_received(data, NOW)


def test_an_agent_and_a_platform_talk_in_memory() -> None:
    hub = new_hub()
    config = AgentConfig(agent_id=AGENT, tenant_id=TENANT, api_endpoint="http://localhost")
    agent, session = AgentProtocol(config, rng=Random(1)), PlatformProtocol(hub, conn=1, now=NOW)
    pipe = transport("memory")["Pipe"]
    told = OfAgent(agent)
    near, far = pipe(told), pipe(OfPlatform(session))
    near.far, far.far = far, near
    sent = hub.send_command(TENANT, AGENT, "echo", {"n": 1}, timeout_s=None, now=NOW)
    agent.start(NOW)
    events: list[object] = []
    for _ in range(20):
        while (output := agent.next_output()) is not None:
            match output:
                case Connect():
                    told.conn = output.conn
                    agent.connected(output.conn, NOW, tls=output.tls)
                case Write():
                    near.write(output.data)
                case Sign():
                    agent.signed(output.request, signing_key().sign(output.challenge.encode(), "ssh"), NOW)
                case CommandReceived():
                    agent.respond(output.command_id, output.args, NOW)
                case _:
                    pass
        while (output := hub.next_output()) is not None:
            if isinstance(output, Write):
                far.write(output.data)
            else:
                events.append(output)
        near.flow()
        far.flow()
    (answer,) = (event for event in events if isinstance(event, CommandAnswered))
    assert (answer.command_id, bytes(answer.response.result)) == (sent.command_id, b'{"n":1}')
