"""CMD-3, CMD-11: responses and messages on their way, item by item."""

from __future__ import annotations

import pytest

from artcafe_proto.limits import SUDDEN_END_S
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
    assert outbox.link_lost(24.0) is None
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


def names(items: list[Item]) -> list[str]:
    return [item.message_id for item in items]


def settle(outbox: Outbox, mono: float) -> list[str]:
    """What the pong to a ping that goes out now settles."""
    outbox.pinged(1, mono)
    return names(outbox.ponged(1))


def holding() -> Outbox:
    """An outbox that was the first to send cmd-1 on three links which ended at once, and cmd-2 behind it."""
    outbox = sending(response(1), response(2))
    for _ in range(3):
        assert outbox.link_lost(SUDDEN_END_S) is None
        assert outbox.unsettled_commands == ["cmd-1", "cmd-2"]
        outbox.send_all(0.0)
    return outbox


def test_cmd_11_what_was_first_on_three_links_that_ended_suddenly_is_held_back() -> None:
    outbox = holding()
    assert outbox.wants_ping, "cmd-2 went out"
    assert (len(outbox), outbox.waiting, outbox.unsettled_commands) == (2, 1, ["cmd-1", "cmd-2"])
    assert settle(outbox, 0.0) == ["cmd-2"]
    assert not outbox.has_news
    assert outbox.unsettled_messages == []


def test_cmd_11_it_is_blamed_if_the_link_lives_without_it_and_ends_with_it() -> None:
    outbox = holding()
    outbox.put(message(3))
    outbox.release()
    assert outbox.send_all(30.0) == [], "cmd-2 is not settled"
    assert settle(outbox, 30.0) == ["cmd-2"]
    assert names(outbox.send_all(30.0)) == ["cmd-1"]
    assert outbox.send_all(30.0) == [], "it goes out alone"
    poison = outbox.link_lost(30.0 + SUDDEN_END_S)
    assert poison is not None
    assert (poison.command_id, outbox.unsettled_commands, outbox.unsettled_messages) == ("cmd-1", [], ["msg-3"])


def test_cmd_11_it_is_not_if_it_settles_or_the_link_goes_on_for_a_while() -> None:
    outbox = holding()
    settle(outbox, 30.0)
    outbox.release()
    outbox.send_all(30.0)
    assert settle(outbox, 30.0) == ["cmd-1"]
    outbox.put(response(3))
    outbox.send_all(30.0)
    assert outbox.link_lost(30.0) is None
    outbox = holding()
    settle(outbox, 30.0)
    outbox.release()
    outbox.send_all(30.0)
    assert outbox.link_lost(30.1 + SUDDEN_END_S) is None
    for _ in range(2):
        assert names(outbox.send_all(0.0)) == ["cmd-1"], "it counts anew"
        assert outbox.link_lost(0.0) is None


def test_cmd_11_it_is_not_if_the_link_does_not_live_without_it_either() -> None:
    outbox = holding()
    for _ in range(2):
        assert outbox.link_lost(1000.0) is None, "which cmd-2 lived on for long"
        assert names(outbox.send_all(1000.0))[:1] == ["cmd-1"]
    outbox = holding()
    settle(outbox, 0.0)
    assert outbox.link_lost(0.0) is None, "nothing was under way"
    assert names(outbox.send_all(0.0)) == ["cmd-1"]


def test_cmd_11_a_link_that_goes_on_for_a_while_is_no_evidence() -> None:
    outbox = sending(response(1), response(2))
    for _ in range(5):
        assert outbox.link_lost(0.1 + SUDDEN_END_S) is None
        assert names(outbox.send_all(0.0)) == ["cmd-1", "cmd-2"]


def test_cmd_11_after_a_sudden_end_items_go_out_one_by_one_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_CAUTIOUS_ITEMS", 4)
    outbox = sending(*map(response, range(20)))
    outbox.link_lost(0.0)
    assert len(outbox.send_all(0.0)) == 20, "one link is soon lost"
    outbox.link_lost(0.0)
    for count in (1, 2, 4, 13):
        assert len(outbox.send_all(0.0)) == count
        assert not outbox.has_news or outbox.wants_ping
        assert len(settle(outbox, 0.0)) == count
    assert len(outbox) == 0


def test_cmd_11_whoever_answers_no_pings_is_waited_for_once() -> None:
    liveness = Liveness(0.0, interval_s=20.0, timeout_s=20.0)
    outbox = sending(*map(response, range(20)))
    outbox.link_lost(0.0)
    outbox.send_all(0.0)
    outbox.link_lost(0.0)
    assert len(outbox.send_all(0.0)) == 1
    outbox.pinged(1, 0.0)
    liveness.received(1.0)
    outbox.expire(20.0, 20.0, liveness)
    assert len(outbox.send_all(20.0)) == 19


def test_cmd_11_of_1007_the_first_item_is_blamed_and_of_1009_the_largest() -> None:
    items = (response(1), message(2, 9), response(3, 9))
    for code, blamed in ((1007, "cmd-1"), (1009, "msg-2")):
        outbox = sending(*items)
        poison = outbox.link_lost(1000.0, close_code=code)
        assert poison is not None
        assert (poison.message_id, len(outbox)) == (blamed, 2)
        assert outbox.link_lost(1000.0, close_code=code) is None, "nothing was sent"


def test_cmd_11_a_drain_sends_last_what_was_held() -> None:
    outbox = holding()
    settle(outbox, 0.0)
    outbox.put(response(3))
    outbox.release(last=True)
    assert names(outbox.send_all(0.0)) == ["cmd-3", "cmd-1"]
    assert outbox.link_lost(0.0) is None, "it is not being tried"


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
