"""CMD-3, CMD-11: responses and messages on their way, item by item."""

from __future__ import annotations

import pytest

from artcafe_proto.policies.liveness import Liveness
from artcafe_proto.policies.outbox import Item, Outbox


def response(number: int, size: int = 2) -> Item:
    return Item(f"cmd-{number}", b"x" * size, f"cmd-{number}")


def message(number: int, size: int = 2) -> Item:
    return Item(f"msg-{number}", b"x" * size)


def sending(*items: Item, mono: float = 0.0) -> Outbox:
    """An outbox that has sent these."""
    outbox = Outbox()
    for item in items:
        outbox.put(item)
        assert outbox.send_all(mono) == [item]
    return outbox


def test_cmd_3_messages_are_bounded_in_number_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGES", 2)
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGE_BYTES", 10)
    outbox = Outbox()
    assert outbox.takes_message(11) is True, "one alone may, however large"
    outbox.put(message(1, 6))
    assert (outbox.takes_message(4), outbox.takes_message(5)) == (True, False)
    assert outbox.waiting == 1
    outbox.send_all(0.0)
    outbox.put(message(2, 1))
    assert (outbox.takes_message(1), outbox.takes_message(5)) == (False, False)
    assert (outbox.messages, outbox.message_bytes, len(outbox), outbox.waiting) == (2, 7, 2, 1)
    outbox.pinged(1, 0.0)
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
    outbox.send_all(0.0)
    outbox.pinged(1, 0.0)
    outbox.ponged(1)
    assert outbox.has_place(0)
    assert len(outbox) == 0


def test_cmd_3_a_ping_covers_what_went_before_it_and_one_is_under_way_at_a_time() -> None:
    outbox = sending(response(1), message(2))
    assert outbox.wants_ping
    outbox.pinged(5, 1.0)
    assert not outbox.wants_ping
    outbox.put(response(3))
    assert [item.message_id for item in outbox.send_all(2.0)] == ["cmd-3"]
    assert outbox.send_all(2.0) == []
    assert outbox.ponged(4) == []
    assert [item.message_id for item in outbox.ponged(5)] == ["cmd-1", "msg-2"]
    assert outbox.ponged(6) == [], "no ping is under way"
    assert outbox.wants_ping
    assert (outbox.unsettled_commands, outbox.unsettled_messages) == (["cmd-3"], [])


def test_cmd_3_without_a_pong_what_is_sent_settles_30_s_after_its_write_on_a_link_that_lives() -> None:
    liveness = Liveness(0.0, interval_s=20.0, timeout_s=20.0)
    outbox = sending(response(1), mono=1.0)
    assert outbox.deadline(20.0) is None
    outbox.pinged(1, 2.0)
    assert outbox.deadline(20.0) == 22.0
    liveness.received(3.0)
    assert outbox.expire(21.9, 20.0, liveness) == []
    assert outbox.peer_pongs
    assert outbox.expire(22.0, 20.0, liveness) == []
    assert outbox.peer_pongs is False
    assert outbox.deadline(20.0) == 31.0
    outbox.put(response(2))
    outbox.send_all(23.0)
    assert not outbox.wants_ping
    assert outbox.expire(30.9, 20.0, liveness) == []
    assert [item.message_id for item in outbox.expire(31.0, 20.0, liveness)] == ["cmd-1"]
    assert outbox.deadline(20.0) == 53.0
    assert outbox.link_lost(blames_message=False) is None
    assert outbox.peer_pongs, "the next link may be another's"


def test_cmd_3_silence_since_a_ping_settles_nothing_and_is_looked_at_again() -> None:
    liveness = Liveness(0.0, interval_s=20.0, timeout_s=20.0)
    outbox = sending(response(1))
    outbox.pinged(1, 2.0)
    liveness.received(2.0)
    assert outbox.expire(50.0, 20.0, liveness) == []
    assert outbox.peer_pongs
    assert outbox.deadline(20.0) == 70.0
    assert outbox.expire(60.0, 20.0, liveness) == []
    assert outbox.deadline(20.0) == 70.0


def test_cmd_11_the_first_sent_on_three_lost_links_in_a_row_is_taken_out() -> None:
    outbox = sending(response(1), response(2))
    for _ in range(2):
        assert outbox.link_lost(blames_message=False) is None
        assert outbox.unsettled_commands == ["cmd-1", "cmd-2"]
        outbox.send_all(0.0)
    poison = outbox.link_lost(blames_message=False)
    assert poison is not None
    assert poison.command_id == "cmd-1"
    assert outbox.unsettled_commands == ["cmd-2"]
    assert outbox.link_lost(blames_message=True) is None, "nothing was sent"
    outbox.send_all(0.0)
    poison = outbox.link_lost(blames_message=True)
    assert poison is not None
    assert (poison.command_id, len(outbox)) == ("cmd-2", 0)


def test_cmd_3_places_of_responses_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSES", 3)
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSE_BYTES", 30)
    outbox = sending(response(1, 5), response(2, 5), response(3, 5))
    assert not outbox.has_place(0)
    outbox.pinged(1, 0.0)
    outbox.ponged(1)
    for number in range(4, 6):
        outbox.put(response(number, 5))
        assert outbox.has_place(0)
    outbox.put(response(6, 5))
    assert not outbox.has_place(0)
    outbox = sending(response(1, 15), response(2, 15))
    assert not outbox.has_place(0), "by their bytes"
