"""A hub with two tenants, called as over HTTP: no sockets, no clock."""

from __future__ import annotations

import json
from base64 import b64encode
from random import Random
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_proto import HttpRequest, HttpResponse, Instant, PlatformConfig, PlatformHub, SigningKey
from artcafe_proto.platform.api import NOT_FOUND, Answer, answer
from support.drained import take_event

TENANT = "tenant-1"
TOKEN = "tenant-token-0123456789"
OTHER_TENANT = "tenant-2"
OTHER_TOKEN = "other-token-0123456789"
TENANTS = {TENANT: TOKEN, OTHER_TENANT: OTHER_TOKEN}
NOW = Instant(1000.0, 1_700_000_000.0)
JSON = "application/json"


def key(seed: int) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(Random(seed).randbytes(32)))


class Api:
    """A hub with two tenants, called as over HTTP."""

    def __init__(self) -> None:
        self.hub = PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32))
        for tenant_id, token in TENANTS.items():
            self.hub.registry.add_tenant(tenant_id, token)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = TOKEN,
        media_type: str | None = JSON,
        now: Instant = NOW,
    ) -> Answer:
        """The answer to a request; a body of bytes goes as it is."""
        headers = [("host", "platform")]
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        if media_type is not None:
            headers.append(("content-type", media_type))
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        request = HttpRequest(method=method, target=f"/api/v1{path}", headers=tuple(headers), body=raw)
        found = answer(self.hub, request, now)
        return NOT_FOUND if found is None else found.answer  # as an owner answers

    def response(self, method: str, path: str, body: object = None, **how: Any) -> HttpResponse:
        """The answer, which is a response at once."""
        response = self.ask(method, path, body, **how)
        assert isinstance(response, HttpResponse)
        return response

    def json(self, method: str, path: str, body: object = None, *, status: int, **how: Any) -> Any:
        """The answer's JSON."""
        response = self.response(method, path, body, **how)
        assert response.status == status, response.body
        assert response.header("content-type") == JSON
        return json.loads(response.body)

    def error(self, method: str, path: str, body: object = None, *, status: int, **how: Any) -> str:
        """The code of an error, whose body has no more than PLAT-7 says."""
        value = self.json(method, path, body, status=status, **how)
        assert set(value) == {"error"}
        assert set(value["error"]) == {"code", "message"}
        return value["error"]["code"]

    def agent(self, agent_id: str, seed: int = 1) -> str:
        """Register an agent with a key, and authenticate it; returns its token."""
        self.json("POST", "/agents", {"agent_id": agent_id}, status=201)
        self.json("POST", "/ssh-keys", {"agent_id": agent_id, "public_key": key(seed).public.openssh}, status=201)
        challenge = json.loads(self.authenticate("challenge", {"agent_id": agent_id}).body)["challenge"]
        signature = b64encode(key(seed).sign(challenge.encode(), "ssh")).decode()
        proof = {"tenant_id": TENANT, "agent_id": agent_id, "challenge": challenge, "response": signature}
        return json.loads(self.authenticate("verify", proof).body)["token"]

    def authenticate(self, step: str, body: object) -> HttpResponse:
        headers = (("content-type", JSON),)
        request = HttpRequest(method="POST", target="/", headers=headers, body=msgspec.json.encode(body))
        authenticator = self.hub.authenticator
        return (authenticator.challenge if step == "challenge" else authenticator.verify)(request, None, NOW)

    def events(self, kind: type[Any]) -> list[Any]:
        """What came of one kind; the rest of the events is passed over."""
        return [output for output in iter(lambda: take_event(self.hub), None) if isinstance(output, kind)]
