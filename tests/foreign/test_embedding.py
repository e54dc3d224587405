"""The README's driver, as printed, against a platform that is not ours."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

from artcafe_proto import AgentConfig, AgentProtocol, CommandReceived, Instant
from foreign_platform import ForeignPlatform
from virtual import signing_key

README = Path(__file__).parents[2] / "README.md"


def embedding_loop() -> str:
    """The code of the README."""
    found = re.search(r"<!-- embedding -->\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_readmes_driver_has_at_most_40_lines() -> None:
    assert embedding_loop().count("\n") <= 40


def test_the_readmes_driver_answers_commands_and_comes_back() -> None:
    names: dict[str, Any] = {}
    exec(compile(embedding_loop(), str(README), "exec"), names)
    key = signing_key()
    commands: list[dict[str, Any]] = [{"command": "add", "args": {"a": 1, "b": n}} for n in range(5)]
    platform = ForeignPlatform("agent-1", key.public.openssh, commands)
    platform.close_after = 2
    platform.last_command = {"command": "stop"}

    def handle(agent: AgentProtocol, event: CommandReceived) -> None:
        now: Instant = names["now"]()
        if event.command == "stop":
            agent.respond(event.command_id, None, now)
            agent.stop(now)
        else:
            agent.respond(event.command_id, event.args["a"] + event.args["b"], now)

    with platform.serving() as url:
        config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint=url)
        thread = threading.Thread(target=names["drive"], args=(config, key, handle), daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    assert platform.connections == 2
    results = {command_id: data["result"] for command_id, data in platform.responses().items()}
    assert results == {f"cmd-{n}": 1 + n for n in range(5)} | {"cmd-5": None}
