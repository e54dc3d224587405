"""A driver at work: run in a thread of its own, against a peer, with an application that does as commands say."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_anyio.driver_checks.certificates import HOST, Authority
from artcafe_anyio.driver_checks.peer import Peer
from artcafe_proto import AgentConfig, AgentMachine, LocalProtocolError, SigningKey
from artcafe_proto.events import CommandReceived, Offline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from types import FrameType, TracebackType

    from artcafe_proto.events import AgentEvent
    from artcafe_proto.messages import FinalCode

__all__ = ["Application", "DriverFactory", "DriverUnderTest"]

STOP_RULE: Final = "stop is obeyed at once"
STOP_CLAUSE: Final = "LINK-10"
_STANDARD_LIBRARY: Final = os.path.dirname(os.__file__) + os.sep
_POLL_S: Final = 0.005
_PROGRESS_S: Final = 120.0
"""How long a rule may go on, although there is progress."""


class Application(Protocol):
    """What the application of an agent calls, in the driver's thread. `artcafe_proto.Driver` is one."""

    def respond(self, command_id: str, result: object) -> object:
        """Answer a command, as `AgentProtocol.respond`."""
        ...

    def fail(self, command_id: str, code: FinalCode, reason: str) -> object:
        """Answer a command with an error, as `AgentProtocol.fail`."""
        ...

    def progress(self, command_id: str, percent: float) -> object:
        """Report how far a command is, as `AgentProtocol.progress`."""
        ...

    def stop(self, *, drain: bool = True) -> object:
        """End for good, as `AgentProtocol.stop`."""
        ...


class DriverUnderTest(Protocol):
    """A driver with its event loop, for one life of an agent."""

    def run(self) -> object:
        """Start the agent; return when it has stopped and all its connections are closed. Called in a thread."""
        ...

    def call_soon(self, callback: Callable[[Application], object], /) -> object:
        """Have the event loop call `callback`, as an application would. Called from another thread, while `run` runs.

        As long as there is no event loop yet it may raise anything, and is called again.
        """
        ...


class DriverFactory(Protocol):
    """Makes the driver under test."""

    def __call__(
        self,
        config: AgentConfig,
        sign: Callable[[bytes], bytes],
        handle: Callable[[Application, AgentEvent], object],
        ca_file: Path,
        /,
    ) -> DriverUnderTest:
        """A driver of the agent `config`, which trusts the authorities in `ca_file` for TLS.

        `sign` takes the bytes of a challenge and returns those of the signature. `handle` is called with every event of
        the agent; what it raises is the handler's failure.
        """
        ...


class BrokenRule(NamedTuple):
    """A rule that a driver has broken."""

    rule: str
    expected: str
    came: str
    clause: str

    def __str__(self) -> str:
        return f"{self.rule}: expected {self.expected}; {self.came} [{self.clause}]"


class GaveUpError(Exception):
    """What follows in a rule cannot be looked at; what is broken has been said."""


class Examination:
    """What is found out about one driver."""

    def __init__(self, factory: DriverFactory, authority: Authority, at_once_s: float) -> None:
        self.factory: Final = factory
        self.at_once_s: Final = at_once_s
        """What a driver does at once is there within this time; what takes some turns, within five times as much."""
        self.authority: Final = authority
        """Whom the driver trusts."""
        self.broken: list[BrokenRule] = []
        self.rule: str = ""
        """The one that is looked at, and its clause."""
        self.clause: str = ""
        self.is_tls = False
        """Whether it is looked at under TLS."""

    @contextmanager
    def as_rule(self, rule: str, clause: str) -> Generator[None]:
        """What is broken in this block breaks another rule."""
        before = self.rule, self.clause
        self.rule, self.clause = rule, clause
        try:
            yield
        finally:
            self.rule, self.clause = before

    def attempt(self, look: Callable[[], object]) -> None:
        """Look at something, as far as that makes sense."""
        try:
            look()
        except LocalProtocolError as error:  # of the peer, which has no link any more
            self.expect(False, "the link to stay up", str(error))
        except GaveUpError:
            pass

    def expect(self, holds: bool, expected: str, came: str) -> bool:
        """What must hold; returns whether it does."""
        if not holds:
            broken = BrokenRule(self.rule, expected + " (under TLS)" * self.is_tls, came, self.clause)
            if broken not in self.broken:
                self.broken.append(broken)
        return holds

    def give_up_unless(self, holds: bool) -> None:
        """Raise GaveUpError: what is broken has been said."""
        if not holds:
            raise GaveUpError

    def must(self, holds: bool, expected: str, came: str) -> None:
        """What must hold for the rest of a rule to make sense. Raises GaveUpError."""
        self.give_up_unless(self.expect(holds, expected, came))

    def peer(self, **options: Any) -> Peer:
        """A platform, under TLS if the rule is looked at under TLS."""
        return Peer(tls=self.authority.context() if self.is_tls else None, **options)

    def stage(self, peer: Peer, **options: Any) -> Stage:
        """A driver that talks to `peer`."""
        return Stage(self, peer, **options)


class Stage:
    """Runs a driver while its `with` block runs. At its end the agent is stopped, and the driver has to end."""

    def __init__(
        self,
        examination: Examination,
        peer: Peer,
        *,
        tls: bool = False,
        sign: Callable[[bytes], bytes] | None = None,
        config: Mapping[str, Any] | None = None,
        raises: Mapping[str, BaseException] | None = None,
        counts_timers: bool = False,
    ) -> None:
        """`raises` is what the handler of a command raises, by the name that the command gives, and that of the first
        event of a class, by its name.
        """
        self.events: list[AgentEvent] = []
        self.kept: list[str] = []
        """Ids of commands that wait for their answer."""
        self.threads: set[int] = set()
        """Those in which `handle` was called."""
        self.timer_calls: int = 0
        """How often the driver has called `handle_timer`, if that is counted."""
        self.run_thread: Final = threading.Thread(target=self._run, name="check_driver: the driver", daemon=True)
        self._examination = examination
        self._counts_timers = counts_timers
        self._raises = dict(raises or {})
        self._error: BaseException | None = None
        endpoint = f"https://{HOST}:{peer.port}" if tls or peer.is_tls else f"http://127.0.0.1:{peer.port}"
        settings: dict[str, Any] = {"agent_id": "agent-1", "tenant_id": "tenant-1", "api_endpoint": endpoint}
        self._config = AgentConfig(**settings | dict(config or {}))
        self._sign = sign or signature_of
        self._peer = peer
        self._driver: DriverUnderTest | None = None
        self._hangs = False

    def __enter__(self) -> Self:
        self.run_thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        examination = self._examination
        if self.run_thread.is_alive() and not self._hangs:
            with examination.as_rule(STOP_RULE, STOP_CLAUSE):  # whatever is looked at here
                self.call_soon(lambda application: application.stop(drain=False))
                self.ends("after stop(drain=False)")
        if self._error is not None:
            error = f"{type(self._error).__name__}: {self._error}"
            examination.expect(False, "`run` to return", f"it raised {error}")

    # --- what is waited for -------------------------------------------------------------------------------------------

    def until(self, holds: Callable[[], bool], *, turns: int = 1, after_s: float = 0.0) -> bool:
        """Wait until it holds, `after_s` and so many times `at_once_s` at most; returns whether it does."""
        ends_at = time.monotonic() + after_s + turns * self._examination.at_once_s
        while not holds():
            if time.monotonic() > ends_at:
                return holds()
            time.sleep(_POLL_S)
        return True

    def until_stuck(self, holds: Callable[[], bool], progress: Callable[[], object]) -> bool:
        """Wait until it holds, for as long as there is progress, 120 s at most; returns whether it does."""
        before, ends_at = None, time.monotonic() + _PROGRESS_S
        while (now := progress()) != before and time.monotonic() < ends_at:
            before = now
            if self.until(holds, turns=5):
                return True
        return False

    def is_online(self, *, after_s: float = 0.0) -> None:
        """The agent must come online. Raises GaveUpError."""
        peer = self._peer
        self.until(lambda: peer.is_online or not self.run_thread.is_alive(), turns=5, after_s=after_s)
        self._examination.must(peer.is_online, "the agent to come online", self.story())

    def ends(self, when: str, *, after_s: float = 0.0) -> bool:
        """`run` must return at once, or after so long."""
        self.run_thread.join(after_s + self._examination.at_once_s)
        self._hangs = self.run_thread.is_alive()
        came = f"it still runs {self._examination.at_once_s:g} s later; the driver is {self._place()}"
        return self._examination.expect(not self._hangs, f"`run` to return {when}", came)

    def kept_command(self, *, timeout: float | None = None) -> str:
        """Send a command that `handle` does not answer; returns its id once it is there. Raises GaveUpError."""
        (command_id,) = self._peer.command("keep", timeout=timeout)
        told = self.until(lambda: command_id in self.kept)
        self._examination.must(told, "a command to be told to `handle`", self.story())
        return command_id

    def took(self, call: Callable[[Application], object], is_seen: Callable[[], bool]) -> float | None:
        """The seconds from such a call until something is seen, None if that is not at once. Raises GaveUpError."""
        began_at = time.monotonic()
        self.call_soon(call)
        return time.monotonic() - began_at if self.until(is_seen) else None

    def answer(self, command_id: str) -> dict[str, Any]:
        """The response to a command, empty if it does not come soon."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [each for each in self._peer.responses() if each["command_id"] == command_id]
            return bool(found)

        return found[0] if self.until(is_there) else {}

    def offline(self, *, after_s: float = 0.0) -> Offline | None:
        """The first end of an attempt or a link that is told, if it is in time, as of `until`."""
        self.until(lambda: self.was_offline, after_s=after_s)
        return self._offline_events[0] if self.was_offline else None

    def count(self, name: str) -> int:
        """How many events of this name were told."""
        return sum(type(event).__name__ == name for event in self.events)

    @property
    def was_offline(self) -> bool:
        """Whether an attempt or a link has ended so far."""
        return bool(self._offline_events)

    @property
    def _offline_events(self) -> list[Offline]:
        return [event for event in self.events if isinstance(event, Offline)]

    def story(self) -> str:
        """For people: what has happened, in short."""
        said = [str(self._peer.violations[-1])] if self._peer.violations else []
        said += [f"the agent says {event.reason!r}" for event in self._offline_events[-1:]]
        if self._error is not None:
            said.append(f"`run` raised {type(self._error).__name__}: {self._error}")
        elif not self.run_thread.is_alive():
            said.append("`run` has returned")
        what = f"{len(self._peer.connections)} connections and {len(self._peer.scripted.requests)} requests came"
        return "; ".join([what, *said])

    # --- what the driver is told --------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[[Application], object]) -> None:
        """As `DriverUnderTest.call_soon`; waits for the driver to begin. Raises GaveUpError if it does not work."""
        examination = self._examination
        ends_at = time.monotonic() + examination.at_once_s
        errors: list[Exception] = []

        def call() -> None:
            while self.run_thread.is_alive():
                try:
                    assert self._driver is not None, "there is no driver yet"
                    self._driver.call_soon(callback)
                except Exception as error:
                    errors[:] = [error]
                else:
                    return
                if time.monotonic() > ends_at:
                    return
                time.sleep(_POLL_S)
                errors.clear()

        caller = threading.Thread(target=call, name="check_driver: the application", daemon=True)
        caller.start()
        caller.join(examination.at_once_s + 10 * _POLL_S)
        if self.run_thread.is_alive() and (errors or caller.is_alive()):
            self._hangs = True
            came = f"it has not returned {examination.at_once_s:g} s later"
            if errors:
                came = f"it raised {type(errors[0]).__name__}: {errors[0]}"
            examination.must(False, "`call_soon` to work while `run` runs", f"{came}; the driver is {self._place()}")

    def _place(self) -> str:
        """For people: where the driver's thread is."""
        frame = sys._current_frames().get(self.run_thread.ident or 0)  # pyright: ignore[reportPrivateUsage]
        while frame is not None and frame.f_code.co_filename.startswith(_STANDARD_LIBRARY):
            frame = frame.f_back
        if frame is None:
            return "at its end"
        code = frame.f_code
        return f"in `{code.co_qualname}` ({Path(code.co_filename).name}, line {frame.f_lineno})"

    def _run(self) -> None:
        if self._counts_timers:
            sys.setprofile(self._count)
        try:
            examination = self._examination
            self._driver = examination.factory(self._config, self._sign, self._handle, examination.authority.ca_file)
            self._driver.run()
        except BaseException as error:
            self._error = error

    def _count(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is _HANDLE_TIMER:
            self.timer_calls += 1

    def _handle(self, application: Application, event: AgentEvent) -> None:
        self.threads.add(threading.get_ident())
        self.events.append(event)
        if isinstance(event, CommandReceived):
            self._obey(application, event.command_id, event.args)
        elif (name := type(event).__name__) in self._raises:
            raise self._raises.pop(name)

    def _obey(self, application: Application, command_id: str, args: dict[str, Any]) -> None:
        match args["do"]:
            case "answer":
                application.respond(command_id, "x" * args.get("nbytes", 1))
            case "raise":
                raise self._raises[args["what"]]
            case _:
                self.kept.append(command_id)


_HANDLE_TIMER: Final = AgentMachine.handle_timer.__code__
_KEY: Final = SigningKey(Ed25519PrivateKey.generate())


def signature_of(challenge: bytes) -> bytes:
    """What a good signer answers."""
    return _KEY.sign(challenge, "ssh")
