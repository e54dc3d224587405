"""AUTH-6: a second key signs once the platform refuses the first, after the ordinary wait, and an event says so."""

from __future__ import annotations

import json

from artcafe_proto.effects import Connect, SendRequest, Sign
from artcafe_proto.events import KeyChanged, Offline
from support.scripted import CHALLENGE, Scripted, answer, token


def test_auth_6_each_refusal_has_the_other_key_sign_after_the_ordinary_wait() -> None:
    script = Scripted(next_key=True, key_id="old", next_key_id="new")
    used: list[tuple[int, str]] = []
    for expected in (1, 0, 1):
        sign = script.challenge()
        script.machine.signed(sign.request, b"signature", script.now)
        verify = script.expect(SendRequest)
        used.append((sign.key, json.loads(verify.request.body)["key_id"]))
        script.answer(verify, answer(200, {"valid": False}))
        changed = script.expect(KeyChanged)
        assert (changed.key, changed.key_id, changed.clause) == (expected, ["old", "new"][expected], "AUTH-6")
        offline = script.expect(Offline)
        assert offline.retry_at is not None
        assert offline.retry_at >= script.mono + 5, "LINK-3's wait"
        script.wait(offline.retry_at - script.mono)
    assert used == [(0, "old"), (1, "new"), (0, "old")]


def test_auth_6_what_is_no_refusal_of_the_key_keeps_it() -> None:
    script = Scripted(next_key=True)
    for status in (500, 503, 429):
        sign = script.challenge()
        assert sign.key == 0
        script.machine.signed(sign.request, b"signature", script.now)
        script.answer(script.expect(SendRequest), answer(status))
        offline = script.expect(Offline)
        assert offline.retry_at is not None
        script.wait(offline.retry_at - script.mono)
    sign = script.challenge()
    script.machine.sign_failed(sign.request, "not now", script.now)
    script.none_of(KeyChanged)


def test_auth_6_one_key_is_all_there_is_by_default() -> None:
    script = Scripted()
    sign = script.challenge()
    script.machine.signed(sign.request, b"signature", script.now)
    script.answer(script.expect(SendRequest), answer(401))
    script.none_of(KeyChanged)


def test_auth_6_a_renewal_that_is_refused_changes_the_key_for_all() -> None:
    script = Scripted(next_key=True)
    conn = script.up(token(exp=1e9 + 50))
    script.unseen.clear()
    for _ in range(4):
        script.wait(10)
        script.machine.bytes_received(conn, script.now)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    script.answer(script.expect(SendRequest), answer(200, {"challenge": CHALLENGE, "expires_at": ""}))
    sign = script.expect(Sign)
    script.machine.signed(sign.request, b"signature", script.now)
    script.answer(script.expect(SendRequest), answer(403))
    assert (sign.key, script.expect(KeyChanged).key) == (0, 1)
    script.none_of(Offline)
