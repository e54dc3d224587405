"""The README's driver, as printed, against a platform that is not ours."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from artcafe_proto import AgentConfig, AgentProtocol, Instant
from artcafe_proto.events import CommandReceived
from support.foreign_platform import Account, ForeignPlatform
from support.foreign_servers import serving
from support.virtual import signing_key

README = Path(__file__).parents[2] / "README.md"


def embedding_loop() -> str:
    """The code of the README."""
    found = re.search(r"<!-- embedding -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    return found[1].partition("\n# Run it: ")[0]


def test_the_readmes_driver_has_at_most_40_lines() -> None:
    assert embedding_loop().count("\n") <= 40


def test_the_readmes_driver_answers_commands_and_comes_back(request: pytest.FixtureRequest) -> None:
    names: dict[str, Any] = {}
    exec(compile(embedding_loop(), str(README), "exec"), names)
    key = signing_key()
    platform = ForeignPlatform()
    account = platform.register("agent-1", key.public.openssh)

    def cut_once_then_stop(account: Account) -> None:
        if len(account.finals) == 2 and account.links == 1:
            account.close(1001)
        elif account.is_answered() and len(account.commands) == 5:
            account.post("stop")

    account.on_final = cut_once_then_stop
    for number in range(5):
        account.post("add", {"a": 1, "b": number})

    def handle(agent: AgentProtocol, event: CommandReceived) -> None:
        now: Instant = names["now"]()
        if event.command == "stop":
            agent.respond(event.command_id, None, now)
            agent.stop(now)
        else:
            agent.respond(event.command_id, event.args["a"] + event.args["b"], now)

    with serving("uvicorn", platform, request) as url:
        config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint=url)
        thread = threading.Thread(target=names["drive"], args=(config, key, handle), daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    assert account.links == 2
    results = {command_id: data["result"] for command_id, data in account.responses().items()}
    assert results == {f"cmd-{n}": 1 + n for n in range(5)} | {"cmd-5": None}
