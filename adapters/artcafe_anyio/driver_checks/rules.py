"""The rules of `check_driver` on inputs: signers, handlers, ends of connections, bytes."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from artcafe_anyio.driver_checks.peer import Peer
from artcafe_anyio.driver_checks.resources import Said
from artcafe_anyio.driver_checks.stage import signature_of
from artcafe_proto.testing import Raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_anyio.driver_checks.peer import End
    from artcafe_anyio.driver_checks.stage import Examination


def comes_online(check: Examination) -> None:
    """What all else begins with."""
    with Peer() as peer, check.stage(peer) as stage:
        stage.is_online()
        (command_id,) = peer.command("answer")
        answer = stage.answer(command_id)
        check.must(answer.get("status") == "success", "a command to be answered", f"{answer or 'nothing'} came")


def slow_signer(check: Examination) -> None:
    """A signature that takes half a second, and one that comes too late."""

    def sign(challenge: bytes) -> bytes:
        time.sleep(0.5)
        return signature_of(challenge)

    with Peer() as peer, check.stage(peer, sign=sign) as stage:
        stage.is_online(after_s=0.5)
    with Peer() as peer, check.stage(peer, sign=sign, config={"sign_timeout": 0.1}) as stage:
        went_on = stage.until(lambda: peer.is_online or stage.was_offline, after_s=0.5)
        check.expect(went_on, "a link or a failure after a signature that came too late", stage.story())


def failing_signer(check: Examination) -> None:
    """A signer that raises, and such as return what is no signature."""

    def raises(challenge: bytes) -> bytes:
        raise ValueError("the signer of check_driver fails")

    answers: dict[str, Callable[[bytes], bytes]] = {
        "raises ValueError": raises,
        "returns None": lambda challenge: cast("bytes", None),
        "returns a str": lambda challenge: cast("bytes", "signature"),
    }
    said = Said()
    for what, sign in answers.items():
        with Peer() as peer, said.heard(), check.stage(peer, sign=sign) as stage:
            told = stage.offline()
            expected = f"a signer that {what} to be told at once as a failure, which waits 5 to 6 s"
            if check.expect(told is not None and told.retry_at is not None, expected, stage.story()):
                check.expect(stage.run_thread.is_alive(), expected, stage.story())
    expected, came = "ValueError of a signer to be logged or written to standard error", "it was swallowed"
    check.expect(said.has("the signer of check_driver fails"), expected, came)


def raising_handler(check: Examination) -> None:
    """Commands whose handlers raise, and an event's."""
    said = Said()
    raised: dict[str, BaseException] = {
        each.__name__: each(f"check_driver: a handler's {each.__name__}")
        for each in (OSError, ValueError, TimeoutError, SystemExit)
    }
    raises = raised | {"Online": ValueError("check_driver: a handler of Online")}
    with said.heard(), Peer() as peer, check.stage(peer, raises=raises) as stage:
        stage.is_online()
        expected, came = (
            "ValueError of a handler of Online to be logged or written to standard error",
            "it was swallowed",
        )
        check.expect(stage.until(lambda: said.has(str(raises["Online"]))), expected, came)
        for name in raised:
            (command_id,) = peer.command("raise", what=name)
            answer = stage.answer(command_id)
            expected = f"handler_error for a command whose handler raised {name}"
            check.expect(answer.get("code") == "handler_error", expected, f"{answer or 'nothing'} came")
            expected, came = f"{name} of a handler to be logged or written to standard error", "it was swallowed"
            check.expect(stage.until(lambda name=name: said.has(str(raised[name]))), expected, came)
            (command_id,) = peer.command("answer")
            expected = f"the next command to be answered after {name}"
            check.must(stage.answer(command_id).get("status") == "success", expected, stage.story())
        ends = len(peer.connections) - 1
        check.expect(ends == 0, "a link to outlive its handlers' errors", f"it ended {ends} times")


def ends_of_connections(check: Examination) -> None:
    """However a connection ends, it is noticed at once, and the next attempt follows."""
    half = Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    cases: list[tuple[str, End, tuple[Raw, ...], bool]] = [
        ("a FIN in a response", "fin", (half,), False),
        ("a FIN on a link", "fin", (), False),
        ("a FIN on a link under TLS", "fin", (), True),
        ("a reset of a link", "reset", (), False),
        ("a half-close of a link", "half-close", (), False),
    ]
    for case in cases:
        check.attempt(partial(_end, check, *case))


def _end(check: Examination, what: str, how: End, script: tuple[Raw, ...], tls: bool) -> None:
    context = check.authority.context() if tls else None
    with Peer(*script, tls=context) as peer, check.stage(peer, tls=tls) as stage:
        has_begun = stage.until(lambda: bool(peer.scripted.requests) if script else peer.is_online, turns=5)
        check.must(has_begun, "a request" if script else "the agent to come online", stage.story())
        connection = peer.connections[0]
        connection.end(how)
        came = f"no event came in {check.at_once_s:g} s"
        if check.expect(stage.offline() is not None, f"{what} to be told at once", came):
            came_back = stage.until(lambda: peer.is_online and len(peer.connections) > 1, after_s=1.0, turns=5)
            check.expect(came_back, f"the next attempt 0.5 to 1 s after {what}", stage.story())
        if how == "half-close":
            ended = stage.until(lambda: connection.ended is not None)
            came = f"it was open {check.at_once_s:g} s later"
            check.expect(ended, "the driver to close its side after a half-close", came)


def refused(check: Examination) -> None:
    """A platform that is not there yet."""
    peer = Peer()
    with check.stage(peer) as stage:
        told = stage.offline()
        reason = "" if told is None else told.reason
        expected, came = "a refused connection to be told at once, as `refused`", f"{reason or 'no event'!r} came"
        check.expect(reason.startswith("cannot connect (refused)"), expected, came)
        with peer:
            back = stage.until(lambda: peer.is_online, after_s=1.0, turns=5)
            check.expect(back, "the agent online when the platform is there", stage.story())
            stage.call_soon(lambda application: application.stop(drain=False))
            stage.ends("after stop(drain=False)")


def small_pieces(check: Examination) -> None:
    """Bytes as they may come: one by one."""
    with check.peer(piece_bytes=1, greeting={"do": "answer"}) as peer, check.stage(peer) as stage:
        stage.is_online()
        came = stage.until(lambda: bool(peer.results()), turns=5)
        check.expect(came, "a command in pieces of one byte to be answered", stage.story())


def many_at_once(check: Examination) -> None:
    """A large one alone, and many together."""
    with check.peer() as peer, check.stage(peer) as stage:
        stage.is_online()
        (command_id,) = peer.command("answer", what="x" * _RECORD_BYTES)
        is_answered = bool(stage.answer(command_id))
        check.expect(is_answered, f"a command of {_RECORD_BYTES} bytes to be answered at once", stage.story())
    with check.peer() as peer, check.stage(peer) as stage:
        stage.is_online()
        sent = set(peer.command("answer", count=_MANY))
        answered = set[str]()

        def is_done() -> bool:
            answered.update(each["command_id"] for each in peer.responses())
            return sent <= answered

        came = stage.until_stuck(is_done, lambda: len(answered))
        check.expect(came, f"{_MANY} commands that come at once to be answered", f"{len(answered)} were")


_MANY: Final = 10_000
_RECORD_BYTES: Final = 12_000
"""Less than the 16 KiB of a record of TLS: if a driver leaves a part of it there, nothing else comes to push it."""


def one_thread(check: Examination) -> None:
    """Whatever happens, `handle` is called in one thread."""
    with Peer() as peer, check.stage(peer) as stage:
        stage.is_online()
        peer.command("answer")
        command_id = stage.kept_command()
        where: list[int] = []
        stage.call_soon(lambda application: where.append(threading.get_ident()))
        stage.until(lambda: bool(where))
        stage.call_soon(lambda application: application.respond(command_id, 1))
        if peer.link is not None:
            peer.link.end("reset")
        stage.offline()
        expected = "`handle` and `call_soon`'s callback to be called in the thread of `run` alone"
        threads = stage.threads | set(where)
        check.expect(
            threads == {stage.run_thread.ident}, expected, f"they were in {len(threads)} threads or in another"
        )
