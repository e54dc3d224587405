"""AUTH-2, AUTH-8: what an agent is willing to sign, and challenges that are good for one attempt."""

from __future__ import annotations

import base64
import inspect
import json
import sys
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artcafe_proto.errors import ApiError, RemoteProtocolError
from artcafe_proto.limits import CHALLENGE_LIFE_S
from artcafe_proto.policies import challenges
from artcafe_proto.policies.challenges import ChallengeBook, check_challenge

NOW = 1000.25
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


def refusal_of(challenge: str) -> RemoteProtocolError | None:
    try:
        check_challenge(challenge)
    except RemoteProtocolError as refusal:
        return refusal
    return None


def refused(challenge: str) -> bool:
    refusal = refusal_of(challenge)
    assert refusal is None or (refusal.clause == "AUTH-2" and challenge not in str(refusal))
    return refusal is not None


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


# --- AUTH-2: the agent's side -----------------------------------------------------------------------------------------


@pytest.mark.repeats
def test_auth_2_random_texts_of_platforms_are_signed() -> None:
    rng = Random(1)
    for _ in range(500):
        data = rng.randbytes(32)
        for challenge in (data.hex(), unpadded(data), base64.b64encode(data).decode(), unpadded(data) + ".1700000000"):
            check_challenge(challenge)
    check_challenge("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    check_challenge("random_string_16")
    check_challenge('{"a":"JSON","as":"it","stands":0}')  # a JWT never begins with a brace


@pytest.mark.parametrize("size", [0, 1, 15, 1025, 100_000])
def test_auth_2_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="expected a challenge of 16 to 1024 characters"):
        check_challenge("z" * size)


@pytest.mark.repeats
@pytest.mark.parametrize("character", [*map(chr, range(0x21)), "\x7f", "\x80", "é", "\u2028", "\ud800", "\uff10"])
def test_auth_2_characters_outside_visible_ascii_are_refused(character: str) -> None:
    for challenge in (character + "z" * 20, "z" * 20 + character, "z" * 10 + character + "z" * 10):
        with pytest.raises(RemoteProtocolError, match="visible ASCII"):
            check_challenge(challenge)


HEADERS: list[dict[str, Any]] = [
    {"alg": "RS256", "typ": "JWT"},
    {"alg": "RS512", "b64": False, "crit": ["b64"]},  # RFC 7797
    {"alg": "EdDSA", "jku": "é" * 20},
    {"alg": {"deep": [[[{}]]]}, "n": 10**700},
    {"": 0},
]


def spellings(header: dict[str, Any]) -> list[str]:
    """Ways to write a header that decoders in use are known to take."""
    compact = json.dumps(header, separators=(",", ":"))
    texts = [compact, json.dumps(header, indent=2), " \r\n\t" + compact + "\n ", json.dumps(header, ensure_ascii=False)]
    encodings = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
    datas = [text.encode(encoding) for text in texts for encoding in encodings]
    datas += [compact.encode() + junk for junk in (b"}", b"\0", b"junk \xff", b" {}")]
    datas += [compact.encode().replace(b'"', b'"\xff\n', 1)]
    written: list[str] = []
    for data in datas:
        standard = base64.b64encode(data).decode()
        written += [
            unpadded(data),
            base64.urlsafe_b64encode(data).decode(),
            standard,
            standard.rstrip("="),
            "=" + standard,
            standard + "====",
            standard + ("A" if len(standard.rstrip("=")) % 4 == 0 else ""),
            "!" + "~".join(standard),
        ]
    return [text for text in written if len(text) <= 1000]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(each, marks=pytest.mark.repeats) if "RS512" in str(each) or "é" in str(each) else each
        for each in HEADERS
    ],
    ids=str,
)
def test_auth_2_a_jwt_to_be_signed_is_refused_in_every_spelling(header: dict[str, Any]) -> None:
    for head in spellings(header):
        for rest in (".", ".eyJzdWIiOiJhZ2VudCJ9", ".payload.with.dots", ".$unencoded,payload", "." * 20):
            challenge = head + rest
            assert len(challenge) < 16 or refused(challenge)
        assert len(head) < 16 or refused(head), "without a dot, the rule is for the whole text"


def test_auth_2_an_empty_header_is_one_if_nothing_follows_it() -> None:
    assert refused("e30.eyJzdWIiOiJhZ2VudCJ9")
    assert refused("e30=.eyJzdWIiOiJhZ2VudCJ9")
    assert refused("IHt9IA.eyJzdWIiOiJhZ2VudCJ9")  # blanks around it
    check_challenge("e30xyzxyzxyzxyzxyzxyz")  # one random challenge in 65,536 looks like this


def test_auth_2_other_json_is_no_header() -> None:
    for text in ("[1,2,3]", '"text"', "1234567890123", "null", '[{"alg":"none"}]', '{"alg":', "{alg:1}", "{'alg':1}"):
        assert not refused(unpadded(text.encode()) + ".abcdefghijklmnop")


def test_auth_2_json_nested_beyond_reading_is_refused() -> None:
    assert refused(unpadded(b'{"a":' + b"[" * 375 + b"]" * 375 + b"}") + ".x")


def test_auth_2_nested_json_is_refused_however_deep_the_caller_is() -> None:
    deepest = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        assert refused(unpadded(b'{"a":' + b"[" * 300 + b"]" * 300 + b"}") + ".x")
    finally:
        sys.setrecursionlimit(deepest)


def lenient_json_object(text: str) -> bool:
    """What a careless verifier would do with the first part of a token. (A header must name an algorithm.)"""
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=="))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found != {}


@pytest.mark.repeats
@given(
    header=st.dictionaries(
        st.text(max_size=4), st.none() | st.text(max_size=4) | st.integers(), min_size=1, max_size=3
    ),
    insertions=st.lists(st.tuples(st.floats(0, 1), VISIBLE), max_size=4),
)
def test_auth_2_what_python_itself_takes_for_a_header_is_refused(
    header: dict[str, Any], insertions: list[tuple[float, str]]
) -> None:
    text = base64.b64encode(json.dumps(header).encode()).decode()
    for where, character in insertions:
        at = int(where * len(text))
        text = text[:at] + character.replace(".", "=") + text[at:]
    assert refused(text + "." + "z" * 16) or not lenient_json_object(text)


@pytest.mark.repeats
@given(st.text(VISIBLE, min_size=16, max_size=1024) | st.text(max_size=40))
def test_auth_2_checking_any_text_raises_remote_protocol_error_only(text: str) -> None:
    refusal = refusal_of(text)
    assert refusal is None or refusal.clause == "AUTH-2"


# --- AUTH-8: the platform's side --------------------------------------------------------------------------------------


def new_book() -> ChallengeBook:
    return ChallengeBook(bytes(range(32)))


def nonce(number: int = 7) -> bytes:
    return number.to_bytes(32, "big")


def test_auth_8_a_challenge_is_good_once_and_fit_to_be_signed() -> None:
    book = new_book()
    challenge = book.issue("agent", "tenant", nonce(), NOW)
    check_challenge(challenge)
    assert challenge.startswith("ac1.")
    assert "agent" not in challenge
    assert "tenant" not in challenge
    assert book.consume(challenge, "agent", "tenant", NOW + 1)
    assert not book.consume(challenge, "agent", "tenant", NOW + 1)


def test_auth_8_challenges_differ_by_their_nonce_alone_and_do_not_disturb_each_other() -> None:
    book = new_book()
    issued = [book.issue("agent", "tenant", nonce(number), NOW) for number in range(20)]
    assert len(set(issued)) == 20
    assert all(book.consume(challenge, "agent", "tenant", NOW) for challenge in reversed(issued))
    assert not any(book.consume(challenge, "agent", "tenant", NOW) for challenge in issued)


def test_auth_8_a_challenge_expires_after_its_life() -> None:
    book = new_book()
    first, second = (book.issue("agent", "tenant", nonce(number), NOW) for number in (1, 2))
    assert {challenge.split(".")[2] for challenge in (first, second)} == {"1300250"}, "in milliseconds"
    assert book.consume(first, "agent", "tenant", NOW + CHALLENGE_LIFE_S - 0.001)
    assert not book.consume(second, "agent", "tenant", NOW + CHALLENGE_LIFE_S)


@pytest.mark.parametrize(
    ("agent", "tenant"),
    [("other", "tenant"), ("agent", "other"), ("agentt", "enant"), ("agen", "ttenant"), ("", "agenttenant"), ("", "")],
)
def test_auth_8_a_challenge_is_bound_to_agent_and_tenant_and_stays_good_for_them(agent: str, tenant: str) -> None:
    book = new_book()
    challenge = book.issue("agent", "tenant", nonce(), NOW)
    assert not book.consume(challenge, agent, tenant, NOW)
    assert book.consume(challenge, "agent", "tenant", NOW)


def test_auth_8_a_challenge_of_another_book_is_not_taken() -> None:
    assert not new_book().consume(ChallengeBook(bytes(32)).issue("a", "t", nonce(), NOW), "a", "t", NOW)


def respellings(challenge: str) -> list[str]:
    version, middle, expiry, mac = challenge.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    neighbour = last[last.index(mac[-1]) ^ 1]  # the same bytes to a lenient decoder
    neighbour_of_nonce = last[last.index(middle[-1]) ^ 1]
    return [
        f"{version}.{middle}.0{expiry}.{mac}",
        f"{version}.{middle}.+{expiry}.{mac}",
        f"{version}.{middle}.{expiry}_0.{mac}",
        f"{version}.{middle}.{expiry}.0.{mac}",
        f"{version}.{middle}.{int(expiry) + 1}.{mac}",
        f"{version}.{middle}.{expiry}.{mac}=",
        f"{version}.{middle}=.{expiry}.{mac}",
        f"{version}.{middle}.{expiry}.{mac[:-1]}{neighbour}",
        f"{version}.{middle[:-1]}{neighbour_of_nonce}.{expiry}.{mac}",
        f"{version}.{middle}.{expiry}.{mac}".replace("-", "+").replace("_", "/") + " ",
        f"{version}.{middle}.{expiry}.{mac}\n",
        f" {version}.{middle}.{expiry}.{mac}",
        f"{version}.{middle}.{expiry}.{mac}.{mac}",
        f"{version}.{middle}.{expiry}.",
        f"{version}.{middle}.{expiry}",
        f"AC1.{middle}.{expiry}.{mac}",
        f"ac2.{middle}.{expiry}.{mac}",
        challenge.translate({ord(str(digit)): 0x0660 + digit for digit in range(10)}),
        challenge + "\ud800",
        "\ud800." + mac,
        mac,
        ".",
        "",
        challenge + "." * 100_000,
    ]


def test_auth_8_a_challenge_has_one_spelling() -> None:
    book = new_book()
    challenge = book.issue("agent", "tenant", nonce(), NOW)
    for consumed in (False, True):
        for respelled in respellings(challenge):
            assert not book.consume(respelled, "agent", "tenant", NOW)
        assert book.consume(challenge, "agent", "tenant", NOW) is not consumed


@pytest.mark.repeats
@given(st.text(max_size=120), st.text(max_size=9), st.text(max_size=9))
def test_auth_8_consuming_any_text_never_raises(text: str, agent: str, tenant: str) -> None:
    assert not new_book().consume(text, agent, tenant, NOW)


@pytest.mark.repeats
@given(agent=st.text(max_size=9), tenant=st.text(max_size=9), mono=st.floats(-1e9, 1e9))
@example(agent="\ud800", tenant="", mono=0.0)
def test_auth_8_every_challenge_issued_is_good_once(agent: str, tenant: str, mono: float) -> None:
    book = new_book()
    challenge = book.issue(agent, tenant, nonce(), mono)
    check_challenge(challenge)
    assert book.consume(challenge, agent, tenant, mono)
    assert not book.consume(challenge, agent, tenant, mono)


def test_auth_8_a_full_book_forgets_nothing_and_says_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "MAX_CONSUMED_CHALLENGES", 3)
    book = new_book()
    issued = [book.issue("agent", "tenant", nonce(number), NOW + number) for number in range(5)]
    for source, challenge in zip("abc", (issued[2], issued[0], issued[1]), strict=True):
        assert book.consume(challenge, "agent", "tenant", NOW + 5, source)
    with pytest.raises(ApiError) as refusal:
        book.consume(issued[3], "agent", "tenant", NOW + 5, "d")
    assert (refusal.value.status, refusal.value.error) == (503, "busy")
    assert not book.consume(issued[0], "agent", "tenant", NOW + 5), "a repeat is a repeat, however full the book"
    assert book.consume(issued[3], "agent", "tenant", NOW + CHALLENGE_LIFE_S + 0.5), "one expired and made room"
    with pytest.raises(ApiError):
        book.consume(issued[4], "agent", "tenant", NOW + CHALLENGE_LIFE_S + 0.5)
    assert book.consume(issued[4], "agent", "tenant", NOW + CHALLENGE_LIFE_S + 1.5, "e")


@pytest.mark.parametrize("hogs", [1, 2, 9])
def test_plat_8_whoever_takes_all_the_memory_there_is_leaves_room_for_others(
    hogs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenges, "MAX_CONSUMED_CHALLENGES", 60)
    book, numbers = new_book(), iter(range(1000))

    def taken(source: str, mono: float = NOW) -> bool:
        challenge = book.issue("agent", "tenant", nonce(next(numbers)), mono)
        try:
            return book.consume(challenge, "agent", "tenant", mono, source)
        except ApiError as error:
            refusal = error
        assert (refusal.status, refusal.error) == (429, "too_many_attempts")
        return False

    held = [0] * hogs
    for turn in range(60 * hogs):
        held[turn % hogs] += taken(f"hog {turn % hogs}")
    assert 60 - sum(held) >= 60 // (hogs + 1)
    assert max(held) - min(held) <= 1
    assert taken("somebody else")
    assert sum(taken(f"hog {number}", NOW + CHALLENGE_LIFE_S + 1) for number in range(hogs)) == hogs


def test_plat_8_the_book_keeps_nothing_of_what_has_expired() -> None:
    book = new_book()
    for number in range(5):
        challenge = book.issue("agent", "tenant", nonce(number), NOW)
        assert book.consume(challenge, "agent", "tenant", NOW, f"source {number % 2}")
    book.check_room(NOW + CHALLENGE_LIFE_S)
    assert not any((book._consumed, book._expiries, book._used_by))  # pyright: ignore[reportPrivateUsage]
