"""docs/embedding.md: a platform with a page of its own, as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from artcafe_proto import ApiError, HttpRequest, PlatformProtocol
from support.platform_api import NOW, TENANT, TOKEN, Api

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")


class Transport:
    """What a connection writes on."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True


def drain() -> Any:
    """The function of the page."""
    found = re.search(r"<!-- platform: health -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names["drain"]


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/health", b"HTTP/1.1 200 .*ok$"),
        ("/nothing", b"HTTP/1.1 404 .*not_found"),
        ("/api/v1/nothing", b"HTTP/1.1 404 .*not_found"),
        ("/api/v1/agents", b"HTTP/1.1 200 .*agents"),
        ("/api/v1/ws/agent/a1", b"HTTP/1.1 426 "),
    ],
)
def test_the_platform_of_the_page_answers_what_is_left_to_it(target: str, answer: bytes) -> None:
    hub, transport = Api().hub, Transport()
    protocol = PlatformProtocol(hub, conn=1, now=NOW)
    connections = {1: (protocol, transport)}
    head = f"GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    protocol.data_received(head.encode(), NOW)
    drain()(hub, connections, 1, NOW)
    assert re.match(answer, transport.written, re.DOTALL), transport.written
    protocol.eof_received(NOW)
    drain()(hub, connections, 1, NOW)
    assert transport.is_closed
    assert not connections


def test_plat_8_a_platform_of_its_own_limits_wrong_tokens_by_the_address_of_the_connection() -> None:
    hub = Api().hub
    headers = (("authorization", "Bearer not-the-token-of-anybody"),)
    request = HttpRequest(method="GET", target="/mine", headers=headers)
    refused: list[int] = []
    for conn in range(101):  # from as many addresses of one /64
        protocol = PlatformProtocol(hub, conn=conn, now=NOW, address=f"2001:db8::{conn:x}")
        with pytest.raises(ApiError) as error:
            hub.principal(request, NOW, protocol.address)
        refused.append(error.value.status)
    assert refused == [401] * 100 + [429]


def test_the_platform_of_the_page_drains_what_the_hub_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    api = Api()
    api.json("POST", "/agents", {"agent_id": "a1"}, status=201)
    transports = {conn: Transport() for conn in (1, 2)}
    connections = {
        conn: (PlatformProtocol(api.hub, conn=conn, now=NOW), transport) for conn, transport in transports.items()
    }
    head = f"GET /api/v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    connections[1][0].data_received(head.encode(), NOW)
    drain()(api.hub, connections, 1, NOW)
    api.hub.set_status(TENANT, "a1", "busy", NOW)
    drain()(api.hub, connections, 2, NOW)
    assert b"event: agent.status" in transports[1].written
    assert "StatusReceived" in capsys.readouterr().out
