"""AUTH-8: what a stranger learns from challenge and verify, by all the work that is counted."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_proto import HttpResponse, SigningKey
from artcafe_proto.policies.decoys import decoy_for
from artcafe_proto.policies.signatures import SignatureFormat
from support.platform_stage import AGENT, TENANT, Stage

WORK = ("hmac", "digest", "verify", "base64", "sha")
"""What takes time and could be left out: parts of the names of every hash, MAC, comparison, decoding, and operation
with a public key. All are written in C or Rust."""
MAC, VERIFY = "hmac_digest", "Ed25519PublicKey.verify"
VERIFIES = ("Ed25519PublicKey.verify", "RSAPublicKey.verify", "ECPublicKey.verify")


def work(action: Callable[[], object]) -> Counter[str]:
    """How often each function of WORK is called."""
    calls: Counter[str] = Counter()

    def count(_: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and any(part in function.__qualname__ for part in WORK):
            calls[function.__qualname__] += 1

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls


def shape(response: HttpResponse) -> tuple[object, ...]:
    """All of a response but the values that differ between any two."""
    body = json.loads(response.body)
    lengths = {name: len(value) if isinstance(value, str) else value for name, value in body.items()}
    return response.status, response.headers, lengths, len(response.body)


def wrong_signature(stage: Stage, shaped: str) -> str:
    """A signature by nobody's key, of some shape."""
    made = stage.key.sign(b"something else", "ssh")
    sshsig = stage.key.sign(b"something else", "sshsig")
    signature = {"ssh": made, "raw": bytes(64), "sshsig": sshsig, "none": b"x"}[shaped]
    return b64encode(signature).decode()


def test_auth_8_a_challenge_takes_the_same_work_and_looks_the_same_for_agents_that_do_not_exist() -> None:
    stage, asked = Stage(), dict[str, HttpResponse]()

    def ask(agent_id: str) -> None:
        asked[agent_id] = stage.ask("/api/v1/auth/challenge", {"agent_id": agent_id})

    ask("warm-up")
    known, unknown = work(lambda: ask(AGENT)), work(lambda: ask("agent-0"))
    assert known == unknown
    assert known[MAC] == 1
    assert shape(asked[AGENT]) == shape(asked["agent-0"])


@pytest.mark.parametrize("shaped", ["ssh", "raw", "sshsig", "none"])
@pytest.mark.parametrize("challenge_is", ["new", "used", "made up"])
@pytest.mark.parametrize("key_id", [None, "key-0"])
def test_auth_8_a_refused_signature_takes_the_same_work_and_looks_the_same_whoever_it_is_of(
    key_id: str | None, challenge_is: str, shaped: str
) -> None:
    stage, answers = Stage(), dict[tuple[str, str], HttpResponse]()
    stage.register("agent-2")  # without a key
    response = wrong_signature(stage, shaped)

    def refusal(agent_id: str, tenant_id: str) -> Counter[str]:
        challenge = "ac1.made.up.challenge" if challenge_is == "made up" else stage.challenge(agent_id)
        body = {"agent_id": agent_id, "tenant_id": tenant_id, "key_id": key_id}
        body |= {"challenge": challenge, "response": response}

        def verify() -> None:
            answers[agent_id, tenant_id] = stage.ask("/api/v1/auth/verify", body)

        if challenge_is == "used":
            verify()
        return work(verify)

    refusal("warm-up", TENANT)
    known = refusal(AGENT, TENANT)
    assert (known[MAC], known[VERIFY]) == (1, 0 if shaped == "none" else 1)
    strangers = [(AGENT, "tenant-2"), (AGENT, ""), ("agent-0", TENANT), ("agent-0", ""), ("agent-0", "tenant-2")]
    for stranger in (*strangers, ("agent-2", TENANT)):
        assert refusal(*stranger) == known, stranger
        assert shape(answers[stranger]) == shape(answers[AGENT, TENANT])
    assert {answer.status for answer in answers.values()} == {401}


def test_auth_8_a_key_that_is_not_there_costs_what_one_that_is_there_does() -> None:
    stage = Stage()
    response = wrong_signature(stage, "ssh")

    def refusal(**changes: str) -> Counter[str]:
        challenge = stage.challenge()
        return work(lambda: stage.verify(challenge, response=response, **changes))

    refusal()
    assert refusal(key_id=stage.key_id) == refusal(key_id="key-0") == refusal()
    assert refusal()[VERIFY] == 1


def many_keys(stage: Stage) -> list[SigningKey]:
    """Sixteen keys of all types, registered for an agent."""
    curves = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
    keys = [SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in range(4)]
    keys += [SigningKey(ec.derive_private_key(n, curve)) for curve in curves for n in (2, 3)]
    keys += [SigningKey(rsa.generate_private_key(65537, bits)) for bits in (2048, 2048, 3072)]
    stage.register("many-keys")
    for key in keys:
        stage.hub.registry.add_key(TENANT, "many-keys", key.public.openssh, "")
    return keys


def test_auth_5_no_key_is_tried_that_the_shape_of_the_response_rules_out() -> None:
    stage = Stage()
    for key in many_keys(stage):
        fitting = {"ssh-ed25519": 4, "ssh-rsa": 1 if key.public.could_have_made(bytes(384)) else 2}
        for signature_format in ("ssh", "raw", "sshsig"):
            response = b64encode(key.sign(b"something else", signature_format)).decode()
            challenge = stage.challenge("many-keys")

            def verify(challenge: str = challenge, response: str = response) -> None:
                assert stage.verify(challenge, agent_id="many-keys", response=response).status == 401

            tried = work(verify)
            most = 1 if signature_format == "sshsig" else fitting.get(key.public.algorithm, 2)
            if signature_format == "raw" and key.public.algorithm.startswith("ecdsa"):
                continue  # DER says nothing but how large the numbers are
            assert sum(tried[name] for name in VERIFIES) == most, (key, signature_format)


@pytest.mark.parametrize("signature_format", ["ssh", "raw", "sshsig"])
def test_auth_8_a_key_of_any_type_that_is_not_there_costs_what_one_that_is_there_does(
    signature_format: SignatureFormat,
) -> None:
    stage = Stage()
    for number, key in enumerate(many_keys(stage)):
        agent_id = f"with-one-key-{number}"
        stage.register(agent_id)
        stage.hub.registry.add_key(TENANT, agent_id, key.public.openssh, "")
        response = b64encode(key.sign(b"something else", signature_format)).decode()

        def tried(agent_id: str, response: str = response) -> Counter[str]:
            challenge = stage.challenge(agent_id)
            return work(lambda: stage.verify(challenge, agent_id=agent_id, response=response))

        tried("warm-up")
        assert tried(agent_id) == tried("agent-0"), key


def test_auth_8_who_can_sign_for_a_decoy_gets_nothing() -> None:
    stage = Stage()
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    challenge = stage.challenge("agent-0")
    signature = key.sign(challenge.encode(), "ssh")
    assert decoy_for(signature).verify(signature, challenge.encode()) == "ssh-ed25519", "it is a right signature"
    response = b64encode(signature).decode()
    assert stage.verify(challenge, agent_id="agent-0", response=response).status == 401
    stage.register("agent-2")
    challenge = stage.challenge("agent-2")
    response = b64encode(key.sign(challenge.encode(), "ssh")).decode()
    assert stage.verify(challenge, agent_id="agent-2", response=response).status == 401
    assert stage.verify(stage.challenge(), response=response).status == 401
