"""What is a function's own failure, and what comes from outside."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from artcafe_anyio.calling import CallFailed, call_here


def interrupted() -> None:
    raise KeyboardInterrupt


def interrupted_within() -> None:
    raise BaseExceptionGroup("of a nursery", [ValueError(), BaseExceptionGroup("", [KeyboardInterrupt()])])


@pytest.mark.parametrize("function", [interrupted, interrupted_within])
def test_cmd_7_an_interrupt_of_the_main_thread_is_a_signal_and_elsewhere_the_functions_own(function: object) -> None:
    assert callable(function)
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        call_here(function)
    told: list[str] = []

    def work() -> None:
        with suppress(KeyboardInterrupt, BaseExceptionGroup):
            try:
                call_here(function)
            except CallFailed as failed:
                told.append(type(failed.error).__name__)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told in (["KeyboardInterrupt"], ["BaseExceptionGroup"])
