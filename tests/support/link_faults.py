"""What a network does to the links of agents, one proxy for each of them."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from support.certificates import issue
from support.foreign_proxy import RudeProxy, Side, rude_proxy
from support.kill_processes import until

SIDES: Final[tuple[Side, ...]] = ("client", "server")
KINDS: Final = ("cut", "half-open", "stall", "drip", "flip")
"""The last one only under TLS: TCP has its checksums against it, and a tenant without TLS nothing else."""
PATIENCE_S: Final = 5.0
"""For a link to come, and for the bytes to come that are to be damaged."""
LONGEST_S: Final = 6.0
"""How long nothing flows, at most: longer than a ping may take to be answered."""
DRIPPED_BYTES: Final = 500


class Certificate(NamedTuple):
    """A certificate for `localhost`, with its key, that is its own authority; and how a client trusts it."""

    path: Path
    context: ssl.SSLContext

    @classmethod
    def made(cls, directory: Path) -> Certificate:
        """In a file of that directory."""
        issued, path = issue("localhost"), directory / "certificate.pem"
        path.touch(mode=0o600)
        path.write_bytes(issued.pem + issued.key_pem())
        return cls(path, ssl.create_default_context(cafile=path))


class LinkFaults:
    """So many faults in all, while `listening` goes on; none at all leaves out the proxies."""

    def __init__(
        self,
        port: int,
        agents: Sequence[str],
        faults: int,
        seed: int,
        is_online: Callable[[str], bool],
        *,
        under_tls: bool,
    ) -> None:
        self.left = faults
        self.ports: dict[str, int] = {}
        """Where each agent is to connect."""
        self.done: Counter[str] = Counter()
        self._kinds = KINDS if under_tls else KINDS[:-1]
        self._port = port
        self._agents = agents if faults else ()
        self._seed = seed
        self._is_online = is_online

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Make the faults. At the end all connections are cut."""
        async with AsyncExitStack() as stack:
            proxies = {name: await stack.enter_async_context(rude_proxy(self._port)) for name in self._agents}
            self.ports = {name: proxy.port for name, proxy in proxies.items()}
            tasks = [asyncio.create_task(self._trouble(*each)) for each in proxies.items()]
            try:
                yield
                for task in tasks:
                    if task.done():
                        task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _trouble(self, name: str, proxy: RudeProxy) -> None:
        rng = Random(f"{self._seed} {name}")
        while self.left:
            if rng.random() < 0.7:
                with suppress(TimeoutError):
                    await until(lambda: self._is_online(name), PATIENCE_S)
            await asyncio.sleep(rng.uniform(0, 0.5))
            if proxy.is_used and self.left:
                kind = rng.choice(self._kinds)
                self.left -= 1
                self.done[kind] += 1
                await self._do(kind, proxy, rng)

    async def _do(self, kind: str, proxy: RudeProxy, rng: Random) -> None:
        side = rng.choice(SIDES)
        match kind:
            case "cut":
                proxy.abort()
            case "half-open":
                proxy.half_open(side)
                await asyncio.sleep(rng.uniform(0, LONGEST_S))
                proxy.abort()
            case "stall":
                sides = SIDES if rng.random() < 0.5 else (side,)
                proxy.stall(*sides)
                await asyncio.sleep(rng.uniform(0, LONGEST_S))
                proxy.resume()
            case "drip":
                proxy.drips_to[side] = rng.randint(1, DRIPPED_BYTES)
            case _:
                proxy.flips_to[side] = rng.randrange(8 * 2**14)
                with suppress(TimeoutError):
                    await until(lambda: side not in proxy.flips_to, PATIENCE_S)
