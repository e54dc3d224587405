"""CMD-3, CMD-11: responses and messages on their way, item by item."""

from __future__ import annotations

import pytest

from artcafe_proto.config import LinkSettings
from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.links import LinkEnd
from artcafe_proto.outputs import Outputs
from artcafe_proto.policies.outbox import Item, Outbox


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
        assert outbox.send(WRITE_AHEAD_BYTES) == [item]
    return outbox


def test_cmd_3_messages_are_bounded_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGES", 2)
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGE_BYTES", 10)
    outbox = Outbox()
    assert outbox.takes_message(11) is True, "one alone may, however large"
    outbox.put(message(1, 6))
    assert (outbox.takes_message(4), outbox.takes_message(5)) == (True, False)
    assert outbox.waiting == 1
    outbox.send(WRITE_AHEAD_BYTES)
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
    outbox.send(WRITE_AHEAD_BYTES)
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
    assert [item.message_id for item in outbox.send(WRITE_AHEAD_BYTES)] == ["cmd-3"]
    assert outbox.send(WRITE_AHEAD_BYTES) == []
    assert outbox.ponged(4) == []
    assert [item.message_id for item in outbox.ponged(5)] == ["cmd-1", "msg-2"]
    assert outbox.ponged(6) == [], "no ping is under way"
    assert outbox.is_uncovered
    assert (outbox.unsettled_commands, outbox.unsettled_messages) == (["cmd-3"], [])


def test_link_8_no_more_is_sent_than_there_is_room_for_but_one_item_always() -> None:
    outbox = Outbox()
    for number in range(4):
        outbox.put(response(number, 10))
    assert [len(outbox.send(room)) for room in (1, 20, 5)] == [1, 2, 1]


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
    outbox.send(WRITE_AHEAD_BYTES)
    assert [item.message_id for item in outbox.assume(link, 39.0, 20.0)] == ["cmd-1"]
    assert outbox.is_assuming
    link.unsent(0, 40.0)
    pings = link.liveness.pings
    outbox.cover(link, 41.0)
    assert (outbox.deadline(20.0), link.liveness.pings) == (71.0, pings), "such a peer is pinged for nothing else"
    assert outbox.link_lost(blames_message=False) is None
    assert not outbox.is_assuming, "the next link may be another's"


def test_cmd_3_once_a_ping_was_answered_nothing_settles_without_a_pong() -> None:
    outbox, link = sending(response(1)), new_link()
    outbox.cover(link, 0.0)
    link.liveness.received(1.0)
    assert [item.message_id for item in outbox.assume(link, 30.0, 20.0)] == ["cmd-1"]
    outbox.put(response(2))
    outbox.send(WRITE_AHEAD_BYTES)
    outbox.cover(link, 30.0)
    assert outbox.ponged(1) == [], "the pong that comes after all was for what is settled"
    assert outbox.is_uncovered
    outbox.cover(link, 31.0)
    link.liveness.received(1000.0)
    assert outbox.deadline(20.0) is None
    assert outbox.assume(link, 2000.0, 20.0) == []
    outbox.link_lost(blames_message=False)
    link = new_link()
    outbox.send(WRITE_AHEAD_BYTES)
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


def test_cmd_11_the_first_sent_on_three_lost_links_in_a_row_is_taken_out() -> None:
    outbox = sending(response(1), response(2))
    for _ in range(2):
        assert outbox.link_lost(blames_message=False) is None
        assert outbox.unsettled_commands == ["cmd-1", "cmd-2"]
        outbox.send(WRITE_AHEAD_BYTES)
    poison = outbox.link_lost(blames_message=False)
    assert poison is not None
    assert poison.command_id == "cmd-1"
    assert outbox.unsettled_commands == ["cmd-2"]
    assert outbox.link_lost(blames_message=True) is None, "nothing was sent"
    outbox.send(WRITE_AHEAD_BYTES)
    poison = outbox.link_lost(blames_message=True)
    assert poison is not None
    assert (poison.command_id, len(outbox)) == ("cmd-2", 0)


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
