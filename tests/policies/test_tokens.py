"""TOK-1 to TOK-4: a token's life, read without trust and kept on the monotonic clock."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.instants import Instant
from artcafe_proto.limits import MAX_TOKEN_LIFE_S
from artcafe_proto.policies.tokens import Token, read_token

WALL = 1_700_000_000.0
NOW = Instant(mono=50.0, wall=WALL)


def part(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt_of(payload: str | bytes) -> str:
    return f"{part('{}')}.{part(payload)}.{part(bytes(64))}"


def read(payload: object, date: float | None = None, now: Instant = NOW) -> Token:
    return read_token(jwt_of(json.dumps(payload)), date, now)


# --- life (TOK-1) -----------------------------------------------------------------------------------------------------


def test_tok_1_the_life_is_counted_from_the_date_of_the_response() -> None:
    wrong = Instant(mono=50.0, wall=0.0)
    token = read({"exp": WALL + 900, "iat": WALL - 77}, date=WALL, now=wrong)
    assert token.life_s == 900
    assert token.expires_at == 950
    assert not token.used


def test_tok_1_without_a_date_it_is_counted_from_iat() -> None:
    assert read({"exp": WALL + 900, "iat": WALL}, now=Instant(50.0, 0.0)).life_s == 900


@pytest.mark.parametrize("payload", [{"exp": WALL + 900}, {"exp": WALL + 900, "iat": "soon"}])
def test_tok_1_without_either_it_is_counted_from_the_wall_clock(payload: object) -> None:
    assert read(payload).life_s == 900


UNKNOWN_LIVES = [
    "{}",
    '{"exp":null}',
    '{"exp":"1700000900"}',
    '{"exp":true}',
    '{"exp":[1700000900]}',
    '{"exp":NaN}',
    '{"exp":Infinity}',
    '{"exp":1e400}',
    '{"exp":1' + "0" * 30 + "}",
    '{"exp":1' + "0" * 400 + "}",
    '{"exp":1' + "0" * 5000 + "}",
    '{"exp":1e300}',
    '{"exp":%r}' % (WALL + MAX_TOKEN_LIFE_S + 1),
    '{"exp":1700000900000}',  # milliseconds
    "[1700000900]",
    '"text"',
    "1700000900",
    "",
    "{",
    '{"exp":1700000900}}',
    "[" * 8000,
    '{"a":' + "[" * 4000 + "]" * 4000 + ',"exp":1700000900}',
    b"\xff",
    b'{"\xff":1}',
]


@pytest.mark.parametrize("payload", UNKNOWN_LIVES, ids=lambda payload: str(payload)[:20])
def test_tok_1_an_unreadable_absent_or_absurd_exp_means_usable_until_a_401(payload: str | bytes) -> None:
    token = read_token(jwt_of(payload), WALL, NOW)
    assert token.life_s is None
    assert token.expires_at is None
    assert token.renew_at is None
    token.used = True
    token.age(1e9)
    assert token.usable(1e12)


@pytest.mark.parametrize("value", ["opaque", "a.b", "....", "a.b.c", "a.AAAAA.c", "a.~~~~.c", "a.b.c.d.e", "abc=="])
def test_tok_1_a_token_that_is_no_jwt_is_opaque(value: str) -> None:
    token = read_token(value, WALL, NOW)
    assert token.value == value
    assert token.life_s is None


def test_tok_1_an_encrypted_token_of_five_parts_is_not_read() -> None:
    assert read_token("e30." + part('{"exp":1700000900}') + ".x.x.x", WALL, NOW).life_s is None


def test_tok_1_the_longest_life_is_ten_years() -> None:
    assert read({"exp": WALL + MAX_TOKEN_LIFE_S}, date=WALL).life_s == MAX_TOKEN_LIFE_S


@pytest.mark.parametrize(
    "value", ["", " ", "a b", "a\r\nX-Evil: 1", "a\tb", "tök.en.x", "=", "a=b", 'a"b', "a,b", "\ud800"]
)
def test_tok_1_what_no_authorization_header_can_carry_is_refused_unquoted(value: str) -> None:
    with pytest.raises(RemoteProtocolError, match="RFC 6750") as refusal:
        read_token(value, WALL, NOW)
    assert refusal.value.clause == "TOK-1"
    assert len(value) < 5 or value not in str(refusal.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["exp", "iat", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.repeats
@given(json_values.map(json.dumps) | st.text(max_size=30), st.none() | st.floats(-1e12, 1e12))
def test_tok_1_any_payload_gives_a_token_whose_life_is_sane(payload: str, date: float | None) -> None:
    token = read_token(jwt_of(payload.encode("utf-8", "surrogatepass")), date, NOW)
    assert token.life_s is None or 0 <= token.life_s <= MAX_TOKEN_LIFE_S


@pytest.mark.repeats
@given(st.text(max_size=60))
def test_tok_1_any_text_gives_a_token_or_a_remote_protocol_error(text: str) -> None:
    with suppress(RemoteProtocolError):
        assert read_token(text, None, NOW).value == text


# --- use (TOK-2, TOK-3, LINK-7) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("life_s", "lead_s"), [(900, 180), (1500, 300), (86_400, 300), (10, 2), (0, 0)])
def test_tok_2_it_is_renewed_when_300_s_or_a_fifth_of_its_life_is_left(life_s: float, lead_s: float) -> None:
    token = Token("t", life_s=life_s, mono=50.0)
    assert token.renew_at == 50 + life_s - lead_s


@pytest.mark.parametrize("exp", [WALL - 1000, 0, -1e12, WALL])
def test_tok_3_a_token_just_received_is_used_once_whatever_its_exp_says(exp: float) -> None:
    token = read({"exp": exp}, date=WALL)
    assert token.life_s == 0
    assert token.usable(50)
    assert token.usable(1e9)
    token.used = True
    assert not token.usable(50)


def test_tok_3_after_that_it_is_checked_before_every_use() -> None:
    token = Token("t", life_s=900, mono=50.0)
    token.used = True
    assert token.usable(949.9)
    assert not token.usable(950)


def test_link_7_time_that_the_monotonic_clock_missed_ages_it() -> None:
    token = Token("t", life_s=900, mono=50.0)
    token.used = True
    token.age(100)
    assert token.expires_at == 850
    assert token.renew_at == 670
    assert token.life_s == 900
    assert not token.usable(850)


# --- secrecy (TOK-4) --------------------------------------------------------------------------------------------------
