"""Mutants that no test can kill, each with its reason; `tests/mutation.py` looks whether they exist and survive."""

from __future__ import annotations

from typing import Final, NamedTuple


class Equivalent(NamedTuple):
    """One change of `function`, a dotted name: the lines `old` become `new`, and nobody can tell."""

    function: str
    old: str
    new: str
    reason: str


_HTTP: Final = "the end of a connection that is no link is told to nobody, so neither is its reason"
_FALSE: Final = "None is as false as False"
_CLAUSE: Final = "an answer shows code and reason, not the clause"
_LEFT: Final = "the link was left when its closing began; the operator was told then"
_DROPPED: Final = "the response it is the reason of is dropped with the agent"
_DONE: Final = "nothing runs or waits any more then, so nothing is answered at that time"
_CASE: Final = "the same in either case"
_EMPTY: Final = "None is as empty as no text"
_CODE: Final = "what a bad message breaks is told by reason and clause; the code is for what ends a link"
_IMPOSSIBLE: Final = "what cannot happen says nothing, whatever its text or its branch"

EQUIVALENTS: Final[tuple[Equivalent, ...]] = (
    Equivalent(
        "artcafe_proto.agent.rules.JointRules._drain_timed_out",
        "self.finish(now)",
        "self.finish(None)",
        _DONE,
    ),
    Equivalent(
        "artcafe_proto.agent.rules.JointRules.lose_link",
        "self.finish(now)",
        "self.finish(None)",
        _DONE,
    ),
    Equivalent(
        "artcafe_proto.agent.rules.JointRules.finish",
        'desk.cancel_running("the agent stopped", now)',
        'desk.cancel_running("XXthe agent stoppedXX", now)',
        _DROPPED,
    ),
    Equivalent(
        "artcafe_proto.agent.rules.JointRules.finish",
        'desk.cancel_running("the agent stopped", now)',
        'desk.cancel_running("THE AGENT STOPPED", now)',
        _DROPPED,
    ),
    Equivalent(
        "artcafe_proto.platform.registry.Registry.tenant_of",
        'return self._state.tenant_of(sha256(token.encode("utf-8", "surrogatepass")).digest())',
        'return self._state.tenant_of(sha256(token.encode("UTF-8", "surrogatepass")).digest())',
        _CASE,
    ),
    Equivalent(
        "artcafe_proto.platform.hub.PlatformHub.touch",
        "self._touched[conn] = None",
        'self._touched[conn] = ""',
        "only the keys are looked at: it is a set that keeps its order",
    ),
    Equivalent(
        "artcafe_proto.platform.traffic.Traffic.heartbeat_received",
        'raise RemoteProtocolError(1008, "expected the agent_id of this link\'s agent in a heartbeat", "HB-2")',
        'raise RemoteProtocolError(None, "expected the agent_id of this link\'s agent in a heartbeat", "HB-2")',
        _CODE,
    ),
    Equivalent(
        "artcafe_proto.platform.traffic.Traffic.heartbeat_received",
        'raise RemoteProtocolError(1008, "expected the agent_id of this link\'s agent in a heartbeat", "HB-2")',
        'raise RemoteProtocolError(1009, "expected the agent_id of this link\'s agent in a heartbeat", "HB-2")',
        _CODE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol.__init__",
        "self._exchange = 0",
        "self._exchange = 1",
        "exchanges are told apart by their numbers, wherever these begin",
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol.__init__",
        "self._phase = Phase.IDLE",
        "self._phase = None",
        "there is no timer for requests yet, so it is set whatever the phase was",
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._take",
        "self._exchange += 1",
        "self._exchange += 2",
        "exchanges are told apart by their numbers, however far apart these are",
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._take",
        "session.close_received(received.code, received.reason, now)",
        "session.close_received(received.code, None, now)",
        "the agent's reason is its own; the operator is told the code",
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._request_timed_out",
        'self._refuse(RemoteProtocolError(408, "the request did not come in time", "PLAT-8"))',
        'self._refuse(RemoteProtocolError(408, "the request did not come in time", None))',
        _CLAUSE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._request_timed_out",
        'self._refuse(RemoteProtocolError(408, "the request did not come in time", "PLAT-8"))',
        'self._refuse(RemoteProtocolError(408, "the request did not come in time", "XXPLAT-8XX"))',
        _CLAUSE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._request_timed_out",
        'self._refuse(RemoteProtocolError(408, "the request did not come in time", "PLAT-8"))',
        'self._refuse(RemoteProtocolError(408, "the request did not come in time", "plat-8"))',
        _CLAUSE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._end_if_last",
        'self._session.drop("the last answer was given", self._hub.now)',
        'self._session.drop("XXthe last answer was givenXX", self._hub.now)',
        _HTTP,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._end_if_last",
        'self._session.drop("the last answer was given", self._hub.now)',
        'self._session.drop("THE LAST ANSWER WAS GIVEN", self._hub.now)',
        _HTTP,
    ),
    Equivalent(
        "artcafe_proto.platform.session.PlatformSession.timer_due",
        'self._cut("the closing handshake was not answered", abort=True)',
        "self._cut(None, abort=True)",
        _LEFT,
    ),
    Equivalent(
        "artcafe_proto.platform.session.PlatformSession.timer_due",
        'self._cut("the closing handshake was not answered", abort=True)',
        'self._cut("XXthe closing handshake was not answeredXX", abort=True)',
        _LEFT,
    ),
    Equivalent(
        "artcafe_proto.platform.session.PlatformSession.timer_due",
        'self._cut("the closing handshake was not answered", abort=True)',
        'self._cut("THE CLOSING HANDSHAKE WAS NOT ANSWERED", abort=True)',
        _LEFT,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._request_timed_out",
        'self.drop("no request came in time", now)',
        'self.drop("XXno request came in timeXX", now)',
        _HTTP,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._request_timed_out",
        'self.drop("no request came in time", now)',
        'self.drop("NO REQUEST CAME IN TIME", now)',
        _HTTP,
    ),
    Equivalent(
        "artcafe_proto.platform.session.PlatformSession._read_again",
        "self.is_reading_paused = False",
        "self.is_reading_paused = None",
        _FALSE,
    ),
    Equivalent(
        "artcafe_proto.platform.session.PlatformSession._end",
        "self.is_reading_paused = False",
        "self.is_reading_paused = None",
        _FALSE,
    ),
    Equivalent(
        "artcafe_proto.policies.backoff.close_failure",
        'said = "".join(character for character in reason if character.isprintable()) or _MEANINGS.get(code, "")',
        'said = "".join(character for character in reason if character.isprintable()) or _MEANINGS.get(code, None)',
        _EMPTY,
    ),
    Equivalent(
        "artcafe_proto.policies.backoff.close_failure",
        'said = "".join(character for character in reason if character.isprintable()) or _MEANINGS.get(code, "")',
        'said = "".join(character for character in reason if character.isprintable()) or _MEANINGS.get(code, )',
        _EMPTY,
    ),
    Equivalent(
        "artcafe_proto.policies.public_keys._line_refusal",
        'first, *others = line.split() or [""]',
        'first, *others = line.split() or ["XXXX"]',
        "neither is the name of a type, so both are refused alike",
    ),
    Equivalent(
        "artcafe_proto.agent.protocol.AgentProtocol._take",
        'assert not isinstance(received, _HEARD_ELSEWHERE), "a client\'s wire receives no requests"',
        'assert not isinstance(received, _HEARD_ELSEWHERE), "XXa client\'s wire receives no requestsXX"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.agent.protocol.AgentProtocol._take",
        'assert not isinstance(received, _HEARD_ELSEWHERE), "a client\'s wire receives no requests"',
        'assert not isinstance(received, _HEARD_ELSEWHERE), "A CLIENT\'S WIRE RECEIVES NO REQUESTS"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.agent.protocol.AgentProtocol._take",
        "case _: assert_never(received)",
        "",
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.agent.protocol.AgentProtocol._take",
        "assert_never(received)",
        "assert_never(None)",
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.agent.protocol.AgentProtocol._encode",
        'assert isinstance(send, _FRAMES), "a link carries frames"',
        'assert isinstance(send, _FRAMES), "XXa link carries framesXX"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.agent.protocol.AgentProtocol._encode",
        'assert isinstance(send, _FRAMES), "a link carries frames"',
        'assert isinstance(send, _FRAMES), "A LINK CARRIES FRAMES"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.agent.protocol.AgentProtocol._encode_request",
        'assert isinstance(send, _REQUESTS), "only requests go out before an upgrade"',
        'assert isinstance(send, _REQUESTS), "XXonly requests go out before an upgradeXX"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.agent.protocol.AgentProtocol._encode_request",
        'assert isinstance(send, _REQUESTS), "only requests go out before an upgrade"',
        'assert isinstance(send, _REQUESTS), "ONLY REQUESTS GO OUT BEFORE AN UPGRADE"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._take",
        'assert not isinstance(received, _HEARD_ELSEWHERE), "a server\'s wire receives no responses"',
        'assert not isinstance(received, _HEARD_ELSEWHERE), "XXa server\'s wire receives no responsesXX"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._take",
        'assert not isinstance(received, _HEARD_ELSEWHERE), "a server\'s wire receives no responses"',
        'assert not isinstance(received, _HEARD_ELSEWHERE), "A SERVER\'S WIRE RECEIVES NO RESPONSES"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._take",
        "case _: assert_never(received)",
        "",
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._take",
        "assert_never(received)",
        "assert_never(None)",
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.agent.protocol._Channel.__init__",
        "self.exchange = 0",
        "self.exchange = None",
        "nothing is answered before something was asked, and that sets it",
    ),
    Equivalent(
        "artcafe_proto.agent.protocol._Channel.__init__",
        "self.exchange = 0",
        "self.exchange = 1",
        "nothing is answered before something was asked, and that sets it",
    ),
    Equivalent(
        "artcafe_proto.agent.rules.JointRules._fail",
        "self.finish(now)",
        "self.finish(None)",
        _DONE,
    ),
    Equivalent(
        "artcafe_proto.platform.answers.read_json",
        'content_type = (request.header("content-type") or "").partition(";")[0]',
        'content_type = (request.header("content-type") or "XXXX").partition(";")[0]',
        "no type and another one than JSON are refused alike",
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._encode_sends",
        "case _: assert_never(send)",
        "",
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._encode_sends",
        'assert self._wire.websocket is not None, "a link is up only after its upgrade"',
        'assert self._wire.websocket is not None, "XXa link is up only after its upgradeXX"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._encode_sends",
        'assert self._wire.websocket is not None, "a link is up only after its upgrade"',
        'assert self._wire.websocket is not None, "A LINK IS UP ONLY AFTER ITS UPGRADE"',
        _IMPOSSIBLE,
    ),
    Equivalent(
        "artcafe_proto.platform.protocol.PlatformProtocol._encode_sends",
        "assert_never(send)",
        "assert_never(None)",
        _IMPOSSIBLE,
    ),
)
