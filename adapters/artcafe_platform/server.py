"""`Platform`: the reference platform as an async context manager, on asyncio and on trio."""

from __future__ import annotations

import logging
import random
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from anyio import to_thread
from anyio.abc import SocketAttribute

from artcafe_anyio.background import Background
from artcafe_anyio.calling import check_callback
from artcafe_anyio.clocks import Clock, first_reading, read_clocks
from artcafe_anyio.loops import find_call_soon, runs_in_loop_of
from artcafe_platform.data_dir import SEED_BYTES, Secrets, load_secrets
from artcafe_platform.keeper import Keeper, begin
from artcafe_platform.listening import Listening
from artcafe_platform.logs import tell
from artcafe_platform.owner import Owner
from artcafe_proto import ConfigError, KeyRefusedError, LocalProtocolError, PlatformConfig, PlatformHub
from artcafe_proto.config import Origin
from artcafe_proto.records import DamagedRecordError, Keeps
from artcafe_proto.secrecy import Secret, Secretive, forgetful
from artcafe_stores import SqliteStore, StoreSchema
from artcafe_stores.committing import close
from artcafe_stores.errors import damaged

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from anyio.abc import TaskStatus

    from artcafe_proto import Instant
    from artcafe_proto.events import HubEvent
    from artcafe_proto.platform import Agent, Key
    from artcafe_proto.records import Record
    from artcafe_stores import Store

__all__ = ["Platform"]

DEFAULT_TENANT: Final = "tenant-1"
"""The tenant of a platform that is given none."""


class Platform(Secretive):
    """A platform that listens while its `async with` block runs.

        async with Platform(tenants={"tenant-1": token}) as platform:
            print(platform.url)
            await anyio.sleep_forever()

    Everything happens in the event loop it was entered in; nothing here is thread-safe. What changes something raises
    LocalProtocolError in another loop or thread, before the block is entered, and once it has been left.
    """

    @forgetful
    def __init__(
        self,
        *,
        tenants: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        config: PlatformConfig | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        store: Store | None = None,
        ssl_context: ssl.SSLContext | None = None,
        allow_cleartext: bool = False,
        anyio_streams: bool = False,
        clock: Clock = read_clocks,
    ) -> None:
        """`tenants` are ids with their tokens (PLAT-1). Without them there is one, `tenant-1`, whose token is in
        `platform.tenants`: kept in `data_dir`, or made anew. No other token speaks for a tenant.

        `data_dir` is where everything outlives the process (PLAT-5): agents, keys and commands in `records.db`, beside
        that token and the key that signs agents' tokens. Without it they last as long as the process. `store` keeps the
        first three elsewhere (`artcafe_stores`).

        `port` 0 takes a free one. Raises ConfigError for a number that no port has, and if tokens would be taken
        unencrypted from other computers (TOK-4): listening beyond loopback needs `ssl_context`, or `allow_cleartext` on
        a network that encrypts by itself.

        `ssl_context` is what `make_server_context` returns, or one of your own, as to have clients show certificates.
        Whatever it says, connections that agree on nothing later than TLS 1.1 are closed.

        `anyio_streams` has connections on asyncio run by anyio's streams, as they are on trio: slower, for comparison.

        `clock` gives the moment, an `Instant`; its `mono` advances with the time of the event loop, by which the
        platform waits. For tests (`artcafe_anyio.testing.LoopClock`).
        """
        if not (Origin(False, host, port).is_loopback or ssl_context is not None or allow_cleartext):
            raise ConfigError(
                f"host {host} would take tokens unencrypted from other computers: give an ssl_context, "
                "or set allow_cleartext if that network encrypts by itself"
            )
        if not isinstance(port, int) or not 0 <= port <= 65_535:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"must be 0 to 65,535, not {port!r}", setting="port")
        self.config: Final = PlatformConfig() if config is None else config
        self._tenants = Secret(dict(tenants or {}))
        self._host = host
        self._port = port
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._ssl_context = ssl_context
        self._anyio_streams = anyio_streams
        self._clock = clock
        self._callbacks: list[Callable[[HubEvent], None]] = []
        self._owner: Owner | None = None
        self._has_ended = False
        self._store = store
        self._has_opened = False
        self._keeper: Keeper | None = None
        self._listening: Listening | None = None
        self._background = Background(self._serve, lambda: None)

    # --- look ---------------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens: `http://127.0.0.1:43210`."""
        tls = self._ssl_context is not None
        return f"{'https' if tls else 'http'}://{Origin(tls, self._host, self._port).authority}"

    @property
    def tenants(self) -> dict[str, str]:
        """Tenant ids with their tokens; complete once the platform is entered."""
        return self._tenants.value

    @property
    def hub(self) -> PlatformHub:
        """The pure hub, to look at; call what changes it within a `turn`. Raises LocalProtocolError before entering."""
        return self._entered.hub

    # --- call ---------------------------------------------------------------------------------------------------------

    def on_event(self, callback: Callable[[HubEvent], None]) -> None:
        """Call `callback` with everything that happens, at once and in order; what it raises is logged.
        Raises LocalProtocolError for what cannot be called so, such as an `async def`.
        """
        check_callback(callback)
        self._callbacks.append(callback)

    def turn(self) -> AbstractContextManager[Instant]:
        """Call the hub where nothing can be awaited, as in a callback, or what has no method here. No await within.

            with platform.turn() as now:
                platform.hub.set_status("tenant-1", "agent-1", "busy", now)

        At the end of the block all that came of it is carried out.
        """
        return self._running.turn()

    # Each of these is one turn without an await before it: a caller who is cancelled has changed all of it or nothing.

    async def create_agent(
        self,
        tenant_id: str,
        *,
        agent_id: str | None = None,
        name: str = "",
        capabilities: Sequence[str] = (),
        metadata: dict[str, Any] | None = None,
    ) -> Agent:
        """Register an agent (PLAT-2); without `agent_id` it gets one. It can sign in once it has a key.

        Raises ApiError: 409 for an id that is taken, 422 for what cannot be an id, a name or a description, 503 when
        the platform or its store is full, or the store slow (PLAT-5); and LocalProtocolError for metadata that JSON
        does not have, such as NaN.
        """
        with self.turn() as now:
            agent = self.hub.registry.create_agent(
                tenant_id,
                agent_id=agent_id,
                name=name,
                capabilities=capabilities,
                metadata={} if metadata is None else metadata,
                wall=now.wall,
            )
            shown, barrier = self.hub.shown(agent), self.hub.barrier
        await self._stored(barrier, f"the agent {shown.agent_id}")
        return shown

    async def add_key(self, tenant_id: str, agent_id: str, public_key: str, name: str = "") -> Key:
        """Register a public key of an agent (PLAT-2): one line in OpenSSH's format, as in a `.pub` file.

        Raises ApiError: 404 if the tenant has no such agent, 409 for a key that it has or one too many, 422 for one
        that is refused (AUTH-5), 503 as `create_agent`.
        """
        with self.turn():
            key, barrier = self.hub.registry.add_key(tenant_id, agent_id, public_key, name), self.hub.barrier
        await self._stored(barrier, f"the key {key.key_id}")
        return key

    async def revoke_key(self, tenant_id: str, key_id: str) -> None:
        """End a key, its tokens and its link (TOK-6). Raises ApiError 404 if the tenant has no such key."""
        with self.turn() as now:
            self.hub.revoke_key(tenant_id, key_id, now)
            barrier = self.hub.barrier
        await self._stored(barrier, f"the end of the key {key_id}")

    async def send_message(self, tenant_id: str, agent_id: str, data: dict[str, Any]) -> str:
        """Send an agent a message, which is not kept; returns its id (PLAT-4).

        Raises ApiError: 404 if the tenant has no such agent, 409 if it is not online, 413 or 422 for bad data, 503
        while too much on its link has not left.
        """
        with self.turn() as now:
            return self.hub.send_message(tenant_id, agent_id, data, now)

    async def send_command(
        self,
        tenant_id: str,
        agent_id: str,
        command: str,
        args: dict[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        expires_in_s: float | None = None,
        command_id: str | None = None,
    ) -> str:
        """Accept a command for an agent, which is sent once it is online; returns its id (PLAT-4). Times are seconds.

        The same `command_id` with the same content changes nothing. Raises ApiError: 404 if the tenant has no such
        agent, 409 for an id that has other content, 413 or 422 for what no agent takes, 429 while too many are open
        for this agent, 503 as `create_agent`. With a store it returns when the command is stored; 503
        `may_be_accepted` means that it was accepted unless the platform ends first: send it again with the same id.
        """
        with self.turn() as now:
            accepted = self.hub.send_command(
                tenant_id,
                agent_id,
                command,
                args,
                timeout_s=timeout_s,
                expires_in_s=expires_in_s,
                command_id=command_id,
                now=now,
            )
            barrier = self.hub.barrier
        await self._stored(barrier, f"the command {accepted.command_id}")
        return accepted.command_id

    def abort_agent(self, agent_id: str) -> bool:
        """Cut the connection of an agent's link without a goodbye, as a network would. False if it has none."""
        return self._running.abort_agent(agent_id)

    # --- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Listen. Raises ConfigError for an unusable data directory, tenant or clock, OSError if it cannot listen.

        Raises StoreError if what is stored cannot be used, as StoreLocked if another process has it.
        """
        if self._owner is not None:
            raise LocalProtocolError("a Platform is entered once: make another one")
        try:
            await self._begin()
        except BaseException:
            if self._store is not None and self._has_opened:
                with anyio.CancelScope(shield=True):
                    await close(self._store)
            raise
        return self

    async def _begin(self) -> None:
        rng = random.SystemRandom()
        kept = await self._load_secrets()
        if not self.tenants:
            self.tenants[DEFAULT_TENANT] = kept.tenant_token
        hub = await self._make_hub(rng, kept.signing_seed)
        owner = Owner(hub, self._callbacks, self._clock)
        self._keeper = None if self._store is None else Keeper(self._store, owner)
        multi = await anyio.create_tcp_listener(local_host=self._host, local_port=self._port)
        self._port = multi.extra(SocketAttribute.local_port)  # noqa: S610 this is not Django's
        self._owner, self._call_soon = owner, find_call_soon()
        self._listening = Listening(
            self._owner,
            multi.listeners,
            self._ssl_context,
            anyio_streams=self._anyio_streams,
            keeper=self._keeper,
        )
        await self._background.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening, say goodbye on every connection (1001 on a link) and close it, for some seconds at most.

        Raises the internal error that has ended the platform, if one has: the block was cancelled then. Raises
        StoreUnavailable if the store has not taken everything after 5 s.
        """
        self._background.check()
        assert self._listening is not None
        with anyio.CancelScope(shield=True):
            await self._listening.stop()
            if self._store is not None:
                await close(self._store, hangs=self._keeper is not None and self._keeper.hangs)
        self._has_ended = True
        await self._background.__aexit__(exc_type, exc, traceback)
        failure = self._entered.failure
        if failure is not None and failure is not exc:
            raise failure
        unstored = None if self._keeper is None else self._keeper.failure()
        if unstored is not None and exc is None:
            raise unstored
        if unstored is not None:
            tell(logging.ERROR, str(unstored))

    async def _serve(self, *, task_status: TaskStatus[None]) -> None:
        assert self._listening is not None
        await self._listening.serve(task_status=task_status)

    async def _make_hub(self, rng: random.Random, signing_seed: bytes) -> PlatformHub:
        if self._store is None and self._data_dir is not None:
            self._store = SqliteStore(self._data_dir / "records.db")
        keeps = Keeps.NOTHING if self._store is None else Keeps.RECORDS
        restored: Iterable[Record] = ()
        if self._store is not None:
            restored = await self._store.open()
            self._has_opened = True
        now = first_reading(self._clock)
        try:
            hub = PlatformHub(self.config, rng=rng, signing_seed=signing_seed, restored=restored, keeps=keeps, now=now)
        except DamagedRecordError as error:
            raise damaged(str(self._store), str(error)) from error
        except (LocalProtocolError, KeyRefusedError) as error:
            raise StoreSchema(f"{self._store} was written by another version ({error}): use that one") from error
        del restored  # of many records it takes as much as what was made of them
        hub.registry.set_tenants(self.tenants)
        if self._store is not None:
            await begin(hub, self._store, now)
        return hub

    async def _stored(self, barrier: int, what: str) -> None:
        if self._keeper is not None:
            await self._keeper.stored(barrier, what)

    async def _load_secrets(self) -> Secrets:
        if self._data_dir is not None:
            return await to_thread.run_sync(load_secrets, self._data_dir)
        return Secrets(secrets.token_urlsafe(32), secrets.token_bytes(SEED_BYTES))

    @property
    def _entered(self) -> Owner:
        if self._owner is None:
            raise LocalProtocolError(
                "the platform does not run yet: use it within `async with Platform(…) as platform`"
            )
        return self._owner

    @property
    def _running(self) -> Owner:
        owner = self._entered
        if self._has_ended:
            raise LocalProtocolError("the platform has ended: use it before its `async with` block is left")
        if not runs_in_loop_of(self._call_soon):
            raise LocalProtocolError(
                "the platform is used in the event loop that its `async with` block was entered in, "
                "not in another one or in a thread: call it there, as by `anyio.from_thread.run`"
            )
        return owner
