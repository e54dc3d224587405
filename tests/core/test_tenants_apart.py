"""PLAT-1, PLAT-4, TOK-5: tenants and agents whose ids resemble each other, and the spellings of ids in an address."""

from __future__ import annotations

import json
from base64 import b64encode
from itertools import count
from typing import Any, NamedTuple

import pytest

from artcafe_proto import HttpRequest, HttpResponse, PlatformSession
from artcafe_proto.effects import AcceptUpgrade, SendResponse
from support.drained import take
from support.platform_api import NOW, Api, key

TOKENS = {tenant: f"token-of-{tenant}-0123456789" for tenant in ("acme", "acme-2", "Acme", "acm")}
CONNS = count(77)
AGENT, KEY_SEED = "robot", 7
NEIGHBOURS = ["robot-2", "robo", "Robot", "robot ", "robot%", "robot%20", "robot/x", "robo\u0301t", "rob\u00f3t"]
"""Ids that are not AGENT's, of which some are its beginning, begin with it, or look like it."""


class Operation(NamedTuple):
    """What a tenant may do with one of its things: `{agent}`, `{key}` and `{command}` stand for their ids."""

    method: str
    path: str
    body: dict[str, Any] | None = None


OPERATIONS = [
    Operation("GET", "/agents/{agent}"),
    Operation("HEAD", "/agents/{agent}"),
    Operation("POST", "/agents/{agent}/commands", {"command": "work"}),
    Operation("POST", "/agents/{agent}/messages", {"data": {}}),
    Operation("POST", "/ssh-keys", {"agent_id": "{agent}", "public_key": key(99).public.openssh}),
    Operation("GET", "/commands/{command}"),
    Operation("GET", "/commands/{command}?wait=5"),
    Operation("GET", "/commands/{command}?agent_id={agent}"),
    Operation("GET", "/events?agent_id={agent}"),
    Operation("DELETE", "/ssh-keys/{key}"),
]


class TwoTenants:
    """The agent `robot` of `acme` with a key and a command, and other tenants whose ids resemble that."""

    def __init__(self) -> None:
        self.api = Api()
        for tenant_id, token in TOKENS.items():
            self.api.hub.registry.add_tenant(tenant_id, token)
        self.create(AGENT)
        added = {"agent_id": AGENT, "public_key": key(KEY_SEED).public.openssh}
        self.key_id: str = self.api.json("POST", "/ssh-keys", added, status=201, token=TOKENS["acme"])["key_id"]
        body = {"command": "work", "command_id": "c-1"}
        self.api.json("POST", f"/agents/{AGENT}/commands", body, status=202, token=TOKENS["acme"])

    def create(self, agent_id: str, tenant_id: str = "acme") -> None:
        self.api.json("POST", "/agents", {"agent_id": agent_id}, status=201, token=TOKENS[tenant_id])

    def do(self, operation: Operation, tenant_id: str, *, agent: str, key: str, command: str) -> HttpResponse:
        """The answer to an operation on the things with these ids."""
        ids = {"agent": agent, "key": key, "command": command}
        body = operation.body and {
            name: value.format(**ids) if value == "{agent}" else value for name, value in operation.body.items()
        }
        return self.api.response(operation.method, operation.path.format(**ids), body, token=TOKENS[tenant_id])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
@pytest.mark.parametrize("stranger", [tenant for tenant in TOKENS if tenant != "acme"])
def test_plat_1_to_a_stranger_what_is_there_and_what_is_not_are_the_same(stranger: str, operation: Operation) -> None:
    scene = TwoTenants()
    there = scene.do(operation, stranger, agent=AGENT, key=scene.key_id, command="c-1")
    not_there = scene.do(operation, stranger, agent="nobody", key="key-0", command="c-0")
    assert there.status == 404
    assert there == not_there
    scene.api.json("GET", f"/agents/{AGENT}", status=200, token=TOKENS["acme"])
    assert len(scene.api.hub.registry.keys(AGENT)) == 1, "nothing was added and nothing removed"


def test_plat_1_every_operation_works_for_the_tenant_itself() -> None:
    """Else the test above would show nothing."""
    for operation in OPERATIONS:
        scene = TwoTenants()
        ids = {"agent": AGENT, "key": scene.key_id, "command": "c-1"}
        body = operation.body and {
            name: AGENT if value == "{agent}" else value for name, value in operation.body.items()
        }
        answered = scene.api.ask(operation.method, operation.path.format(**ids), body, token=TOKENS["acme"])
        assert not isinstance(answered, HttpResponse) or answered.status in {200, 201, 202, 204, 409}, operation


def test_plat_1_a_tenant_lists_its_own_agents_only() -> None:
    scene = TwoTenants()
    scene.create("robot-2", "acme-2")
    for tenant_id, agents in (("acme", [AGENT]), ("acme-2", ["robot-2"]), ("Acme", []), ("acm", [])):
        listed = scene.api.json("GET", "/agents", status=200, token=TOKENS[tenant_id])["agents"]
        assert [agent["agent_id"] for agent in listed] == agents
    assert scene.api.error("GET", f"/agents?after={AGENT}", status=400, token=TOKENS["acme-2"]) == "invalid_query"
    assert scene.api.error("GET", "/agents?after=nobody", status=400, token=TOKENS["acme-2"]) == "invalid_query"


@pytest.mark.parametrize("spelled", ["robot", "%72obot", "r%6Fbot", "r%6fbot", "%72%6F%62%6F%74"])
def test_plat_1_percent_encoding_spells_the_same_agent(spelled: str) -> None:
    scene = TwoTenants()
    assert scene.api.json("GET", f"/agents/{spelled}", status=200, token=TOKENS["acme"])["agent_id"] == AGENT
    assert scene.api.error("GET", f"/agents/{spelled}", status=404, token=TOKENS["acme-2"]) == "agent_not_found"


@pytest.mark.parametrize(
    "spelled",
    [
        "%2572obot",
        "robot%00",
        "robot%20",
        "%20robot",
        "robot+",
        "ROBOT",
        "robo",
        "robot-",
        "robot;x",
        "robot%2F",
        "%EF%BD%92obot",
    ],
)
def test_plat_1_other_spellings_are_other_agents(spelled: str) -> None:
    scene = TwoTenants()
    assert scene.api.error("GET", f"/agents/{spelled}", status=404, token=TOKENS["acme"]) == "agent_not_found"


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
def test_plat_1_agents_whose_ids_resemble_each_other_are_apart(neighbour: str) -> None:
    scene = TwoTenants()
    scene.create(neighbour)
    token = signed_in(scene)
    api, spelled = scene.api, "".join(f"%{byte:02X}" for byte in neighbour.encode())
    assert api.json("GET", f"/agents/{spelled}", status=200, token=TOKENS["acme"])["agent_id"] == neighbour
    assert api.json("GET", f"/agents/{AGENT}", status=200, token=token)["agent_id"] == AGENT
    assert api.error("GET", f"/agents/{spelled}", status=403, token=token) == "forbidden"
    assert api.error("PUT", f"/agents/{spelled}/status", {"status": "busy"}, status=403, token=token) == "forbidden"
    assert linked(scene, spelled, token) == 403
    assert linked(scene, "%72obot", token) == 101
    assert (
        api.error("GET", "/commands/c-1?agent_id=" + spelled, status=404, token=TOKENS["acme"]) == "command_not_found"
    )


def signed_in(scene: TwoTenants, **changes: str) -> str:
    """A token of AGENT's."""
    challenge = asked(scene, "challenge", {"agent_id": AGENT})["challenge"]
    response = b64encode(key(KEY_SEED).sign(challenge.encode(), "ssh")).decode()
    proof = {"tenant_id": "acme", "agent_id": AGENT, "challenge": challenge, "response": response}
    return asked(scene, "verify", proof | changes).get("token", "")


def asked(scene: TwoTenants, step: str, body: dict[str, str]) -> Any:
    return json.loads(scene.api.authenticate(step, body).body)


def linked(scene: TwoTenants, spelled: str, token: str) -> int:
    """The status of the answer to an opening handshake."""
    session = PlatformSession(scene.api.hub, next(CONNS))
    headers = (("authorization", f"Bearer {token}"),)
    request = HttpRequest(method="GET", target=f"/api/v1/ws/agent/{spelled}", headers=headers)
    session.request_received(1, request, NOW, upgrade=True)
    output = take(session)
    assert isinstance(output, SendResponse | AcceptUpgrade)
    return output.response.status if isinstance(output, SendResponse) else 101


@pytest.mark.parametrize("tenant_id", ["acme-2", "Acme", "acm", "acme ", " acme", "acme%2D2", "", "acme\0"])
def test_plat_1_a_key_signs_in_for_its_own_tenant_only(tenant_id: str) -> None:
    scene = TwoTenants()
    assert signed_in(scene, tenant_id=tenant_id) == ""
    assert signed_in(scene) != ""


def test_plat_1_an_agent_is_no_tenant_and_a_tenant_no_agent() -> None:
    scene = TwoTenants()
    token = signed_in(scene)
    for operation in OPERATIONS[2:]:
        ids = {"agent": AGENT, "key": scene.key_id, "command": "c-1"}
        answered = scene.api.response(operation.method, operation.path.format(**ids), operation.body, token=token)
        assert answered.status == 403, operation
    assert linked(scene, AGENT, TOKENS["acme"]) == 403
