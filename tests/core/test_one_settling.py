"""What is done once for many commands is what would be done for each of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artcafe_proto import RemoteProtocolError
from artcafe_proto.effects import SendPing, SendText, Write
from artcafe_proto.events import CommandReceived, MessageReceived, Offline, RepeatReceived, ResponsesSettled
from artcafe_proto.instants import format_timestamp
from artcafe_proto.limits import MAX_UNDRAINED_OUTPUTS
from artcafe_proto.messages import decode_command, decode_envelope, decode_sound_command
from support.played import frame
from support.scripted import Scripted
from support.virtual import Pair

# --- a command decoded in one step ------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 90_000), st.floats(), st.sampled_from(["", "command", "x"])
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.sampled_from(["a", "b"]), SCALARS))
DATA = st.dictionaries(st.sampled_from(["command", "args", "timeout", "more"]), VALUES)
SOUND_DATA = st.fixed_dictionaries(
    {"command": st.text(max_size=5)}, optional={"args": st.just({"a": 1}), "timeout": st.floats(0, 1e5)}
)
ENVELOPES = st.fixed_dictionaries(
    {"data": st.one_of(SOUND_DATA, DATA, VALUES)},
    optional={
        "type": st.sampled_from(["command", "command", "command", "message", 5]),
        "id": st.one_of(st.sampled_from(["c-1", "", "x" * 128, "x" * 129]), SCALARS),
        "timestamp": SCALARS,
    },
)


@given(ENVELOPES)
@example({"type": "command", "id": "c-1", "data": {"command": "x", "args": {"a": 1}, "timeout": 3}})
@example({"type": "command", "id": "c-1", "data": {"command": "x", "args": [[[]]] * 70}})
@example({"id": "c-1", "data": {"command": "x"}})
def test_a_sound_command_is_one_that_both_steps_accept(message: object) -> None:
    payload = json.dumps(message).encode()
    try:
        envelope = decode_envelope(payload)
        expected = None if envelope.type != "command" else (envelope.id, decode_command(envelope.data))
    except RemoteProtocolError:
        expected = None
    found = decode_sound_command(payload)
    assert (None if found is None else (found.id, found.data)) == expected


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"message","type":"command","id":"c","data":{"command":"x"}}',
        b'{"type":"command","id":"c","data":{"command":"x"}} trailing',
        b'["command","c",{"command":"x"}]',
        b'{"type":"command","id":"c","data":{"command":"x"},"deep":' + b"[" * 65 + b"]" * 65 + b"}",
    ],
)
def test_what_is_doubtful_is_left_to_both_steps(payload: bytes) -> None:
    assert decode_sound_command(payload) is None


# --- timestamps -------------------------------------------------------------------------------------------------------


@given(st.floats(0, 4e9))
@example(1e9 + 0.999_999_6)  # rounds up into the next second
@example(1e9 + 0.000_999_5)
@example(1e9)
def test_a_timestamp_is_what_datetime_makes_of_it(wall: float) -> None:
    expected = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert format_timestamp(wall) == expected


# --- the joint rules, once a drain ------------------------------------------------------------------------------------


def test_cmd_3_responses_given_while_draining_share_one_ping() -> None:
    script = Scripted()
    conn = script.up()
    for number in range(5):
        payload = json.dumps({"type": "command", "id": f"c-{number}", "data": {"command": "work"}}).encode()
        script.machine.text_received(conn, payload, script.now)
    sends: list[SendText | SendPing] = []
    while (output := script.machine.next_output()) is not None:
        if isinstance(output, CommandReceived):
            script.machine.respond(output.command_id, None, script.now)
        if isinstance(output, SendText | SendPing):
            sends.append(output)
    kinds = [script.text(send)["type"] if isinstance(send, SendText) else "ping" for send in sends]
    assert kinds[-6:] == ["response"] * 5 + ["ping"]
    assert isinstance(sends[-1], SendPing)
    script.machine.pong_received(conn, sends[-1].payload, script.now)
    script.drain()
    (settled,) = [output for output in script.said if isinstance(output, ResponsesSettled)]
    assert len(settled.command_ids) == 5


def test_a_response_that_was_not_drained_is_sent_by_the_next_input() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", None, script.now)
    script.machine.handle_timer(script.now)
    assert [each["data"]["command_id"] for each in script.texts("response")] == ["cmd-1"]


# --- one read, however much is in it ----------------------------------------------------------------------------------


def online() -> tuple[Pair, int]:
    """An agent with a link, and the number of its connection."""
    pair = Pair()
    pair.start()
    pair.run_until(lambda: bool(pair.agent.rtt_s))
    return pair, pair.agent_conns[-1]


def test_no_number_of_inputs_in_one_read_is_taken_for_misuse() -> None:
    pair, conn = online()
    message = frame(1, b'{"type":"message","id":"m","data":{}}')
    data = message * (MAX_UNDRAINED_OUTPUTS + 1) + frame(9, b"ping") + frame(8, b"\x03\xe9")
    pair.agent.data_received(conn, data, pair.now)
    said = list(iter(pair.agent.next_output, None))
    assert sum(isinstance(output, MessageReceived) for output in said) == MAX_UNDRAINED_OUTPUTS + 1
    assert sum(isinstance(output, Offline) for output in said) == 1


def test_cmd_2_a_read_that_repeats_a_command_many_times_is_answered_once() -> None:
    pair, conn = online()
    command = frame(1, b'{"type":"command","id":"large","data":{"command":"work"}}')
    pair.on_command = lambda event: pair.respond(event, "x" * 1_000_000)
    pair.agent.data_received(conn, command, pair.now)
    pair.run_for(1.0)
    for _ in range(2):
        pair.agent.data_received(conn, command * 60, pair.now)
        said = list(iter(pair.agent.next_output, None))
        assert [output.answer for output in said if isinstance(output, RepeatReceived)] == ["stored"] + [None] * 59
        assert sum(len(output.data) for output in said if isinstance(output, Write)) < 1_100_000
