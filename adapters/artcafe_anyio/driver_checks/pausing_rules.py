"""The rule of `check_driver` on pausing: an agent reads no more while it owes too many replies to a peer that does not
read. A driver may read on.
"""

from __future__ import annotations

import contextlib
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from artcafe_anyio.driver_checks.closing_rules import LARGE_BYTES, is_cut_off, stuffed

if TYPE_CHECKING:
    from collections.abc import Generator

    from artcafe_anyio.driver_checks.peer import Peer
    from artcafe_anyio.driver_checks.stage import Examination, Stage

REPLIES: Final = 256
"""With so many replies that wait an agent asks for `PauseReading`."""
_MORE: Final = 200
_STALL_S: Final = 3.0


def paused(check: Examination) -> None:
    """Reading on, and both ways to close a connection meanwhile."""
    for look in (_resumed, _stalled, _closed):
        check.attempt(partial(look, check))


@contextlib.contextmanager
def _nearly_paused(check: Examination, **config: Any) -> Generator[tuple[Peer, Stage, list[str]]]:
    """As `stuffed`; one more command pauses reading. Gives the ids of those that the agent has refused."""
    with stuffed(check, max_concurrent=1, max_queued=0, **config) as (peer, stage):
        stage.kept_command()
        sent = peer.command("answer", count=REPLIES - 1)
        _are_refused(check, stage, REPLIES - 1)
        yield peer, stage, sent


def _are_refused(check: Examination, stage: Stage, count: int) -> None:
    refused = stage.until(lambda: stage.count("CommandRefused") >= count, turns=5)
    check.must(refused, f"{count} commands to be refused while another runs", stage.story())


def _resumed(check: Examination) -> None:
    """A peer that sends on, and reads in the end."""
    with _nearly_paused(check) as (peer, stage, sent):
        sent += peer.command("answer", count=1 + _MORE)  # in one piece: reading ends within it
        _are_refused(check, stage, REPLIES)
        sent += peer.command("answer", count=_MORE)
        peer.connections[0].reads_at_most = math.inf

        def answered() -> list[str]:
            return [each["command_id"] for each in peer.responses() if each["status"] == "error"]

        stage.until_stuck(lambda: len(answered()) >= len(sent), lambda: len(peer.responses()))
        sent += peer.command("answer")  # behind what may have been told twice
        stage.until_stuck(lambda: sent[-1] in answered(), lambda: len(peer.responses()))
        ids = answered()
        expected = f"{len(sent)} commands, some of which came while reading was paused, to be answered once each"
        came = f"{len(set(ids))} were, by {len(ids)} answers; {stage.story()}"
        check.expect(sorted(ids) == sorted(sent), expected, came)


def _stalled(check: Examination) -> None:
    """A peer that never reads."""
    with _nearly_paused(check, write_stall_timeout=_STALL_S) as (peer, stage, _):
        peer.command("answer", count=1 + _MORE)
        _are_refused(check, stage, REPLIES)
        told = stage.offline(after_s=_STALL_S)
        expected = f"a link to be given up {_STALL_S:g} s (write_stall_timeout) after bytes stopped leaving"
        check.must(told is not None, expected + " although reading is paused", stage.story())
        is_cut_off(check, peer, stage, "after writing has stalled while reading was paused")
        stage.call_soon(lambda application: application.stop(drain=False))
        stage.ends("after stop(drain=False), although a link was aborted while its reading was paused")


def _closed(check: Examination) -> None:
    """A close frame right behind what pauses reading."""
    with _nearly_paused(check, close_timeout=60.0) as (peer, stage, _):
        with peer.lock:
            peer.command("answer")
            peer.close(1001)
        told = stage.offline()
        check.must(told is not None, "a close frame to be told at once", stage.story())
        first = peer.connections[0]
        first.reads_at_most = math.inf
        stage.until_stuck(lambda: first.has_said_goodbye or first.ended is not None, lambda: first.received_bytes)
        whole = [len(each) for each in peer.results().values()] == [LARGE_BYTES]
        expected = "what was written before `Disconnect` to arrive although reading is paused"
        check.expect(whole and first.has_said_goodbye, expected, f"the connection ended before ({first.ended})")
        stage.call_soon(lambda application: application.stop(drain=False))
        stage.ends("when the peer has closed a connection on which reading was paused when it was to be closed")
