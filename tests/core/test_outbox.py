"""CMD-3, CMD-11: responses and messages on their way, item by item."""

from __future__ import annotations

import pytest

from artcafe_proto.config import LinkSettings
from artcafe_proto.events import MessageSettled
from artcafe_proto.limits import SUDDEN_END_S, WRITE_AHEAD_BYTES
from artcafe_proto.links import LinkEnd
from artcafe_proto.outputs import Outputs
from artcafe_proto.policies.outbox import Item, Outbox
from support.scripted import Scripted


def response(number: int, size: int = 2) -> Item:
    return Item(f"cmd-{number}", b"x" * size, f"cmd-{number}")


def message(number: int, size: int = 2) -> Item:
    return Item(f"msg-{number}", b"x" * size)


def new_link() -> LinkEnd:
    return LinkEnd(1, LinkSettings(), Outputs(), 0.0)


def sending(*items: Item) -> Outbox:
    """An outbox that has sent these."""
    outbox = Outbox()
    for item in items:
        outbox.put(item)
        assert outbox.send(WRITE_AHEAD_BYTES, 0.0) == [item]
    return outbox


def test_cmd_3_messages_are_bounded_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGES", 2)
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGE_BYTES", 10)
    outbox = Outbox()
    assert outbox.takes_message(11) is True, "one alone may, however large"
    outbox.put(message(1, 6))
    assert (outbox.takes_message(4), outbox.takes_message(5)) == (True, False)
    assert outbox.waiting == 1
    outbox.send(WRITE_AHEAD_BYTES, 0.0)
    outbox.put(message(2, 1))
    assert (outbox.takes_message(1), outbox.takes_message(5)) == (False, False)
    assert (outbox.messages, outbox.message_bytes, len(outbox), outbox.waiting) == (2, 7, 2, 1)
    outbox.cover(new_link(), 0.0)
    assert [item.message_id for item in outbox.ponged(1)] == ["msg-1"]
    assert (outbox.messages, outbox.message_bytes, outbox.unsettled_messages) == (1, 1, ["msg-2"])


def test_cmd_3_responses_reserve_places_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSES", 2)
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSE_BYTES", 10)
    outbox = Outbox()
    outbox.put(message(1, 100))
    outbox.put(response(1, 9))
    assert outbox.has_place(0)
    outbox.put(response(2, 1))
    assert not outbox.has_place(0)
    outbox = Outbox()
    outbox.put(response(1, 10))
    assert not outbox.has_place(0)
    outbox.send(WRITE_AHEAD_BYTES, 0.0)
    outbox.cover(new_link(), 0.0)
    outbox.ponged(1)
    assert outbox.has_place(0)
    assert len(outbox) == 0


def test_cmd_3_a_ping_covers_what_went_before_it_and_one_is_under_way_at_a_time() -> None:
    outbox, link = sending(response(1), message(2)), new_link()
    link.liveness.pings = 4
    assert outbox.is_uncovered
    outbox.cover(link, 1.0)
    assert not outbox.is_uncovered
    outbox.put(response(3))
    assert [item.message_id for item in outbox.send(WRITE_AHEAD_BYTES, 0.0)] == ["cmd-3"]
    assert outbox.send(WRITE_AHEAD_BYTES, 0.0) == []
    assert outbox.ponged(4) == []
    assert [item.message_id for item in outbox.ponged(5)] == ["cmd-1", "msg-2"]
    assert outbox.ponged(6) == [], "no ping is under way"
    assert outbox.is_uncovered
    assert (outbox.unsettled_commands, outbox.unsettled_messages) == (["cmd-3"], [])


def test_link_8_no_more_is_sent_than_there_is_room_for_but_one_item_always() -> None:
    outbox = Outbox()
    for number in range(4):
        outbox.put(response(number, 10))
    assert [len(outbox.send(room, 0.0)) for room in (1, 20, 5)] == [1, 2, 1]


def test_cmd_3_without_a_pong_what_was_sent_settles_30_s_after_it_has_left_on_a_link_that_lives() -> None:
    outbox, link = sending(response(1)), new_link()
    assert outbox.deadline(20.0) is None
    link.send(b"x" * 100)
    outbox.cover(link, 2.0)
    assert outbox.deadline(20.0) == 32.0
    link.unsent(1, 3.0)
    outbox.watch(link, 3.0)
    assert outbox.deadline(20.0) is None, "the ping has not left"
    link.send(b"xx")
    link.unsent(2, 9.0)
    outbox.watch(link, 9.0)
    outbox.watch(link, 10.0)
    assert (outbox.deadline(20.0), outbox.deadline(50.0)) == (39.0, 59.0)
    link.liveness.received(9.5)
    assert outbox.assume(link, 38.9, 20.0) == []
    assert not outbox.is_assuming
    outbox.put(response(2))
    outbox.send(WRITE_AHEAD_BYTES, 0.0)
    assert [item.message_id for item in outbox.assume(link, 39.0, 20.0)] == ["cmd-1"]
    assert outbox.is_assuming
    link.unsent(0, 40.0)
    pings = link.liveness.pings
    outbox.cover(link, 41.0)
    assert (outbox.deadline(20.0), link.liveness.pings) == (71.0, pings), "such a peer is pinged for nothing else"
    assert outbox.link_lost(0.0) is None
    assert not outbox.is_assuming, "the next link may be another's"


def test_cmd_3_once_a_ping_was_answered_nothing_settles_without_a_pong() -> None:
    outbox, link = sending(response(1)), new_link()
    outbox.cover(link, 0.0)
    link.liveness.received(1.0)
    assert [item.message_id for item in outbox.assume(link, 30.0, 20.0)] == ["cmd-1"]
    outbox.put(response(2))
    outbox.send(WRITE_AHEAD_BYTES, 0.0)
    outbox.cover(link, 30.0)
    assert outbox.ponged(1) == [], "the pong that comes after all was for what is settled"
    assert outbox.is_uncovered
    outbox.cover(link, 31.0)
    link.liveness.received(1000.0)
    assert outbox.deadline(20.0) is None
    assert outbox.assume(link, 2000.0, 20.0) == []
    outbox.link_lost(0.0)
    link = new_link()
    outbox.send(WRITE_AHEAD_BYTES, 0.0)
    outbox.cover(link, 2000.0)
    assert outbox.deadline(20.0) is None, "nor on another link"
    assert [item.message_id for item in outbox.ponged(1)] == ["cmd-2"]


def test_cmd_3_silence_since_a_ping_settles_nothing_and_is_looked_at_again() -> None:
    outbox, link = sending(response(1)), new_link()
    outbox.cover(link, 2.0)
    link.liveness.received(2.0)
    assert outbox.assume(link, 50.0, 20.0) == []
    assert not outbox.is_assuming
    assert outbox.deadline(20.0) == 80.0
    assert outbox.assume(link, 70.0, 20.0) == []
    assert outbox.deadline(20.0) == 80.0


def names(items: list[Item]) -> list[str]:
    return [item.message_id for item in items]


def settle(outbox: Outbox, mono: float) -> list[str]:
    """What the pong to a ping that goes out now settles."""
    link = new_link()
    outbox.cover(link, mono)
    return names(outbox.ponged(link.liveness.pings))


def holding() -> Outbox:
    """An outbox that was the first to send cmd-1 on three links which ended at once, and cmd-2 behind it."""
    outbox = sending(response(1), response(2))
    for _ in range(3):
        assert outbox.link_lost(SUDDEN_END_S) is None
        assert outbox.unsettled_commands == ["cmd-1", "cmd-2"]
        outbox.send(WRITE_AHEAD_BYTES, 0.0)
    return outbox


def test_cmd_11_what_was_first_on_three_links_that_ended_suddenly_is_held_back() -> None:
    outbox = holding()
    assert outbox.is_uncovered, "cmd-2 went out"
    assert (len(outbox), outbox.waiting, outbox.unsettled_commands) == (2, 1, ["cmd-1", "cmd-2"])
    assert settle(outbox, 0.0) == ["cmd-2"]
    assert not outbox.has_news
    assert outbox.unsettled_messages == []


def test_cmd_11_it_is_blamed_if_the_link_lives_without_it_and_ends_with_it() -> None:
    outbox = holding()
    outbox.put(message(3))
    outbox.release()
    assert outbox.send(WRITE_AHEAD_BYTES, 30.0) == [], "cmd-2 is not settled"
    assert settle(outbox, 30.0) == ["cmd-2"]
    assert names(outbox.send(WRITE_AHEAD_BYTES, 30.0)) == ["cmd-1"]
    assert outbox.send(WRITE_AHEAD_BYTES, 30.0) == [], "it goes out alone"
    poison = outbox.link_lost(30.0 + SUDDEN_END_S)
    assert poison is not None
    assert (poison.command_id, outbox.unsettled_commands, outbox.unsettled_messages) == ("cmd-1", [], ["msg-3"])


def test_cmd_11_it_is_not_if_it_settles_or_the_link_goes_on_for_a_while() -> None:
    outbox = holding()
    settle(outbox, 30.0)
    outbox.release()
    outbox.send(WRITE_AHEAD_BYTES, 30.0)
    assert settle(outbox, 30.0) == ["cmd-1"]
    outbox.put(response(3))
    outbox.send(WRITE_AHEAD_BYTES, 30.0)
    assert outbox.link_lost(30.0) is None
    outbox = holding()
    settle(outbox, 30.0)
    outbox.release()
    outbox.send(WRITE_AHEAD_BYTES, 30.0)
    assert outbox.link_lost(30.1 + SUDDEN_END_S) is None
    for _ in range(2):
        assert names(outbox.send(WRITE_AHEAD_BYTES, 0.0)) == ["cmd-1"], "it counts anew"
        assert outbox.link_lost(0.0) is None


def test_cmd_11_it_is_not_if_the_link_does_not_live_without_it_either() -> None:
    outbox = holding()
    for _ in range(2):
        assert outbox.link_lost(1000.0) is None, "which cmd-2 lived on for long"
        assert names(outbox.send(WRITE_AHEAD_BYTES, 1000.0))[:1] == ["cmd-1"]
    outbox = holding()
    settle(outbox, 0.0)
    assert outbox.link_lost(0.0) is None, "nothing was under way"
    assert names(outbox.send(WRITE_AHEAD_BYTES, 0.0)) == ["cmd-1"]


def test_cmd_11_a_link_that_goes_on_for_a_while_is_no_evidence() -> None:
    outbox = sending(response(1), response(2))
    for _ in range(5):
        assert outbox.link_lost(0.1 + SUDDEN_END_S) is None
        assert names(outbox.send(WRITE_AHEAD_BYTES, 0.0)) == ["cmd-1", "cmd-2"]


def test_cmd_11_after_a_sudden_end_items_go_out_one_by_one_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_CAUTIOUS_ITEMS", 4)
    outbox = sending(*map(response, range(20)))
    outbox.link_lost(0.0)
    assert len(outbox.send(WRITE_AHEAD_BYTES, 0.0)) == 20, "one link is soon lost"
    outbox.link_lost(0.0)
    for count in (1, 2, 4, 13):
        assert len(outbox.send(WRITE_AHEAD_BYTES, 0.0)) == count
        assert not outbox.has_news or outbox.is_uncovered
        assert len(settle(outbox, 0.0)) == count
    assert len(outbox) == 0


def test_cmd_11_whoever_answers_no_pings_is_waited_for_once() -> None:
    link = new_link()
    outbox = sending(*map(response, range(20)))
    outbox.link_lost(0.0)
    outbox.send(WRITE_AHEAD_BYTES, 0.0)
    outbox.link_lost(0.0)
    assert len(outbox.send(WRITE_AHEAD_BYTES, 0.0)) == 1
    outbox.cover(link, 0.0)
    link.liveness.received(1.0)
    outbox.assume(link, 30.0, 20.0)
    assert len(outbox.send(WRITE_AHEAD_BYTES, 30.0)) == 19


def test_cmd_11_of_1009_the_largest_item_is_the_cause() -> None:
    outbox = sending(response(1), message(2, 9), response(3, 9))
    poison = outbox.link_lost(1000.0, close_code=1009)
    assert poison is not None
    assert (poison.message_id, len(outbox)) == ("msg-2", 2)
    assert outbox.link_lost(1000.0, close_code=1009) is None, "nothing was sent"


@pytest.mark.parametrize("place", [0, 1, 2, 700, 1299])
def test_cmd_11_of_1007_that_one_is_the_cause_which_goes_out_alone(place: int) -> None:
    """The platform reads in order, and closes at the poisoned one: no other is blamed, and it is soon found."""
    outbox = sending(*map(response, range(1300)))
    links = 1
    while (poison := outbox.link_lost(1000.0, close_code=1007)) is None:
        links += 1
        sent = names(outbox.send(WRITE_AHEAD_BYTES, 1000.0))
        assert len(sent) == 1, "each further link begins with one"
        while f"cmd-{place}" not in sent:
            assert settle(outbox, 1000.0) == sent
            sent = names(outbox.send(WRITE_AHEAD_BYTES, 1000.0))
    assert poison.message_id == f"cmd-{place}"
    assert links <= 12


def test_cmd_11_a_drain_sends_last_what_was_held() -> None:
    outbox = holding()
    settle(outbox, 0.0)
    outbox.put(response(3))
    outbox.release(last=True)
    assert names(outbox.send(WRITE_AHEAD_BYTES, 0.0)) == ["cmd-3", "cmd-1"]
    assert outbox.link_lost(0.0) is None, "it is not being tried"


def test_cmd_3_places_of_responses_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSES", 3)
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSE_BYTES", 30)
    outbox = sending(response(1, 5), response(2, 5), response(3, 5))
    assert not outbox.has_place(0)
    outbox.cover(new_link(), 0.0)
    outbox.ponged(1)
    for number in range(4, 6):
        outbox.put(response(number, 5))
        assert outbox.has_place(0)
    outbox.put(response(6, 5))
    assert not outbox.has_place(0)
    outbox = sending(response(1, 15), response(2, 15))
    assert not outbox.has_place(0), "by their bytes"


def test_cmd_3_a_report_amid_a_drain_knows_nothing_of_what_is_still_to_be_written() -> None:
    """Else a ping could seem to have left that nobody has written yet."""
    script = Scripted(write_stall_timeout=1000.0)
    conn = script.up()
    script.machine.send_message({}, script.now)
    script.drain()
    script.machine.unsent(conn, 1, script.now)  # of the ping
    script.machine.send_message({"x": "x" * 100}, script.now)
    script.machine.unsent(conn, 1, script.now)
    script.drain()
    for _ in range(4):
        script.wait(10.0)
        script.machine.bytes_received(conn, script.now)
    script.none_of(MessageSettled)
    script.machine.unsent(conn, 0, script.now)
    for _ in range(4):
        script.wait(10.0)
        script.machine.bytes_received(conn, script.now)
    assert script.expect(MessageSettled).assumed
