"""Parameters: by keyword, by environment, and what is said about bad ones."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest

from artcafe_anyio import Agent, AgentParameters
from artcafe_anyio.parameters import MachineSettings, read_environment, settings
from artcafe_proto import AgentConfig, ConfigError

IDS: AgentParameters = {"agent_id": "agent-1", "tenant_id": "tenant-1"}


def test_the_guides_defaults() -> None:
    config, machine = settings(IDS)
    assert config == AgentConfig(agent_id="agent-1", tenant_id="tenant-1")
    assert (config.api_endpoint, config.heartbeat_interval) == ("https://api.artcafe.ai", 30)
    assert machine == MachineSettings(private_key_path="~/.ssh/artcafe_agent", log_level="INFO", signature_format="ssh")


def test_every_field_is_a_parameter_of_the_same_type() -> None:
    names = {*AgentConfig.__struct_fields__, *MachineSettings.__struct_fields__}
    assert set(AgentParameters.__annotations__) == names
    for name, annotation in AgentConfig.__annotations__.items():
        declared = AgentParameters.__annotations__[name].__forward_arg__
        assert declared == annotation


def test_paths_and_lists_are_taken_as_what_they_stand_for() -> None:
    config, machine = settings(IDS | {"private_key_path": Path("key"), "extra_headers": [("x-a", "1")]})  # type: ignore
    assert machine.private_key_path == "key"
    assert config.extra_headers == (("x-a", "1"),)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"heartbeat_interval": "30"}, "heartbeat_interval: expected `float`, got `str`"),
        ({"heartbeat_interval": 0}, "heartbeat_interval must be"),
        ({"agent_id": ""}, "agent_id must be"),
        ({"log_level": "LOUD"}, "log_level must be one of DEBUG, INFO"),
        ({"signature_format": "pgp"}, "signature_format: invalid enum value 'pgp'"),
        ({"api_endpoint": "http://api.artcafe.ai"}, "api_endpoint would send tokens unencrypted"),
        ({"private_key_path": 3}, "private_key_path: expected `str`, got `int`"),
        ({"ssl_context": "x"}, "ssl_context: expected `SSLContext.*`, got `str`"),
    ],
)
def test_bad_values_are_refused_at_once(parameters: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Agent(**parameters)


def test_unknown_names() -> None:
    with pytest.raises(TypeError, match="no parameter 'agentid'"):
        Agent(agentid="x")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("missing", ["agent_id", "tenant_id"])
def test_what_is_missing_is_named_with_its_variable(missing: str) -> None:
    agent = Agent(**typing.cast("Any", {name: value for name, value in IDS.items() if name != missing}))
    with pytest.raises(ConfigError, match=f"{missing} is missing: set ARTCAFE_{missing.upper()}"):
        agent.run()


def test_the_environment() -> None:
    environ = {
        "ARTCAFE_API_ENDPOINT": "http://127.0.0.1:8420",
        "ARTCAFE_AGENT_ID": "agent-1",
        "ARTCAFE_TENANT_ID": "tenant-1",
        "ARTCAFE_PRIVATE_KEY_PATH": "/run/secrets/key",
        "ARTCAFE_KEY_ID": "",
        "ARTCAFE_LOG_LEVEL": "debug",
        "ARTCAFE_HEARTBEAT_INTERVAL": "5",
        "ARTCAFE_TENANT_TOKEN": "not for agents",
        "PATH": "/bin",
    }
    assert read_environment(environ) == {
        "api_endpoint": "http://127.0.0.1:8420",
        "agent_id": "agent-1",
        "tenant_id": "tenant-1",
        "private_key_path": "/run/secrets/key",
        "log_level": "debug",
        "heartbeat_interval": 5.0,
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARTCAFE_API_ENDPOINT", "api.artcafe.ai"),
        ("ARTCAFE_AGENT_ID", "\n"),
        ("ARTCAFE_TENANT_ID", "x" * 129),
        ("ARTCAFE_KEY_ID", "\x7f"),
        ("ARTCAFE_LOG_LEVEL", "loud"),
        ("ARTCAFE_HEARTBEAT_INTERVAL", "thirty"),
        ("ARTCAFE_HEARTBEAT_INTERVAL", "nan"),
        ("ARTCAFE_HEARTBEAT_INTERVAL", "0"),
    ],
)
def test_a_bad_variable_is_named(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"^{variable} ") as caught:
        Agent.from_env()
    assert "\n" not in str(caught.value)


def parameters_of(agent: Agent) -> AgentParameters:
    return agent._parameters  # pyright: ignore[reportPrivateUsage]


def test_what_goes_before_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTCAFE_AGENT_ID", "of-the-environment")
    monkeypatch.setenv("ARTCAFE_TENANT_ID", "of-the-environment")
    assert parameters_of(Agent(agent_id="own")) == {"agent_id": "own"}
    assert parameters_of(Agent.from_env(agent_id="own")) == {"agent_id": "own", "tenant_id": "of-the-environment"}
    configured = Agent(agent_id="own", tenant_id="own", jitter=0.5).configured(tenant_id="given")
    assert parameters_of(configured) == {"agent_id": "of-the-environment", "tenant_id": "given", "jitter": 0.5}


def test_a_configured_agent_has_the_same_handlers_and_then_its_own() -> None:
    agent = Agent()
    agent.command("a", inline=True)(lambda: None)
    copy = agent.configured()
    copy.command("b", inline=True)(lambda: None)
    agent.command("b", inline=True)(lambda: None)
