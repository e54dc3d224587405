"""The rules of `check_driver` on time: what is done at once, what is due, and what is not."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from artcafe_anyio.driver_checks.peer import Peer
from artcafe_anyio.driver_checks.resources import processor_time_of_idling
from artcafe_proto.events import CommandReceived

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_anyio.driver_checks.stage import Application, Examination, Stage

_SEEN_S: Final = 0.1
"""What an application does is seen by the peer within this time."""
_TIMEOUT_S: Final = 300.0
"""Of a command that names none (CMD-4)."""
_TRIES, _IN_TIME = 5, 2
"""So many must be in time: a busy computer delays some of them, a driver that waits for another turn nearly all."""


def seen_in_time(check: Examination, what: str, try_once: Callable[[], float | None]) -> None:
    """`what` must be seen within 0.1 s. `try_once` returns the seconds that took, None if it was not seen at once."""
    late: list[float] = []
    in_time = 0
    while in_time < _IN_TIME:
        took_s = try_once()
        check.must(took_s is not None, f"{what} to be seen at once", f"it was not {check.at_once_s:g} s later")
        if took_s is not None and took_s > _SEEN_S:
            late.append(took_s)
            came = f"{len(late)} of {len(late) + in_time} times it took {min(late):.2f} s or more"
            check.must(len(late) <= _TRIES - _IN_TIME, f"{what} to be seen within {_SEEN_S:g} s", came)
        else:
            in_time += 1


def late_answers(check: Examination) -> None:
    """Answers that `handle` did not give before it returned."""
    with Peer() as peer, check.stage(peer) as stage:
        stage.is_online()
        for name, kind, call in (
            ("respond", "response", _respond),
            ("fail", "response", _fail),
            ("progress", "status", _progress),
        ):
            check.attempt(partial(seen_in_time, check, f"`{name}`", partial(_call_late, peer, stage, kind, call)))


def _call_late(peer: Peer, stage: Stage, kind: str, call: Callable[[Application, str], object]) -> float | None:
    command_id = stage.kept_command()
    before = len(peer.scripted.received(kind))
    return stage.took(
        lambda application: call(application, command_id), lambda: len(peer.scripted.received(kind)) > before
    )


def _respond(application: Application, command_id: str) -> None:
    application.respond(command_id, 1)


def _fail(application: Application, command_id: str) -> None:
    application.fail(command_id, "handler_error", "no")


def _progress(application: Application, command_id: str) -> None:
    application.progress(command_id, 50.0)


def late_stop(check: Examination) -> None:
    """`stop` from elsewhere than `handle`."""
    for drain, what in ((True, "stop()"), (False, "stop(drain=False)")):
        check.attempt(partial(seen_in_time, check, what, partial(_stop_once, check, what, drain=drain)))


def _stop_once(check: Examination, what: str, *, drain: bool) -> float | None:
    with Peer() as peer, check.stage(peer) as stage:
        stage.is_online()

        def is_seen() -> bool:
            says_offline = any(each["data"]["status"] == "offline" for each in peer.scripted.received("status"))
            return says_offline if drain else peer.connections[0].ended is not None

        took_s = stage.took(lambda application: application.stop(drain=drain), is_seen)
        stage.ends(f"after {what} on an idle link")
        return took_s


def timers(check: Examination) -> None:
    """What is due by time alone: heartbeats, and the renewal of a token, on a connection of its own beside the link."""
    with Peer(token_life_s=2.0) as peer, check.stage(peer, config={"heartbeat_interval": 0.2}) as stage:
        stage.is_online()
        beats = stage.until(lambda: len(peer.scripted.received("heartbeat")) >= 5, after_s=1.0)
        expected = "heartbeats every 0.2 s on an idle link"
        check.expect(beats, expected, f"{len(peer.scripted.received('heartbeat'))} came in {1.0 + check.at_once_s:g} s")
        renewed = stage.until(lambda: stage.count("TokenRenewed") > 0, after_s=2.0)
        check.expect(renewed, "a token to be renewed over a second connection", stage.story())


def clocks(check: Examination) -> None:
    """The two times of an `Instant`: of the day, and monotonic, which nobody sets."""
    with Peer() as peer, check.stage(peer) as stage:
        stage.is_online()
        stage.kept_command()
        now = time.time()
        stamps: list[Any] = [message["timestamp"] for message in peer.scripted.received("heartbeat")]
        off_by_s = abs(datetime.fromisoformat(stamps[0]).timestamp() - now)
        check.expect(off_by_s < _ABOUT_S, "timestamps of the time of day", f"they are off by {off_by_s:.0f} s")
        monos = [each.deadline - _TIMEOUT_S for each in stage.events if isinstance(each, CommandReceived)]
        is_wall = any(abs(mono - now) < _ABOUT_S for mono in monos)
        check.expect(not is_wall, "monotonic times of a clock that nobody sets", "they are those of the time of day")


_ABOUT_S: Final = 60.0


def timers_replaced(check: Examination) -> None:
    """Commands of which each is due before those that came before it, and is answered long before that."""
    found = [0, 0]
    for _ in range(3):  # a busy computer shifts turns from one count to the other
        with Peer() as peer, check.stage(peer, counts_timers=True) as stage:
            stage.is_online()
            found[0] = _timer_calls(stage, _TIMERS_S)
            ends_at = time.monotonic() + _TIMERS_S
            for number in range(_REPLACED):
                command_id = stage.kept_command(timeout=max(0.1, ends_at - 0.05 * number - time.monotonic()))
                stage.call_soon(lambda application, command_id=command_id: application.respond(command_id, 1))
            found[1] = _timer_calls(stage, ends_at + 0.1 - time.monotonic())
        if found[1] - found[0] < _REPLACED // 2:
            return
    expected = "`handle_timer` not to be called at times that others have replaced"
    came = f"an idle link took {found[0]} calls in {_TIMERS_S:g} s at first, and {found[1]} after {_REPLACED} commands"
    check.expect(False, expected, came)


_REPLACED: Final = 10
_TIMERS_S: Final = 2.0


def _timer_calls(stage: Stage, seconds: float) -> int:
    before = stage.timer_calls
    time.sleep(max(0.0, seconds))
    return stage.timer_calls - before


def idle(check: Examination) -> None:
    """A link on which nothing happens."""
    with Peer() as peer, check.stage(peer) as stage:
        stage.is_online()
        busy_s = processor_time_of_idling()
        expected = "hardly any processor time to be used on an idle link"
        check.expect(busy_s is None, expected, f"{busy_s or 0.0:.2f} s were used in at most 1.5 s")
