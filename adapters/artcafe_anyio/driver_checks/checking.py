"""`check_driver`, and its table of rules."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from artcafe_anyio.driver_checks import closing_rules, pausing_rules, rules, time_rules
from artcafe_anyio.driver_checks.certificates import Authority
from artcafe_anyio.driver_checks.stage import STOP_CLAUSE, STOP_RULE, BrokenRule, Examination
from artcafe_proto import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from artcafe_anyio.driver_checks.stage import DriverFactory

__all__ = ["BrokenRule", "DRIVER_RULES", "DriverError", "check_driver"]


class DriverError(AssertionError):
    """A driver has broken rules."""

    def __init__(self, broken: tuple[BrokenRule, ...]) -> None:
        super().__init__("\n".join(["the driver breaks these rules:", *map(str, broken)]))
        self.broken: Final = broken
        """All of them; a rule may be there several times, with other expectations."""


class _Rule(NamedTuple):
    clause: str
    look: Callable[[Examination], None]
    moves_data: bool = False
    """Whether it is looked at once more under TLS, whose buffers are of another kind."""


_ONLINE: Final = "an agent comes online"
_RULES: Final[dict[str, _Rule]] = {
    _ONLINE: _Rule("LINK-1", rules.comes_online),
    "TLS is used where it is asked for": _Rule("TOK-4", closing_rules.tls_is_asked_for),
    "certificates are verified": _Rule("TOK-4", closing_rules.tls_is_verified),
    "late answers leave at once": _Rule("CMD-3", time_rules.late_answers),
    STOP_RULE: _Rule(STOP_CLAUSE, time_rules.late_stop),
    "a signer may be slow": _Rule("AUTH-6", rules.slow_signer),
    "a signer that fails is told": _Rule("LINK-3", rules.failing_signer),
    "a handler may raise anything": _Rule("CMD-7", rules.raising_handler),
    "a refused connection is told": _Rule("LINK-3", rules.refused),
    "connecting can be given up, and nothing is left": _Rule("LINK-10", closing_rules.given_up_connecting),
    "ends of connections are noticed": _Rule("LINK-3", rules.ends_of_connections),
    "timers are kept": _Rule("HB-1, TOK-2", time_rules.timers),
    "timers replace one another": _Rule("HB-1", time_rules.timers_replaced),
    "clocks are not mixed up": _Rule("LINK-7", time_rules.clocks),
    "bytes may come one by one": _Rule("LINK-1", rules.small_pieces, moves_data=True),
    "many commands may come at once": _Rule("CMD-3", rules.many_at_once, moves_data=True),
    "what has not left is told": _Rule("LINK-8", closing_rules.slow_reader, moves_data=True),
    "writing that stalls is given up": _Rule("LINK-8", closing_rules.stalled, moves_data=True),
    "an abort waits for nothing": _Rule("LINK-10", closing_rules.aborted, moves_data=True),
    "what was written before a close arrives": _Rule("LINK-8", closing_rules.flushed, moves_data=True),
    "a connection ends with Disconnect": _Rule("LINK-9", closing_rules.closed, moves_data=True),
    "reading can be paused": _Rule("LINK-8", pausing_rules.paused, moves_data=True),
    "idling costs nothing": _Rule("LINK-8", time_rules.idle),
    "events come in one thread": _Rule("LINK-9", rules.one_thread),
}
DRIVER_RULES: Final = tuple(_RULES)
"""What `check_driver` looks at, by its name."""


AT_ONCE_S: Final = 2.0
"""Some hundred times what a driver takes for what it does at once, and a fifth of what one takes that waits for its
next timer instead (LONGEST_SLEEP_S)."""


def check_driver(factory: DriverFactory, *, only: Collection[str] = DRIVER_RULES, at_once_s: float = AT_ONCE_S) -> None:
    """Put a driver of an agent to every rule, or to some, against a platform on a loopback port.

    Raises DriverError that lists all that is broken: the rule, what was expected, what came, and the clause. If the
    agent does not even come online, nothing else is looked at. With a good driver it takes some 45 s. Drivers run in
    threads, one after another; one that does not end when it has to is left behind there.

    Late answers, `stop` and the end of a TLS handshake that was given up must be seen within 0.1 s, in two of at most
    five tries. All else that is to be done at once may take `at_once_s` seconds. The default suits slow machines, and
    finds what waits for a timer of the agent.

    Raises LocalProtocolError for a name in `only` that no rule has.
    """
    if unknown := set(only) - _RULES.keys():
        raise LocalProtocolError(f"expected names of DRIVER_RULES, not {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="check_driver-") as folder:
        examination = Examination(factory, Authority(Path(folder)), at_once_s)
        for name, rule in _RULES.items():
            if name in only:
                examination.rule, examination.clause = name, rule.clause
                for examination.is_tls in (False, True) if rule.moves_data else (False,):
                    examination.attempt(partial(rule.look, examination))
                if name == _ONLINE and examination.broken:
                    break
    if examination.broken:
        raise DriverError(tuple(examination.broken))
