"""Signals that a program obeys: those that end it, and SIGHUP, which ends it or has it read its files again (CMD-8)."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from artcafe_anyio.loops import find_call_soon
from artcafe_proto import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Sequence
    from types import FrameType

    from anyio.streams.memory import MemoryObjectSendStream

_HANG_UP = getattr(signal, "SIGHUP", None)
_MOST_AT_ONCE = 16


class Obeyed:
    """What a program obeys from now on. To be made in the main thread, while the terminal is still there."""

    def __init__(self) -> None:
        self._numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]
        # What nohup has had ignored stays so, and a handler of the program's own is its own affair.
        if _HANG_UP is not None and signal.getsignal(_HANG_UP) is signal.SIG_DFL:
            self._numbers.append(_HANG_UP)
        self._has_terminal = _has_terminal()

    @contextmanager
    def receive(self) -> Generator[AsyncIterator[signal.Signals]]:
        """The signals as they come, until the end of the block."""
        with ExitStack() as stack:
            try:
                signals = stack.enter_context(anyio.open_signal_receiver(*self._numbers))
            except NotImplementedError:  # asyncio on Windows
                signals = stack.enter_context(_receive_by_handlers(self._numbers))
            yield signals

    def reads_again(self, received: signal.Signals) -> bool:
        """Whether this one asks for no end, but for files to be read again."""
        return received == _HANG_UP and not self._has_terminal

    def hastens(self, received: signal.Signals) -> bool:
        """Whether this one, as a second, ends the program at once: a terminal that closes may send several SIGHUPs."""
        return received != _HANG_UP


def check_place_for_signals() -> None:
    """Raise LocalProtocolError where no program of one agent can run: in an event loop, or beside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        raise LocalProtocolError(
            "run obeys signals, which reach the main thread alone: elsewhere use anyio.run(agent.serve)"
        )
    with suppress(RuntimeError):
        find_call_soon()
        raise LocalProtocolError("an event loop runs here already: await agent.serve() in it, or use async with agent")


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


@contextmanager
def _receive_by_handlers(numbers: Sequence[int]) -> Generator[AsyncIterator[signal.Signals]]:
    """What the event loop cannot do by itself."""
    call_soon = find_call_soon()
    send, receive = anyio.create_memory_object_stream[signal.Signals](_MOST_AT_ONCE)

    def handle(number: int, _: FrameType | None) -> None:
        call_soon(partial(_put, send, signal.Signals(number)))

    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        with send, receive:
            yield receive
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _put(send: MemoryObjectSendStream[signal.Signals], received: signal.Signals) -> None:
    with suppress(anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
        send.send_nowait(received)
