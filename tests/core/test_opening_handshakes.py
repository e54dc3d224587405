"""The opening handshake in bytes, at the façades: what ends it with a reason, in either role (RFC 6455 section 4)."""

from __future__ import annotations

import pytest

from artcafe_proto import PlatformProtocol
from artcafe_proto.effects import Disconnect, Write
from artcafe_proto.events import Offline, Online
from artcafe_proto.wires.handshake import upgrade_headers
from support.drained import take_all
from support.platform_stage import AGENT, Stage
from support.played import Bench


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Sec-WebSocket-Protocol", "mqtt"),
        ("Sec-WebSocket-Extensions", ""),
    ],
)
def test_an_agent_refuses_an_extension_or_a_subprotocol_that_it_did_not_ask_for(field: str, value: str) -> None:
    bench = Bench()
    bench.arm("upgrade", lambda peer: peer.accept(more=((field, value),)))
    bench.start()
    (offline,) = bench.seen(Offline)
    assert offline.reason == f"the 101 response needs no {field.lower()}, as none was offered"
    assert offline.clause == "RFC 6455 section 4.1"
    assert [entry.abort for entry in bench.seen(Disconnect)] == [True]
    assert not bench.seen(Online)
    bench.disarm("upgrade")
    bench.run_until(lambda: bench.link)
    assert bench.seen(Online)


def test_an_agent_asks_for_neither_and_sends_no_origin() -> None:
    bench = Bench()
    bench.start()
    (upgrade,) = (write.data.lower() for write in bench.seen(Write) if b"sec-websocket-key: " in write.data.lower())
    for field in (b"sec-websocket-extensions", b"sec-websocket-protocol", b"origin"):
        assert field not in upgrade


def answer_to_opening(*more: tuple[str, str], allowed: tuple[str, ...] = ()) -> tuple[bytes, bool]:
    """What a platform writes to an agent's opening handshake with more fields, and whether it ends the connection."""
    stage = Stage(allowed_origins=allowed)
    token = ("authorization", f"Bearer {stage.token()}")
    fields = (("host", "h"), token, *upgrade_headers("dGhlIHNhbXBsZSBub25jZQ=="), *more)
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    protocol = PlatformProtocol(stage.hub, conn=500, now=stage.now)
    protocol.data_received(f"GET /api/v1/ws/agent/{AGENT} HTTP/1.1\r\n{head}\r\n".encode(), stage.now)
    outputs = take_all(protocol)
    written = b"".join(output.data for output in outputs if isinstance(output, Write))
    return written, any(isinstance(output, Disconnect) for output in outputs)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "https://good.example.evil.example"])
def test_plat_8_a_browsers_origin_is_refused_on_the_agents_socket(origin: str) -> None:
    for allowed in ((), ("https://good.example",)):
        written, _ = answer_to_opening(("origin", origin), allowed=allowed)
        assert written.startswith(b"HTTP/1.1 403 ")
        assert b"a link is opened by agents, not by pages in a browser" in written


def test_plat_8_an_allowed_origin_opens_a_link() -> None:
    written, ended = answer_to_opening(("origin", "https://good.example"), allowed=("https://good.example",))
    assert written.startswith(b"HTTP/1.1 101 ")
    assert not ended


def test_plat_8_one_allowed_origin_does_not_let_another_in() -> None:
    both = (("origin", "https://good.example"), ("origin", "https://evil.example"))
    written, _ = answer_to_opening(*both, allowed=("https://good.example",))
    assert written.startswith(b"HTTP/1.1 403 ")


def test_a_platform_takes_up_no_extension_and_no_subprotocol_that_is_offered() -> None:
    offers = (("sec-websocket-extensions", "permessage-deflate"), ("sec-websocket-protocol", "mqtt"))
    written, ended = answer_to_opening(*offers)
    assert written.startswith(b"HTTP/1.1 101 ")
    assert b"permessage" not in written
    assert b"mqtt" not in written
    assert not ended
