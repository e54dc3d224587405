"""A proxy that the environment names is not used, and whoever wonders why is told once."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import anyio
import pytest

from anyio_agent.attempts import first_offline
from artcafe_anyio import Agent
from artcafe_anyio.proxies import unused_proxy
from artcafe_proto.config import Origin

HTTPS = Origin(True, "api.example", 443)
HTTP = Origin(False, "10.1.2.3", 8420)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "origin", "named"),
    [
        ({"HTTPS_PROXY": "http://u:secret@p:3128"}, HTTPS, "HTTPS_PROXY is set and not used: api.example is"),
        ({"https_proxy": "p"}, HTTPS, "HTTPS_PROXY"),
        ({"ALL_PROXY": "socks5://p"}, HTTPS, "ALL_PROXY"),
        ({"HTTP_PROXY": "p"}, HTTP, "HTTP_PROXY is set and not used: 10.1.2.3:8420 is"),
        ({"HTTP_PROXY": "p"}, HTTPS, ""),
        ({"HTTPS_PROXY": "p"}, HTTP, ""),
        ({"HTTPS_PROXY": ""}, HTTPS, ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "other,.example"}, HTTPS, ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "*"}, HTTPS, ""),
        ({"HTTP_PROXY": "p", "NO_PROXY": "10.1.2.3:8420"}, HTTP, ""),
        ({"HTTPS_PROXY": "p", "NO_PROXY": "other.example"}, HTTPS, "HTTPS_PROXY"),
        ({"HTTP_PROXY": "p"}, Origin(False, "127.0.0.1", 8420), ""),
        ({}, HTTPS, ""),
    ],
)
def test_it_is_named_unless_it_would_not_be_used_anyhow(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], origin: Origin, named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = unused_proxy(origin)
    assert said.startswith(named)
    assert bool(said) is bool(named)
    assert "secret" not in said


@pytest.mark.anyio
async def test_an_agent_says_so_once(
    monkeypatch: pytest.MonkeyPatch, key_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "artcafe")
    monkeypatch.setenv("ALL_PROXY", "http://user:secret@proxy:3128")
    agent = Agent(
        agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint="https://192.0.2.1", connect_timeout=0.05
    )
    with anyio.fail_after(30):
        await first_offline(agent)
    said = [record.getMessage() for record in caplog.records if "PROXY" in record.getMessage()]
    assert said == [
        "a: ALL_PROXY is set and not used: 192.0.2.1 is connected to directly; "
        "open_stream of serve can go through a proxy"
    ]
    assert "secret" not in caplog.text
