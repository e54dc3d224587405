"""AUTH-7: what a platform says of a refusal is shown, safely, and the advice fits the status and the step."""

from __future__ import annotations

import json
from itertools import product
from typing import Final, get_args

import pytest

from artcafe_proto import HttpRequest, HttpResponse
from artcafe_proto.refusals import MAX_SAID_CHARS, Step, advice, explain, secrets_of, what_it_says

TOKEN: Final = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZ2VudC0xIn0.c2lnbmF0dXJl"
CHALLENGE: Final = "a-challenge-of-more-than-sixteen-characters"
SIGNATURE: Final = "c2lnbmF0dXJlIG9mIGEgY2hhbGxlbmdlIGJ5IGEga2V5"
CALL: Final = HttpRequest(
    method="GET", target="/", headers=(("authorization", f"Bearer {TOKEN}"), ("x-tunnel", "hunter-22"))
)
VERIFY: Final = HttpRequest(
    method="POST",
    target="/",
    headers=(("accept", "application/json"),),
    body=json.dumps({"agent_id": "agent-1", "challenge": CHALLENGE, "response": SIGNATURE}).encode(),
)


def refusal(status: int, body: object = None, **headers: str) -> HttpResponse:
    """A response with a JSON body."""
    return HttpResponse(status=status, headers=tuple(headers.items()), body=json.dumps(body).encode())


SAID: Final[list[tuple[object, str]]] = [
    ({"detail": "Agent not found"}, '"Agent not found"'),
    ({"error": {"code": "no", "message": "no such agent"}}, '"no such agent"'),
    ({"error": "nope"}, '"nope"'),
    ({"message": "Forbidden"}, '"Forbidden"'),
    ({"valid": False, "error": {"message": "not this key"}}, '"not this key"'),
    ({"detail": {"message": "late"}, "error": "x"}, '"late"'),
    (
        {
            "detail": [
                {"loc": ["body", "key_id"], "msg": "Field required", "input": "x"},
                {"loc": [], "msg": "y"},
                5,
            ]
        },
        '"body.key_id: Field required; : y"',
    ),
    ({"detail": None, "error": "n"}, '"n"'),
    ({"detail": 5}, ""),
    ({"detail": "  "}, ""),
    ([], ""),
    (None, ""),
]


@pytest.mark.parametrize(("body", "said"), SAID)
def test_what_a_platform_says_is_found_in_every_common_shape(body: object, said: str) -> None:
    assert what_it_says(refusal(422, body)) == said


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100 + b"]" * 100])
def test_what_is_no_json_says_nothing(body: bytes) -> None:
    assert what_it_says(HttpResponse(status=502, body=body)) == ""


def test_what_a_platform_says_is_shortened_and_escaped() -> None:
    said = what_it_says(refusal(400, {"detail": "no\nagent-1: online\x1b[31m\u202e" + "x" * 5000}))
    assert said.startswith(r'"no\nagent-1: online\x1b[31m\u202ex')
    assert len(said) < MAX_SAID_CHARS + 20


@pytest.mark.parametrize(
    "text", ["{0}", "token {0} is bad", "token={0}", "bad:{0}.", "{1} is no token", 'a "{1}" is bad', "(Bearer {0})"]
)
@pytest.mark.parametrize(
    ("request_", "secret"), [(CALL, TOKEN), (CALL, "hunter-22"), (VERIFY, CHALLENGE), (VERIFY, SIGNATURE)]
)
def test_tok_4_a_platform_that_repeats_a_secret_has_it_left_out(request_: HttpRequest, secret: str, text: str) -> None:
    said = what_it_says(refusal(401, {"detail": text.format(secret, secret[:20])}), secrets_of(request_))
    assert secret not in said
    assert secret[:12] not in said
    assert "…" in said


def test_ids_are_no_secrets() -> None:
    assert what_it_says(refusal(401, {"detail": "agent-1 is new"}), secrets_of(VERIFY)) == '"agent-1 is new"'


REFUSED: Final = (400, 401, 403, 404, 422)
NAMES: Final = {
    "endpoint": ("endpoint",),
    "dialect": ("speak this API",),
    "agent": ("agent",),
    "key": ("key",),
    "tenant": ("tenant",),
    "format": ("signature_format", "well-formed"),
}
LOOK_AT: Final = {
    ("challenge", 400): "dialect agent format",
    ("challenge", 401): "agent",
    ("challenge", 403): "agent",
    ("challenge", 404): "endpoint dialect agent",
    ("challenge", 422): "dialect agent format",
    ("verify", 400): "dialect key format",
    ("verify", 401): "agent key tenant format",
    ("verify", 403): "agent key tenant",
    ("verify", 404): "endpoint agent tenant",
    ("verify", 422): "dialect key format",
    ("upgrade", 401): "agent key",
    ("upgrade", 403): "agent",
    ("upgrade", 404): "endpoint agent",
    ("call", 401): "agent key",
    ("call", 403): "agent",
    ("call", 404): "endpoint dialect agent",
}


@pytest.mark.parametrize(("step", "status"), LOOK_AT)
def test_auth_7_the_advice_names_what_fits_the_status_and_the_step(step: Step, status: int) -> None:
    said = advice(step, refusal(status))
    assert {name for name, words in NAMES.items() if any(word in said for word in words)} == {
        *LOOK_AT[step, status].split()
    }


def test_a_handshake_that_a_proxy_has_taken_apart_says_so() -> None:
    assert "does not pass on the fields Upgrade and Connection" in explain("upgrade", CALL, refusal(426))
    for status in (200, 400):
        assert "does a proxy in between not pass on" in explain("upgrade", CALL, refusal(status))


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://id:secret@api.example:8443/login?next=secret", "https://api.example:8443,"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1],"),
        ("https://api.example\x9b31m.evil", r"https://api.example\x9b31m.evil,"),
        ("/login?secret", "another address of the same host,"),
        ("//elsewhere/", "another address of the same host,"),
        ("https://[bad", "another address of the same host,"),
        ("https://h:99999/", "another address of the same host,"),
        (None, "another address of the same host,"),
    ],
)
def test_a_redirect_shows_where_to_and_nothing_that_may_be_secret(location: str | None, where: str) -> None:
    response = refusal(302) if location is None else refusal(302, location=location)
    said = explain("challenge", VERIFY, response)
    assert f"it redirects to {where}" in said
    assert "secret" not in said
    assert said.endswith("give it as api_endpoint")
    assert explain("upgrade", CALL, response).endswith("give it as ws_endpoint")


def test_every_step_and_status_makes_one_line() -> None:
    for step, status in product(get_args(Step), range(200, 600)):
        said = explain(step, VERIFY, refusal(status, {"detail": "why"}))
        assert f'with status {status}, saying "why"' in said
        assert said.isprintable()


@pytest.mark.parametrize(("status", "word"), [(407, "proxy-authorization"), (502, "cannot reach"), (504, "too slow")])
def test_what_a_proxy_answers_by_itself_is_told_as_its_own(status: int, word: str) -> None:
    assert word in explain("challenge", VERIFY, refusal(status))
