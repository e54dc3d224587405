"""The rules of `check_driver` on connections: TLS, levels, closing, and what is left."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_args

from artcafe_anyio.driver_checks.certificates import Flaw
from artcafe_anyio.driver_checks.peer import Peer
from artcafe_anyio.driver_checks.resources import open_descriptors
from artcafe_anyio.driver_checks.time_rules import seen_in_time

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from artcafe_anyio.driver_checks.stage import Examination, Stage

LARGE_BYTES: Final = 6 * 1024 * 1024
"""More than systems take for a peer that does not read."""
_LARGE: Final[dict[str, Any]] = {"max_message_size": 16 * 1024 * 1024}


def tls_is_asked_for(check: Examination) -> None:
    """An https endpoint at which nobody speaks TLS, and one that does."""
    with Peer(is_mute=True) as peer, check.stage(peer, tls=True) as stage:
        stage.until(lambda: any(each.head for each in peer.connections))
        heads = [each.head for each in peer.connections if each.head]
        came = f"{heads[0][:20] if heads else b'nothing'!r} came"
        check.must(heads != [], "a TLS handshake where TLS is asked for", stage.story())
        clear = any(not head.startswith(b"\x16\x03") for head in heads)
        check.must(not clear, "no byte in clear text where TLS is asked for", came)
    with Peer(tls=check.authority.context(), greeting={"do": "answer"}) as peer, check.stage(peer) as stage:
        stage.is_online()
        answered = stage.until(lambda: bool(peer.results()))
        check.expect(answered, "a command to be answered under TLS", stage.story())


def tls_is_verified(check: Examination) -> None:
    """Certificates that must not be trusted."""
    for flaw in get_args(Flaw)[1:]:
        with Peer(tls=check.authority.context(flaw)) as peer, check.stage(peer) as stage:
            told = stage.offline()
            asked = len(peer.scripted.requests)
            expected = f"nothing to be sent to a peer with a certificate {flaw}"
            check.expect(asked == 0, expected, f"{asked} requests came")
            reason = "" if told is None else told.reason
            expected = f"a certificate {flaw} to be told at once, as `tls`"
            check.expect(reason.startswith("cannot connect (tls)"), expected, f"{reason or 'no event'!r} came")


def slow_reader(check: Examination) -> None:
    """16 responses of 900 kB to a peer that reads nothing at first and slowly then."""
    count, nbytes = 16, 900_000
    config = {"heartbeat_interval": 1.0, "write_stall_timeout": 60.0}
    with check.peer() as peer, check.stage(peer, config=config) as stage:
        stage.is_online()
        peer.reads = False
        sent = peer.command("answer", count=count, nbytes=nbytes)
        taken = stage.until(lambda: stage.count("CommandReceived") == count, turns=5)
        check.must(taken, f"{count} commands to be told to `handle` while the peer does not read", stage.story())
        time.sleep(1.3)  # a heartbeat is due; who does not know that the peer does not read has written all before
        peer.pause_s, peer.reads = 0.01, True
        stage.until_stuck(lambda: len(peer.responses()) >= count or stage.was_offline, lambda: len(peer.responses()))
        expected = f"{count} responses of {nbytes} bytes to arrive at a peer that reads slowly, on one link"
        results = peer.results()
        came = f"{len(results)} did; {stage.story()}"
        check.must(len(results) == count and not stage.was_offline, expected, came)
        whole = set(results) == set(sent) and all(len(each) == nbytes for each in results.values())
        check.expect(whole, "them as they were given", "they are not")
        kinds = [message["type"] for message in peer.scripted.messages][1:]  # without the first heartbeat
        before = kinds[: kinds.index("heartbeat")].count("response") if "heartbeat" in kinds else count
        expected = "heartbeats not to wait behind all responses, as `unsent` tells that the peer does not read"
        check.expect(before < count, expected, f"{before} responses came before one")
        peer.pause_s = 0.0
        stage.call_soon(lambda application: application.stop())
        stage.ends("after stop()")


@contextlib.contextmanager
def stuffed(check: Examination, **config: Any) -> Generator[tuple[Peer, Stage]]:
    """A peer that does not read, to whom the driver has written more than the system takes."""
    with check.peer() as peer, check.stage(peer, config=_LARGE | config) as stage:
        stage.is_online()
        link = peer.connections[-1]
        link.reads_at_most = link.received_bytes + 64 * 1024
        peer.command("answer", nbytes=LARGE_BYTES)
        has_begun = stage.until(lambda: link.received_bytes >= link.reads_at_most, turns=5)
        check.must(has_begun, "a large response to begin to arrive", stage.story())
        yield peer, stage


def stalled(check: Examination) -> None:
    """A peer that never reads."""
    with stuffed(check, write_stall_timeout=0.5) as (peer, stage):
        told = stage.offline(after_s=0.5)
        expected = "the link to be given up 0.5 s (write_stall_timeout) after bytes stopped leaving, by `unsent`"
        check.expect(told is not None and told.clause == "LINK-8", expected, stage.story())
        is_cut_off(check, peer, stage, "after writing has stalled")


def aborted(check: Examination) -> None:
    """An agent that is stopped at once while much has not left."""
    with stuffed(check) as (peer, stage):
        stage.call_soon(lambda application: application.stop(drain=False))
        stage.ends("after stop(drain=False) although not all has left")
        is_cut_off(check, peer, stage, "after stop(drain=False)")


def is_cut_off(check: Examination, peer: Peer, stage: Stage, when: str) -> None:
    """The first connection must end at once, without what the driver has not sent."""
    first = peer.connections[0]
    first.reads_at_most = math.inf
    ended = stage.until(lambda: first.ended is not None)
    check.expect(ended, f"the connection to end at once {when}", f"it was open {check.at_once_s:g} s later")
    dropped = first.received_bytes < LARGE_BYTES  # on this connection: the next link brings it once more
    check.expect(dropped, f"what had not left to be dropped {when}", "all of it came")


def flushed(check: Examination) -> None:
    """A link that the peer closes while much has not left."""
    with stuffed(check) as (peer, stage):
        peer.close(1001)
        told = stage.offline()
        check.expect(told is not None, "a close frame to be told at once", stage.story())
        first = peer.connections[0]
        first.reads_at_most = math.inf
        stage.until_stuck(lambda: first.has_said_goodbye or first.ended is not None, lambda: first.received_bytes)
        expected = "what was written before `Disconnect` to arrive, without `abort`"
        whole = [len(each) for each in peer.results().values()] == [LARGE_BYTES]
        check.expect(whole, expected, f"the connection ended before ({first.ended})")
        check.expect(first.has_said_goodbye, "a close frame to be answered by one", f"none came ({first.ended})")


def closed(check: Examination) -> None:
    """A peer that leaves a connection open: the driver has to close it, and to write no more."""
    with check.peer(lingers=True) as peer, check.stage(peer) as stage:
        stage.is_online()
        command_id = stage.kept_command()
        peer.close(1001)
        told = stage.offline()
        check.expect(told is not None, "a close frame to be told at once", stage.story())
        stage.call_soon(lambda application: application.respond(command_id, 1))
        first = peer.connections[0]
        ended = stage.until(lambda: first.ended is not None)
        check.expect(ended, "a connection to be closed after `Disconnect`", f"it was open {check.at_once_s:g} s later")
        came = f"{first.after_goodbye_bytes} bytes came"
        check.expect(not first.after_goodbye_bytes, "nothing on a connection after the close frame", came)
    with check.peer() as peer, check.stage(peer, config={"close_timeout": 0.2}) as stage:
        stage.is_online()
        peer.is_mute = True
        stage.call_soon(lambda application: application.stop())
        stage.ends("0.2 s (close_timeout) after a close frame that nobody answers", after_s=0.2)


def given_up_connecting(check: Examination) -> None:
    """`stop` while a connection is being opened: by TCP, and by TLS. Whatever was opened is closed.

    And `connect_timeout`, after which the agent goes on, so that no end of a loop closes what is left.
    """
    _leaves_nothing(check)
    what = "the end of a connection that was given up in its TLS handshake, while the agent goes on,"
    check.attempt(partial(seen_in_time, check, what, partial(_outlasted_by_a_handshake, check)))
    check.attempt(partial(_outlasted_by_tcp, check))


def _leaves_nothing(check: Examination) -> None:
    for _ in range(2):
        _give_up(check)  # what a first run leaves for later ones is no leak
        _go_and_stop(check)
    had, threads_before = open_descriptors(), set(threading.enumerate())
    for _ in range(2):
        _give_up(check)
        _go_and_stop(check)
    ends_at = time.monotonic() + check.at_once_s
    while (has := open_descriptors()) > had and time.monotonic() < ends_at:
        time.sleep(0.01)  # what closes them may be a thread
    check.expect(has <= had, "no descriptors to be left by runs that have ended", f"{has - had} are left by six")
    left = [each.name for each in threading.enumerate() if each not in threads_before]
    check.expect(len(left) < 4, "no threads to be left by runs that have ended", f"six have left {', '.join(left)}")


def _give_up(check: Examination) -> None:
    with _full_port() as (peer, _), check.stage(peer, config={"connect_timeout": 60.0}) as stage:
        time.sleep(0.2)  # so that it has begun
        stage.call_soon(lambda application: application.stop(drain=False))
        check.give_up_unless(stage.ends("at once after stop(drain=False) while TCP connects"))
    with Peer(is_mute=True) as peer, check.stage(peer, tls=True, config={"connect_timeout": 60.0}) as stage:
        stage.until(lambda: bool(peer.connections))
        stage.call_soon(lambda application: application.stop(drain=False))
        check.give_up_unless(stage.ends("at once after stop(drain=False) in a TLS handshake"))


def _go_and_stop(check: Examination) -> None:
    with Peer() as peer, check.stage(peer) as stage:
        stage.is_online()
        stage.call_soon(lambda application: application.stop())
        stage.ends("after stop() on an idle link")


def _outlasted_by_a_handshake(check: Examination) -> float | None:
    """The seconds from the end of an attempt until its connection has ended at the peer."""
    with Peer(is_mute=True) as peer, check.stage(peer, tls=True, config={"connect_timeout": _TIMEOUT_S}) as stage:
        _times_out(check, stage)
        began_at = time.monotonic()
        has_ended = stage.until(lambda: bool(peer.connections) and peer.connections[0].ended is not None)
        return time.monotonic() - began_at if has_ended else None


def _outlasted_by_tcp(check: Examination) -> None:
    """An attempt that no peer has answered. The system repeats it a second later, if it was not given up."""
    with _full_port() as (peer, take_all), check.stage(peer, config={"connect_timeout": _TIMEOUT_S}) as stage:
        began_at = time.monotonic()
        _times_out(check, stage)
        take_all()
        stage.is_online(after_s=1.0)
        time.sleep(max(0.0, began_at + _REPEATED_S - time.monotonic()))

        def silent() -> int:
            return sum(not each.head and each.ended is None for each in peer.connections)

        expected = "no connection to be made by an attempt that was given up, while the agent goes on"
        check.expect(stage.until(lambda: not silent()), expected, f"{silent()} are open and carry nothing")


def _times_out(check: Examination, stage: Stage) -> None:
    told = stage.offline(after_s=_TIMEOUT_S)
    expected = f"an attempt to be given up {_TIMEOUT_S:g} s (connect_timeout) after it began"
    check.must(told is not None, expected, stage.story())


_TIMEOUT_S: Final = 0.5
_REPEATED_S: Final = 1.5
"""After so long systems have repeated the first packet of a connection that was not answered (RFC 6298)."""


@contextlib.contextmanager
def _full_port() -> Generator[tuple[Peer, Callable[[], None]]]:
    """A port whose connections are not taken, and are so many that no other is answered. The function has them taken
    from then on.
    """
    peer = Peer()
    peer.listen(is_full=True)
    waiting: list[socket.socket] = []
    try:
        for _ in range(16):
            sock = socket.socket()
            waiting.append(sock)
            sock.settimeout(0.1)
            sock.connect(("127.0.0.1", peer.port))
    except OSError:
        pass

    def take_all() -> None:
        for sock in waiting:
            sock.close()
        peer.listen()

    try:
        yield peer, take_all
    finally:
        peer.close_all()
        for sock in waiting:
            sock.close()
