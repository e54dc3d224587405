"""The servers that the platform's benchmarks measure, each in a process of its own, and how to read what they cost.

`platform` is the public `Platform` with its defaults, over memory. The others are what `websockets` makes of the same
agents in the fewest lines: whoever connects is let in, and its last heartbeat is kept; no registry, no keys, no tokens.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, Self

HERE = Path(__file__).parent
PLATFORM, PLATFORM_ANYIO = "artcafe_platform", "artcafe_platform, anyio streams"
WEBSOCKETS, WEBSOCKETS_PLAIN = "websockets, as it comes", "websockets, no compression"
TENANT_TOKEN = "tenant-token-0123456789"
FLEETS = {PLATFORM: "agents", WEBSOCKETS: "deflate", WEBSOCKETS_PLAIN: "plain"}
"""What `fleet.py` connects to each server."""


# --- in the server's process ------------------------------------------------------------------------------------------


async def run_platform(agents: int, port: int, *, streams: bool) -> None:
    """Ours, with so many agents registered; `port` 0 is a free one."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from artcafe_platform import Platform
    from benchmarks.fleet import private_key

    async with Platform(tenants={"tenant-1": TENANT_TOKEN}, port=port, anyio_streams=streams) as platform:
        before = resident_bytes(os.getpid())
        for number in range(agents):
            agent_id = f"agent-{number}"
            line = private_key(number).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
            await platform.create_agent("tenant-1", agent_id=agent_id)
            await platform.add_key("tenant-1", agent_id, line)
        say(int(platform.url.rpartition(":")[2]), resident_bytes(os.getpid()) - before)
        await asyncio.Event().wait()


async def run_websockets(*, compression: str | None) -> None:
    """The guide's library, as a server."""
    import logging

    from websockets.asyncio.server import ServerConnection, serve

    logging.disable()  # of how the load ends
    presence: dict[str, tuple[float, dict[str, Any]]] = {}

    async def attend(connection: ServerConnection) -> None:
        async for text in connection:
            message = json.loads(text)
            if message["type"] == "heartbeat":
                presence[message["data"]["agent_id"]] = (time.time(), message["data"])

    async with serve(attend, "127.0.0.1", 0, compression=compression) as server:
        say(next(iter(server.sockets)).getsockname()[1], 0)
        await asyncio.Event().wait()


def say(port: int, registered_bytes: int) -> None:
    """To the process that measures."""
    print(json.dumps({"port": port, "registered_bytes": registered_bytes}), flush=True)


def main() -> None:
    """`python servers.py NAME AGENTS PORT`."""
    sys.path.insert(0, str(HERE.parent))
    name, agents, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if name in (PLATFORM, PLATFORM_ANYIO):
        asyncio.run(run_platform(agents, port, streams=name == PLATFORM_ANYIO))
    else:
        asyncio.run(run_websockets(compression="deflate" if name == WEBSOCKETS else None))


# --- in the process that measures -------------------------------------------------------------------------------------


class Server:
    """One server, until the end of a `with` block."""

    def __init__(self, name: str, agents: int = 0, port: int = 0) -> None:
        self._process = _start("servers.py", name, str(agents), str(port))
        try:
            said = _hear(self._process)
        except BaseException:
            self.__exit__()
            raise
        self.port: int = said["port"]
        self.registered_bytes: int = said["registered_bytes"]
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()


class Round:
    """One server and its fleet, for one round."""

    def __init__(self, name: str, agents: int) -> None:
        self._server = Server(name, agents)
        self.registered_bytes = self._server.registered_bytes
        try:
            self._fleet = _start("fleet.py", str(self._server.port), FLEETS[name])
        except BaseException:
            self._server.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._fleet.kill()
        self._fleet.communicate()
        self._server.__exit__()

    def do(self, *step: object) -> dict[str, Any]:
        """Have the fleet do something, and wait for its end."""
        assert self._fleet.stdin is not None
        self._fleet.stdin.write(" ".join(map(str, step)) + "\n")
        self._fleet.stdin.flush()
        return _hear(self._fleet)

    @property
    def resident_bytes(self) -> int:
        """What the server has in memory."""
        return resident_bytes(self._server.pid)

    @property
    def cpu_s(self) -> float:
        """What the server has computed, kernel included."""
        return cpu_s(self._server.pid)


def _start(file: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / file), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process of this benchmark ended early")
    return json.loads(line)


def resident_bytes(pid: int) -> int:
    """Of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """Of all threads of a process, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def spread(values: list[float]) -> str:
    """How far the rounds lie apart, in percent of their median."""
    return f"±{50 * (max(values) - min(values)) / median(values):.0f} %"


if __name__ == "__main__":
    main()
