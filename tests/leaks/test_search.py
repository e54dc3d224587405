"""The search for canaries finds what is planted: where it finds nothing, nothing is there."""

from __future__ import annotations

import pickle
import re
import secrets
from base64 import b64encode, encodebytes, urlsafe_b64encode
from random import Random
from urllib.parse import quote, quote_from_bytes

import msgspec
import pytest

from artcafe_proto import AgentConfig
from support.canaries import Canaries, own_objects, spellings, traceback_text

SEED = Random(20).randbytes(32)
TOKEN = "canary-token_" + Random(21).randbytes(40).hex()
CANARIES = Canaries({"seed": SEED, "token": TOKEN})
PLANTED = {
    "raw": SEED,
    "repr": f"locals: {SEED!r}",
    "number": f"{int.from_bytes(SEED, 'big')}",
    "hex": f"seed={SEED.hex()}",
    "HEX": SEED.hex().upper(),
    "hex with colons": SEED.hex(":"),
    "URL-encoded": f"?seed={quote_from_bytes(SEED)}",
    "url-encoded": re.sub("%..", lambda match: match[0].lower(), f"?seed={quote_from_bytes(SEED)}"),
    "base64 lines, as in PEM": encodebytes(b"0123" * 10 + SEED + b"0123" * 10),
    "base64 lines, as Python shows them": repr(encodebytes(b"0123" * 10 + SEED + b"0123" * 10)),
    "a pickle": pickle.dumps({"a": [SEED]}),
} | {
    f"{encode.__name__} behind {before} and before {behind} bytes": encode(b"x" * before + SEED + b"y" * behind)
    for encode in (b64encode, urlsafe_b64encode)
    for before in range(6)
    for behind in range(4)
}


@pytest.mark.parametrize("way", PLANTED)
def test_a_planted_secret_is_found_however_it_is_written(way: str) -> None:
    planted = PLANTED[way]
    noise = Random(22).randbytes(5_000)
    hay = noise + (planted.encode() if isinstance(planted, str) else planted) + noise
    assert any(found.startswith("seed") for found in CANARIES.found_in(hay)), way
    assert CANARIES.found_in(hay.decode("latin-1")) == CANARIES.found_in(hay)


def test_every_spelling_is_found_and_a_part_of_a_text() -> None:
    for name, secret in (("seed", SEED), ("token", TOKEN.encode())):
        for way, spelling in spellings(secret).items():
            assert f"{name}, {way}" in CANARIES.found_in(f"xx{spelling}yy")
    for shown in (TOKEN[:20] + "…", repr(TOKEN[30:50]), f"Bearer {TOKEN}", quote(TOKEN)):
        assert CANARIES.found_in(shown)


def test_nothing_is_found_where_nothing_is() -> None:
    for _ in range(20):
        noise = secrets.token_bytes(20_000)
        assert CANARIES.found_in(noise) == []
        assert CANARIES.found_in(b64encode(noise) + noise.hex().encode()) == []
    assert CANARIES.found_in(TOKEN[:15]) == []


def test_the_locals_of_an_error_are_searched_those_of_its_context_included() -> None:
    def careless(secret: str) -> None:
        raise ValueError(len(secret))

    def careful(secret: str) -> None:
        try:
            careless(secret)
        except ValueError:
            del secret
            raise KeyError from None

    with pytest.raises(ValueError, match=r"^93$") as plain:
        careless(TOKEN)
    assert CANARIES.found_in(traceback_text(plain.value, everything=True))
    with pytest.raises(KeyError) as chained:
        careful(TOKEN)
    assert CANARIES.found_in(traceback_text(chained.value, everything=True)), (
        "the context is suppressed, and there all the same"
    )
    with pytest.raises(ExceptionGroup) as grouped:
        raise ExceptionGroup("all", [plain.value])
    assert CANARIES.found_in(traceback_text(grouped.value, everything=True))


class _Holder:
    def __init__(self, held: object) -> None:
        self.held = held


class _Opaque(msgspec.Struct, gc=False):
    held: object


def test_the_objects_of_this_project_are_found_wherever_they_are_held() -> None:
    config = AgentConfig(agent_id="a", tenant_id="t")
    assert config in list(own_objects(config))
    for holder in (_Holder(config), [{"a": (config,)}], lambda: config, _Opaque(config), _Holder([_Opaque(config)])):
        assert [found for found in own_objects(holder) if found is config], holder
    assert list(own_objects(_Holder(1))) == []
