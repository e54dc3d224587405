"""Policies of keys, challenges and tokens: what is ours passes once and for its time, anything else never does.

That no bytes of a stranger raise is in `tests/policies`, beside the examples of each format.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from artcafe_proto import ApiError, Instant, PublicKey, RemoteProtocolError, SignatureFormat, SigningKey
from artcafe_proto.limits import MAX_TOKEN_LIFE_S
from artcafe_proto.policies import challenges as challenges_module
from artcafe_proto.policies.challenges import ChallengeBook, check_challenge
from artcafe_proto.policies.ssh_wire import pack_string, take_string
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.policies.tokens import Token, read_token

# --- the book of challenges -------------------------------------------------------------------------------------------

ROOM = 3
NAMES = st.sampled_from(["", "a", "b", "ab"])


class ChallengeBookModel(RuleBasedStateMachine):
    """AUTH-8 with room for three used ones: who got which challenge until when, and which of them are used up."""

    issued = Bundle("issued")

    def __init__(self) -> None:
        super().__init__()
        self.limit = pytest.MonkeyPatch()
        self.limit.setattr(challenges_module, "MAX_CONSUMED_CHALLENGES", ROOM)
        self.book = ChallengeBook(bytes(32))
        self.mono = 8.0
        self.good: dict[str, tuple[str, str, float]] = {}
        self.used: dict[str, float] = {}

    def teardown(self) -> None:
        self.limit.undo()

    @rule(seconds=st.sampled_from([0.0, 0.25, 150.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        self.mono += seconds

    @rule(target=issued, agent=NAMES, tenant=NAMES)
    def issue(self, agent: str, tenant: str) -> str:
        challenge = self.book.issue(agent, tenant, len(self.good).to_bytes(32), self.mono)
        check_challenge(challenge)  # an agent of ours would sign it
        self.good[challenge] = (agent, tenant, self.mono + 300.0)
        return challenge

    @rule(
        challenge=issued,
        change=st.none() | st.tuples(st.integers(0, 100), st.characters()),
        owner=st.none() | st.tuples(NAMES, NAMES),
    )
    def consume(self, challenge: str, change: tuple[int, str] | None, owner: tuple[str, str] | None) -> None:
        given_to, expires_at = self.good[challenge][:2], self.good[challenge][2]
        text = challenge
        if change is not None:
            place = change[0] % len(challenge)
            text = challenge[:place] + change[1] + challenge[place + 1 :]
        is_right = text == challenge and owner in (None, given_to) and self.mono < expires_at
        is_right = is_right and challenge not in self.used
        is_full = sum(self.mono < until for until in self.used.values()) >= ROOM
        agent, tenant = given_to if owner is None else owner
        if is_right and is_full:
            with pytest.raises(ApiError):
                self.book.consume(text, agent, tenant, self.mono)
        else:
            assert self.book.consume(text, agent, tenant, self.mono) == is_right
            if is_right:
                self.used[challenge] = expires_at


TestChallengeBook = ChallengeBookModel.TestCase

# --- tokens, the agent's side -----------------------------------------------------------------------------------------

NUMBERS = st.integers(-(10**6), 10**10) | st.floats(-1e6, 1e10)


@given(
    exp=st.none() | NUMBERS | st.text(max_size=3) | st.booleans(),
    iat=st.none() | NUMBERS,
    date=st.none() | st.floats(0, 4e9),
    wall=st.floats(0, 4e9),
    mono=st.floats(0, 1e9),
)
def test_tok_1_the_life_of_a_token_is_what_its_platform_means(
    exp: object, iat: float | None, date: float | None, wall: float, mono: float
) -> None:
    claims = {name: value for name, value in (("exp", exp), ("iat", iat)) if value is not None}
    value = f"e30.{urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"
    token = read_token(value, date, Instant(mono, wall))
    if isinstance(exp, bool) or not isinstance(exp, int | float):
        assert token.life_s is None
    else:
        since = date if date is not None else iat if iat is not None else wall
        life_s = max(0.0, exp - since)
        assert token.life_s == (life_s if life_s <= MAX_TOKEN_LIFE_S else None)


@given(
    life_s=st.none() | st.floats(0, 1e6), mono=st.floats(0, 1e6), aged_s=st.floats(0, 1e6), after_s=st.floats(0, 2e6)
)
def test_tok_2_tok_3_a_token_is_renewed_before_it_ends_and_used_once_whatever_it_says(
    life_s: float | None, mono: float, aged_s: float, after_s: float
) -> None:
    token = Token("secret", life_s=life_s, mono=mono)
    assert token.usable(mono + after_s)
    token.used = True
    token.age(aged_s)
    if life_s is None:
        assert token.usable(mono + after_s)
        assert (token.expires_at, token.renew_at) == (None, None)
    else:
        assert token.expires_at is not None
        assert token.renew_at is not None
        assert token.usable(mono + after_s) == (mono + after_s < token.expires_at)
        assert token.expires_at == pytest.approx(mono + life_s - aged_s, abs=1e-6)
        assert token.expires_at - token.renew_at == pytest.approx(min(300.0, life_s / 5), abs=1e-6)
    assert "secret" not in repr(token)


# --- tokens, the platform's side --------------------------------------------------------------------------------------


@given(
    names=st.tuples(*[st.text(min_size=1, max_size=20)] * 3),
    life_s=st.integers(1, 10**6),
    wall=st.integers(0, 4 * 10**9),
    after_s=st.integers(-40, 2 * 10**6),
)
def test_tok_5_a_token_says_what_it_was_issued_for_and_is_good_for_its_life(
    names: tuple[str, str, str], life_s: int, wall: int, after_s: int
) -> None:
    agent_id, tenant_id, key_id = names
    issuer = TokenIssuer(bytes(32), issuer="platform", life_s=life_s)
    token = issuer.issue(agent_id=agent_id, tenant_id=tenant_id, key_id=key_id, jti="1", wall=wall)
    if -30 <= after_s < life_s:  # a clock may be set back by that much
        claims = issuer.check(token, wall + after_s)
        assert (claims.agent_id, claims.tenant_id, claims.key_id) == names
        assert (claims.issued_at, claims.expires_at) == (wall, wall + life_s)
    else:
        with pytest.raises(RemoteProtocolError):
            issuer.check(token, wall + after_s)


@given(place=st.integers(0, 1000), character=st.characters(), seed=st.binary(min_size=32, max_size=32))
def test_tok_5_a_changed_token_or_that_of_another_key_is_refused(place: int, character: str, seed: bytes) -> None:
    mine, other = (TokenIssuer(each, issuer="platform", life_s=900) for each in (bytes(32), seed))
    token = mine.issue(agent_id="a", tenant_id="t", key_id="k", jti="1", wall=1e9)
    place %= len(token) - 1  # the last character holds four bits that nobody reads (RFC 4648 section 3.5)
    changed = token[:place] + character + token[place + 1 :]
    if changed != token:
        with pytest.raises(RemoteProtocolError):
            mine.check(changed, 1e9)
    if seed != bytes(32):
        with pytest.raises(RemoteProtocolError):
            other.check(token, 1e9)


# --- keys and signatures ----------------------------------------------------------------------------------------------


@cache
def signing_key(seed: bytes) -> SigningKey:
    """The Ed25519 key of a seed; an RSA key for the empty one, ECDSA keys for those of one byte."""
    if not seed:
        return SigningKey(generate_private_key(65537, 2048))
    if len(seed) == 1:
        return SigningKey(derive_private_key(7, (SECP256R1(), SECP384R1(), SECP521R1())[seed[0]]))
    return SigningKey(Ed25519PrivateKey.from_private_bytes(seed))


SEEDS = st.just(b"") | st.integers(0, 2).map(lambda curve: bytes([curve])) | st.binary(min_size=32, max_size=32)


@given(
    seed=SEEDS,
    message=st.binary(max_size=80),
    signature_format=st.sampled_from(["ssh", "raw"]),
    bit=st.integers(0, 8000),
    extra=st.binary(max_size=3),
)
def test_auth_3_what_a_key_signs_its_public_half_verifies_and_nothing_else(
    seed: bytes, message: bytes, signature_format: SignatureFormat, bit: int, extra: bytes
) -> None:
    key = signing_key(seed)
    signature = key.sign(message, signature_format)
    assert (key.public.verify(signature, message) or "").startswith(("ssh-ed25519", "rsa-sha2-", "ecdsa-sha2-"))
    flipped = bytearray(signature)
    flipped[bit // 8 % len(signature)] ^= 1 << bit % 8
    assert key.public.verify(bytes(flipped), message) is None
    assert key.public.verify(signature, message + b"x") is None
    assert signing_key(bytes(31) + b"\1").public.verify(signature, message) is None or seed == bytes(31) + b"\1"
    if extra:
        assert key.public.verify(signature + extra, message) is None


@given(
    seed=st.binary(min_size=32, max_size=32), comment=st.text(st.characters(codec="ascii", exclude_categories=["C"]))
)
def test_auth_5_a_key_is_the_same_in_every_container_and_on_every_line(seed: bytes, comment: str) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = SigningKey(private).public
    for container in (PrivateFormat.OpenSSH, PrivateFormat.PKCS8):
        pem = private.private_bytes(Encoding.PEM, container, NoEncryption())
        assert SigningKey.load(pem).public.openssh == public.openssh
        assert SigningKey.load(b"text before\r\n" + pem.replace(b"\n", b"\r\n")).public.openssh == public.openssh
    parsed = PublicKey.parse(f" {public.openssh}  {comment}\n")
    assert (parsed.openssh, parsed.fingerprint) == (public.openssh, public.fingerprint)


@given(st.binary(max_size=40) | st.tuples(st.binary().map(pack_string), st.binary()).map(b"".join))
def test_any_bytes_begin_with_an_ssh_string_or_are_cut_short(data: bytes) -> None:
    announced = int.from_bytes(data[:4])
    if len(data) >= 4 + announced and len(data) >= 4:
        taken, rest = take_string(data)
        assert len(taken) == announced
        assert pack_string(taken) + rest == data
    else:
        with pytest.raises(ValueError, match="cut short"):
            take_string(data)
