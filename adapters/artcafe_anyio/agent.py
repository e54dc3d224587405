"""`Agent`: what an agent's author sees of all this. Decorators, parameters, signals, a way to run."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED

from artcafe_anyio.background import Background
from artcafe_anyio.calling import Function
from artcafe_anyio.connecting import open_by
from artcafe_anyio.connection import StreamConnection
from artcafe_anyio.credentials import Credentials, passphrase_of
from artcafe_anyio.driver import AgentDriver
from artcafe_anyio.errors import first_error
from artcafe_anyio.keys import is_locked
from artcafe_anyio.logs import AgentLog
from artcafe_anyio.loops import runs_on_asyncio
from artcafe_anyio.parameters import (
    AgentParameters,
    check_parameters,
    read_environment,
    settings,
    spelled,
    variable,
)
from artcafe_anyio.running import Application, EventCallback, MessageHandler
from artcafe_anyio.signals import Obeyed, check_place_for_signals
from artcafe_anyio.signers import by_function
from artcafe_anyio.starting import connection_maker, first_line, journal_of
from artcafe_proto import LocalProtocolError
from artcafe_proto.secrecy import Secret, Secretive, forgetful

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from anyio.abc import ByteStream, TaskGroup, TaskStatus

    from artcafe_anyio.clocks import Clock
    from artcafe_anyio.signers import SignFunction
    from artcafe_proto import AgentConfig
    from artcafe_proto.effects import Connect
    from artcafe_proto.messages import AgentStatus

__all__ = ["Agent"]

AnyFunction = TypeVar("AnyFunction", bound=Function)
AnyMessageHandler = TypeVar("AnyMessageHandler", bound=MessageHandler)
AnyCallback = TypeVar("AnyCallback", bound=EventCallback)


class Agent(Secretive):
    """An agent: handlers, and the parameters to run them with.

        agent = Agent(agent_id="agent-1", tenant_id="tenant-1", api_endpoint="http://127.0.0.1:8420")

        @agent.command("resize")
        async def resize(path: str, width: int, ctx: CommandContext) -> dict[str, int]: ...

        agent.run()

    Call its methods from the event loop that runs it or from other threads, such as those that run its handlers.
    """

    @forgetful
    def __init__(self, **parameters: Unpack[AgentParameters]) -> None:
        """Parameters are explained in `AgentParameters`. `agent_id` and `tenant_id` may still be missing here, to be
        given by `configured`. Raises ConfigError for a bad value.
        """
        check_parameters(parameters)
        self._parameters = Secret(parameters)
        self._spelling: dict[str, str] = {}
        """Parameters that were given by variables, and those variables' names."""
        self._application = Application()
        self._driver: AgentDriver | None = None
        self._is_serving = False
        self._stops: bool = False
        """Whether `stop` was called since `serve` began: a journal may still be opening."""
        self._credentials: Credentials | None = None
        self._background = self.running()

    @classmethod
    @forgetful
    def from_env(cls, **parameters: Unpack[AgentParameters]) -> Self:
        """An agent with these parameters and, for those not given, what ARTCAFE_API_ENDPOINT, ARTCAFE_AGENT_ID,
        ARTCAFE_TENANT_ID, ARTCAFE_PRIVATE_KEY_PATH, ARTCAFE_KEY_PASSPHRASE_FILE, ARTCAFE_KEY_ID, ARTCAFE_CA_FILE,
        ARTCAFE_CLIENT_CERT_FILE, ARTCAFE_CLIENT_KEY_FILE, ARTCAFE_LOG_LEVEL, ARTCAFE_HEARTBEAT_INTERVAL and
        ARTCAFE_JOURNAL say. Raises ConfigError naming the variable that is bad.
        """
        return cls()._with(parameters)

    @forgetful
    def configured(self, **parameters: Unpack[AgentParameters]) -> Self:
        """A copy of this agent, handlers included, for somebody else's computer: a parameter is what is given here,
        else what the environment says, else this agent's own. Raises ConfigError for a bad value.
        """
        copy = self._with(parameters)
        copy._application = self._application.copy()
        return copy

    def _with(self, parameters: AgentParameters) -> Self:
        """This agent's parameters, the environment over them, and these over all."""
        environment = read_environment()
        spelling = {name: variable(name) for name in environment if name not in parameters}
        with spelled(spelling):
            agent = type(self)(**(self._parameters.value | environment | parameters))
        agent._spelling = spelling
        return agent

    @property
    def config(self) -> AgentConfig:
        """What the core is told. Raises ConfigError while `agent_id` or `tenant_id` is missing."""
        config = settings(self._parameters.value)[0]
        return msgspec.structs.replace(config, idempotent=frozenset(self._application.idempotent))

    @property
    def clock(self) -> Clock:
        """What it reads the time from. Raises ConfigError while `agent_id` or `tenant_id` is missing."""
        return settings(self._parameters.value)[1].clock

    def locked_key(self) -> str | None:
        """The path of the key if it is encrypted and nothing says its passphrase: whoever runs the agent may ask for it
        and give it to `configured`. Blocks. Raises ConfigError for a key file that `serve` would not take.
        """
        with spelled(self._spelling):
            local = settings(self._parameters.value)[1]
            if passphrase_of(local) is None and is_locked(local.private_key_path):
                return local.private_key_path
        return None

    # --- what it does -------------------------------------------------------------------------------------------------

    def command(
        self, name: str, *, inline: bool = False, idempotent: bool = False
    ) -> Callable[[AnyFunction], AnyFunction]:
        """Decorate the handler of the command `name`; the function itself stays as it is.

        Arguments come by name and are validated by the annotations (msgspec's rules, or pydantic's where its types are
        in them); what is missing, unknown or of another type is answered `invalid_arguments`. A parameter annotated
        `CommandContext` receives that. The result must be something that msgspec can write as JSON, a path or a model
        of pydantic's, without NaN. What is raised, whatever it is, becomes `handler_error` (see `CommandError`).

        `async def` runs as a task, and is cancelled when the command's time is over: once on asyncio, as its tasks are,
        so that one which goes on all the same keeps its slot, and `stop` waits for it. A plain function runs in a
        thread, or with `inline` on the event loop, where nothing else happens until it returns; what it returns is
        awaited in a task if it can be. Each call sees a copy of the context variables of where the agent was started.

        `idempotent` says that running the command twice does what running it once does. It counts with a journal: if
        the process ends before there is a response, the command runs again once the platform sends it again, in place
        of the answer `interrupted` (CMD-9).

        Raises LocalProtocolError for a function that cannot be a handler, and for a name that has one.
        """
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LocalProtocolError('a command has a name: @agent.command("name")')

        def register(function: AnyFunction) -> AnyFunction:
            self._application.add_command(name, function, inline=inline, idempotent=idempotent)
            return function

        return register

    def on_message(self, handler: AnyMessageHandler) -> AnyMessageHandler:
        """Decorate a function to be called with every `MessageReceived`, an `async def` as a task, others in a thread.
        What it raises is logged. Raises LocalProtocolError for a function that cannot be called so.
        """
        self._application.add_message_handler(handler)
        return handler

    def on_event(self, callback: AnyCallback) -> AnyCallback:
        """Call `callback`, a plain function, with every event of the core, at once and in order; what it raises is
        logged. Raises LocalProtocolError for an `async def`, which nobody would await.
        """
        self._application.add_callback(callback)
        return callback

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self, *, backend: Literal["asyncio", "trio"] = "asyncio", sign: SignFunction | None = None) -> None:
        """Run until SIGINT or SIGTERM: the first drains, a second one stops at once. SIGHUP does as CMD-8 says.

        Logs to standard error unless logging is set up already. For the main thread of a program without an event loop
        of its own: elsewhere it raises LocalProtocolError. `sign` is `serve`'s, and it raises as that does.
        """
        check_place_for_signals()
        with spelled(self._spelling):
            _, local = settings(self._parameters.value)
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("artcafe").setLevel(local.log_level.upper())
        anyio.run(self._run, sign, backend=backend)

    async def serve(
        self,
        *,
        sign: SignFunction | None = None,
        open_stream: Callable[[Connect], Awaitable[ByteStream]] | None = None,
        clock: Clock | None = None,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        """Run until `stop`; signals are left alone. `await task_group.start(agent.serve)` returns when it has begun.
        Each call is a life of its own, which knows of the commands of earlier ones what a journal holds (CMD-1).

        `sign` makes the signature of a challenge in the place of the key: an `async def` as a task, any
        other function in a thread. It raises SigningRefusedError to say why it does not.
        `open_stream` opens connections some other way than by TCP and TLS, through a proxy for example, and answers for
        their being encrypted; it raises ConnectError. `clock` is read in the place of the parameter. These three are
        what `artcafe_anyio.testing` is made of.

        Raises ConfigError for parameters that are missing or bad, files included; then it has not gone online.
        Raises GaveUpError when there was no link for `give_up_after` (LINK-6). An internal error is raised as it is.
        With a journal it raises StoreError of `artcafe_stores`: if another process has the file, if it is not this
        agent's, and at the end if it did not take everything in 5 s.
        """
        if self._is_serving:
            raise LocalProtocolError("this agent runs already")
        config, local = self.config, settings(self._parameters.value)[1]
        by_asyncio = runs_on_asyncio() and not local.anyio_streams
        clock = local.clock if clock is None else clock
        make = partial(AgentDriver, config, self._application, clock, by_asyncio=by_asyncio)
        journal = None if local.journal_path is None else journal_of(local.journal_path, AgentLog(config.agent_id))
        driver: AgentDriver | None = None
        self._is_serving = True
        self._stops = False
        try:
            with spelled(self._spelling):
                driver = self._driver = make() if journal is None else await journal.open(make, clock)
                was_stopped = self._stops
                credentials = self._credentials = Credentials(config, local, driver.threads, driver.log)
                trust = None if open_stream is not None else await credentials.trust()
                signers = await credentials.signers() if sign is None else [by_function(sign, driver.threads)]
            driver.log.line(logging.INFO, first_line(config.api_endpoint, credentials.keys, journal))
            if was_stopped:
                driver.stop(drain=False)
            if open_stream is not None:
                connect = partial(StreamConnection, open_stream=partial(open_by, open_stream, driver.log))
            else:
                connect = connection_maker(trust, driver, by_asyncio=by_asyncio)
            await driver.run(signers, connect, task_status)
        except ExceptionGroup as group:
            error = first_error(group)
            raise error from error.__cause__
        finally:
            self._driver = None
            if driver is not None:
                driver.end()
            if journal is not None:
                await journal.aclose()
            self._is_serving = False

    async def __aenter__(self) -> Self:
        """Run in the background until the end of the block, which drains. Raises as `serve` does."""
        background = self.running()
        await background.__aenter__()
        self._background = background
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain, or stop at once if the block has failed. Raises GaveUpError if that is why the block was cancelled."""
        await self._background.__aexit__(exc_type, exc, traceback)

    def running(
        self,
        *,
        sign: SignFunction | None = None,
        open_stream: Callable[[Connect], Awaitable[ByteStream]] | None = None,
        clock: Clock | None = None,
    ) -> AbstractAsyncContextManager[None]:
        """What `async with agent` does, with the parameters of `serve`."""
        return Background(partial(self.serve, sign=sign, open_stream=open_stream, clock=clock), self.stop)

    def stop(self, *, drain: bool = True) -> None:
        """End: after a drain, or at once. Harmless if it does not run."""
        self._stops = True
        driver = self._driver
        if driver is not None:
            with suppress(LocalProtocolError):  # it has ended meanwhile
                driver.threads.call(partial(driver.stop, drain=drain))

    async def _run(self, sign: SignFunction | None) -> None:
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._obey_signals, tasks)
                await self.serve(sign=sign)
                tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            failure = first_error(group)  # likewise
        if failure is not None:
            raise failure

    async def _obey_signals(self, tasks: TaskGroup) -> None:
        obeyed = Obeyed()
        with obeyed.receive() as signals:
            log = AgentLog(self._parameters.value.get("agent_id", ""))
            drain = True
            async for received in signals:
                if obeyed.reads_again(received):
                    log.line(logging.INFO, f"{received.name}: files that have changed are read again [CMD-8]")
                    if self._credentials is not None:
                        tasks.start_soon(self._credentials.read_again)
                elif drain or obeyed.hastens(received):
                    what = "draining, a second signal stops at once" if drain else "stopping at once"
                    log.line(logging.INFO, f"{received.name}: {what} [CMD-8]")
                    self.stop(drain=drain)
                    if not drain:
                        return  # a third one does what it does by default
                    drain = False

    # --- while it runs ------------------------------------------------------------------------------------------------

    def send_message(self, data: dict[str, Any]) -> str:
        """Send the platform a message, now or as soon as there is a link; returns its id.

        It goes out again on every next link until the platform has read it, which `MessageSettled` tells (CMD-3); a
        platform may therefore see it twice, and knows it by its id. Raises OutboxFullError, and sends nothing, while
        1024 messages or 16 MiB of them are not settled; LocalProtocolError if the agent does not run, or `data` is no
        JSON object or too large.
        """
        driver = self._running
        return driver.threads.call(partial(_send_message, driver, data))

    async def deliver_message(self, data: dict[str, Any]) -> str:
        """Send the platform a message as `send_message` does, and wait until it has read it; returns its id.

        A wait that is cancelled does not take the message back. Raises NotSettledError if the agent stops before, or
        drops the message because it cost every link it was sent on (CMD-11); else as `send_message` does.
        """
        return await self._running_here.deliver(data)

    def set_status(self, status: Literal["online", "busy", "error"]) -> None:
        """Declare the agent's status (STAT-1). Raises LocalProtocolError if it does not run."""
        driver = self._running
        driver.threads.call(partial(_set_status, driver, status))

    async def details(self) -> dict[str, Any]:
        """The agent as the platform shows it: with its status, capabilities and metrics (STAT-2).

        Raises CallError if the platform refuses, does not answer within `call_timeout`, or the agent stops meanwhile;
        LocalProtocolError if the agent does not run, or 64 calls wait already. A wait that is cancelled ends the call.
        """
        driver = self._running_here
        return await driver.call(driver.protocol.get_details)

    async def put_status(self, status: AgentStatus) -> dict[str, Any]:
        """Set the status that the platform shows by a request of its own, and return the agent as it is shown then
        (STAT-2). Heartbeats go on to say what `set_status` declared. Raises as `details` does.
        """
        driver = self._running_here
        return await driver.call(partial(driver.protocol.put_status, status))

    @property
    def _running(self) -> AgentDriver:
        if self._driver is None:
            raise LocalProtocolError("the agent does not run")
        return self._driver

    @property
    def _running_here(self) -> AgentDriver:
        driver = self._running
        if not driver.threads.is_this_loop:
            raise LocalProtocolError("this is awaited in the event loop that runs the agent, not in another")
        return driver


def _send_message(driver: AgentDriver, data: dict[str, Any]) -> str:
    with driver.turn() as now:
        return driver.protocol.send_message(data, now)


def _set_status(driver: AgentDriver, status: Literal["online", "busy", "error"]) -> None:
    with driver.turn() as now:
        driver.protocol.set_status(status, now)
