"""The `artcafe` command, as processes, the way a newcomer runs it."""

from __future__ import annotations

import json
import os
import pty
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from anyio import from_thread

from artcafe_cli.key_files import make_key_pair
from artcafe_cli.tenant_client import Operator, RequestFailedError
from artcafe_platform import Platform
from support.certificates import issue

AUTHORITY = issue(common_name="The Authority", is_authority=True)
TOKEN = "a-long-random-password"
ARTCAFE = str(Path(sys.executable).with_name("artcafe"))
AGENT_SOURCE = """
from artcafe_anyio import Agent, CommandContext, CommandError

agent = Agent.from_env()

@agent.command("resize")
async def resize(path: str, width: int, ctx: CommandContext) -> dict[str, int]:
    if width > 10_000:
        raise CommandError("width is at most 10,000")
    return {"width": width}

@agent.command("whoami")
def whoami(ctx: CommandContext) -> str:
    return ctx.command_id

not_an_agent = 5
"""


def environment(**changes: str) -> dict[str, str]:
    """This environment without what would configure the command, and with the changes."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ARTCAFE_")}
    return plain | changes


def run(*arguments: str, cwd: Path | str | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [ARTCAFE, *arguments],
        env=environment(**changes),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def serving(*arguments: str, cwd: Path, says: str = "", **changes: str) -> Generator[dict[str, Any]]:
    """A platform process on a free port, and its ready line; ended by SIGTERM. `says` is all of its standard error."""
    command = [ARTCAFE, "platform", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, env=environment(**changes), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", says)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A platform, and the operator's environment for it."""
    with serving(cwd=tmp_path, ARTCAFE_TENANT_TOKEN=TOKEN) as ready:
        assert ready["ready"] is True
        assert ready["tenant_id"] == "tenant-1"
        yield {"ARTCAFE_TENANT_TOKEN": TOKEN, "ARTCAFE_PLATFORM": ready["url"]}


def test_the_demo_answers_every_command_once_and_says_so_as_json() -> None:
    done = run("demo", "--agents", "3", "--seconds", "2", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert list(summary) == ["ok", "agents", "commands_sent", "responses", "heartbeats", "reconnects"]
    assert (summary["ok"], summary["agents"]) == (True, 3)
    assert summary["commands_sent"] == summary["responses"] > 40
    assert summary["heartbeats"] >= 4
    assert summary["reconnects"] >= 1
    for expected in ("asked for a challenge", "signed it (ssh-ed25519)", "online", "heartbeat from agent-1", "offline"):
        assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_tells_an_account_on_standard_output() -> None:
    done = run("demo", "--agents", "1", "--seconds", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("every command got exactly one final response")
    assert done.stderr == ""


def test_from_keygen_to_an_answered_command(tmp_path: Path, platform: dict[str, str]) -> None:
    (tmp_path / "my_agent.py").write_text(AGENT_SOURCE)
    made = run("keygen", "key", cwd=tmp_path)
    assert made.returncode == 0
    assert made.stdout.startswith("SHA256:")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    registered = run("register", "--agent-id", "agent-1", "--public-key", "key.pub", cwd=tmp_path, **platform)
    key_id = json.loads(registered.stdout)["key_id"]
    assert json.loads(run("agents", **platform).stdout)["status"] == "offline"

    flags = ["--api-endpoint", platform["ARTCAFE_PLATFORM"], "--agent-id", "agent-1", "--private-key-path", "key"]
    agent = subprocess.Popen(
        [ARTCAFE, "agent", "my_agent:agent", *flags, "--key-id", key_id],
        env=environment(ARTCAFE_TENANT_ID="tenant-1", ARTCAFE_AGENT_ID="overridden-by-the-flag"),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        sent = run("send", "agent-1", "resize", "--args", '{"path": "cat.png", "width": 640}', **platform)
        assert (sent.returncode, json.loads(sent.stdout)) == (0, {"status": "success", "result": {"width": 640}})
        failed = run("send", "agent-1", "resize", "--args", '{"path": "cat.png", "width": 64000}', **platform)
        assert failed.returncode == 1
        assert json.loads(failed.stdout)["reason"] == "width is at most 10,000"
        wrong = run("send", "agent-1", "resize", "--args", '{"path": "cat.png"}', **platform)
        assert (wrong.returncode, json.loads(wrong.stdout)["code"]) == (1, "invalid_arguments")
        unknown = run("send", "agent-1", "fly", "--timeout", "5", **platform)
        assert (unknown.returncode, json.loads(unknown.stdout)["code"]) == (1, "unknown_command")
        assert json.loads(run("agents", **platform).stdout)["status"] == "online"
    finally:
        agent.send_signal(signal.SIGTERM)
        _, log = agent.communicate(timeout=30)
    assert agent.returncode == 0
    assert "agent-1: online" in log
    assert "draining" in log
    assert "Traceback" not in log
    assert json.loads(run("agents", **platform).stdout)["status"] == "offline"


def test_everybody_talks_tls_to_a_platform_with_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "my_agent.py").write_text(AGENT_SOURCE)
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    issue("localhost", by=AUTHORITY).write(tmp_path, "server")
    shown = ["--host", "localhost", "--cert-file", "server.pem", "--key-file", "server-key.pem"]
    run("keygen", "key", cwd=tmp_path)
    with serving(*shown, cwd=tmp_path, ARTCAFE_TENANT_TOKEN=TOKEN) as ready:
        assert ready["url"].startswith("https://localhost:")
        trusting = {"ARTCAFE_CA_FILE": str(tmp_path / "ca.pem")}
        operator = {"ARTCAFE_TENANT_TOKEN": TOKEN, "ARTCAFE_PLATFORM": ready["url"]}
        registered = run("register", "--agent-id", "a", "--public-key", "key.pub", cwd=tmp_path, **operator, **trusting)
        assert registered.returncode == 0, registered.stderr
        flags = ["--api-endpoint", ready["url"], "--agent-id", "a", "--tenant-id", "tenant-1"]
        agent = subprocess.Popen(
            [ARTCAFE, "agent", "my_agent:agent", *flags, "--private-key-path", "key", "--ca-file", "ca.pem"],
            env=environment(),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            sent = run("send", "a", "whoami", "--ca-file", "ca.pem", cwd=tmp_path, **operator)
            assert (sent.returncode, json.loads(sent.stdout)["status"]) == (0, "success"), sent.stderr
        finally:
            agent.send_signal(signal.SIGTERM)
            _, log = agent.communicate(timeout=30)
        assert (agent.returncode, "Traceback" in log) == (0, False), log
        stranger = run("agents", **operator)
        assert stranger.returncode == 1
        assert stranger.stderr == (
            f"artcafe: cannot reach the platform at {ready['url'].removeprefix('https://')}: the certificate of "
            "localhost was issued by an authority, which is neither trusted here nor sent along: if that is an "
            "intermediate authority, the platform must send its whole chain; if not, an authority of your own is "
            "trusted by ca_file (--ca-file, ARTCAFE_CA_FILE)\n"
        )
        missing = run("agents", "--ca-file", "missing.pem", **operator)
        assert missing.stderr == ("artcafe: --ca-file missing.pem cannot be read: No such file or directory\n")


@pytest.mark.parametrize("source", ["file", "terminal"])
def test_auth_5_an_encrypted_keys_passphrase_comes_from_a_file_or_a_terminal(
    tmp_path: Path, platform: dict[str, str], source: str
) -> None:
    (tmp_path / "my_agent.py").write_text(AGENT_SOURCE)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ecdsa", "-a", "1", "-N", "my secret", "-f", tmp_path / "key"], check=True
    )
    run("register", "--agent-id", "agent-1", "--public-key", "key.pub", cwd=tmp_path, **platform)
    flags = ["--api-endpoint", platform["ARTCAFE_PLATFORM"], "--agent-id", "agent-1", "--private-key-path", "key"]
    settings = {"ARTCAFE_TENANT_ID": "tenant-1"}
    if source == "file":
        (tmp_path / "passphrase").write_text("my secret\n")
        (tmp_path / "passphrase").chmod(0o600)
        settings["ARTCAFE_KEY_PASSPHRASE_FILE"] = "passphrase"
    outer, inner = pty.openpty()
    agent = subprocess.Popen(
        [ARTCAFE, "agent", "my_agent:agent", *flags],
        env=environment(**settings),
        cwd=tmp_path,
        stdin=inner,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that nothing is asked at the terminal of whoever runs this
    )
    os.close(inner)
    try:
        prompt = b""
        if source == "terminal":
            assert agent.stderr is not None
            prompt = agent.stderr.read(len("Passphrase for key: "))
            os.write(outer, b"my secret\n")
        sent = run("send", "agent-1", "resize", "--args", '{"path": "cat.png", "width": 640}', **platform)
        assert sent.returncode == 0, sent.stderr
    finally:
        agent.send_signal(signal.SIGTERM)
        _, log = agent.communicate(timeout=30)
        os.close(outer)
    assert agent.returncode == 0
    assert prompt == (b"Passphrase for key: " if source == "terminal" else b"")
    assert b"my secret" not in log


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_keygen_makes_keys_that_ssh_keygen_reads_and_never_overwrites(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys" / "agent"
    made = run("keygen", str(path), "--type", kind)
    assert made.returncode == 0, made.stderr
    listed = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True)
    assert made.stdout.split()[0] in listed.stdout
    derived = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True)
    assert path.with_name("agent.pub").read_text().startswith(derived.stdout.split(" ")[0])
    before = path.read_bytes()
    again = run("keygen", str(path))
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert path.read_bytes() == before


def test_auth_5_a_private_key_is_not_sent_to_be_registered(tmp_path: Path) -> None:
    requests: list[str] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_error(500)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 its name there

    run("keygen", "key", cwd=tmp_path)
    with HTTPServer(("127.0.0.1", 0), Ear) as ear:
        threading.Thread(target=ear.serve_forever, daemon=True).start()
        platform = {"ARTCAFE_PLATFORM": f"http://127.0.0.1:{ear.server_port}", "ARTCAFE_TENANT_TOKEN": TOKEN}
        refused = run("register", "--agent-id", "a", "--public-key", "key", cwd=tmp_path, **platform)
        taken = run("register", "--agent-id", "a", "--public-key", "key.pub", cwd=tmp_path, **platform)
        ear.shutdown()
    assert refused.returncode == 2
    assert "key: that is a private key: keep it where it is" in refused.stderr
    assert taken.returncode == 1
    assert requests == ['{"agent_id":"a"}'], "of the second, which has a public key"


def test_keygen_leaves_both_files_or_none(tmp_path: Path) -> None:
    (tmp_path / "half.pub").write_text("not to be lost")
    refused = run("keygen", "half", cwd=tmp_path)
    assert refused.returncode == 2
    assert "half.pub exists already" in refused.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["half.pub"]
    assert (tmp_path / "half.pub").read_text() == "not to be lost"


def test_a_data_directory_keeps_the_token_and_the_signing_key(tmp_path: Path) -> None:
    contents: list[dict[str, bytes]] = []
    for _ in range(2):
        with serving("--data", "data", cwd=tmp_path) as ready:
            token = (tmp_path / "data" / "tenant-token").read_text().strip()
            assert run("agents", "--platform", ready["url"], ARTCAFE_TENANT_TOKEN=token).returncode == 0
        files = sorted((tmp_path / "data").iterdir())
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
        contents.append({name: (tmp_path / "data" / name).read_bytes() for name in ("signing-key", "tenant-token")})
    assert contents[0] == contents[1]


def test_without_a_data_directory_the_token_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    lost = "artcafe: the tenant's token is shown only on a terminal: set ARTCAFE_TENANT_TOKEN, or use --data DIR\n"
    with serving(cwd=tmp_path, says=lost):
        pass
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [ARTCAFE, "platform", "--port", "0"], env=environment(), stdout=subprocess.PIPE, stderr=inner, text=True
    )
    os.close(inner)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    with os.fdopen(outer, "rb", buffering=0) as terminal:
        name, _, token = terminal.read(200).decode().strip().partition("=")
        assert name == "ARTCAFE_TENANT_TOKEN"
        assert run("agents", "--platform", ready["url"], ARTCAFE_TENANT_TOKEN=token).returncode == 0
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--agents", "0"], "--agents"),
        (["demo", "--agents", "many"], "many"),
        (["fly"], "fly"),
        (["agents"], "ARTCAFE_TENANT_TOKEN"),
        (["register", "--agent-id", "a", "--public-key", "/nowhere"], "/nowhere"),
        (["send", "a", "b", "--args", "[1]"], "--args"),
        (["send", "a", "b", "--args", '{"a":' + "[" * 50_000], "--args"),
        (["platform", "--host", "192.0.2.1", "--port", "0"], "--host 192.0.2.1 is open to other computers"),
        (["platform", "--host", "0.0.0.0"], "listen on 127.0.0.1"),
        (["platform", "--cert-file", "/nowhere"], "--cert-file /nowhere cannot be read: No such file or directory"),
        (["platform", "--key-file", "/nowhere"], "--key-file has no effect without --cert-file, its certificate"),
        (["platform", "--port", "99999"], "--port"),
        (["platform", "--port", "-1"], "--port"),
        (["send", "a", "b", "--timeout", "nan"], "--timeout"),
        (["send", "a", "b", "--timeout", "inf"], "--timeout"),
        (["send", "a", "b", "--timeout", "0"], "--timeout"),
        (["agent", ".my_agent:agent"], "MODULE:ATTRIBUTE"),
        (["agent", "my_agent.:agent"], "MODULE:ATTRIBUTE"),
        (["agent", "my_agent.part:agent"], "my_agent.part"),
        (["agent", "no_such.part.of:agent"], "no_such"),
        (["agent", "my_agent"], "MODULE:ATTRIBUTE"),
        (["agent", "my_agent.py:agent"], "leave .py out, as in my_agent:agent"),
        (
            ["platform", "--port", "0", "--data", "my_agent.py"],
            "my_agent.py cannot be used as a directory: it is a file",
        ),
        (["agent", "no_such_module:agent"], "no_such_module"),
        (["agent", "my_agent:nothing"], "nothing"),
        (["agent", "my_agent:not_an_agent"], "not_an_agent"),
        (["agent", "my_agent:agent"], "agent_id"),
        (["agent", "my_agent:agent", "--agent-id", "a", "--tenant-id", "t"], "private_key_path"),
        (
            ["agent", "my_agent:agent", "--agent-id", "a", "--tenant-id", "t", "--api-endpoint", "ftp://x"],
            "--api-endpoint begins with ftp://",
        ),
        (["agent", "my_agent:agent", "--log-level", "LOUD"], "LOUD"),
    ],
)
def test_wrong_usage_and_settings_are_one_clear_line_and_status_2(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "my_agent.py").write_text(AGENT_SOURCE)
    done = run(*arguments, cwd=tmp_path, HOME=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("artcafe: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:8420", "http://", "ftp://x", "ws://127.0.0.1:8420"])
def test_an_unusable_platform_is_explained(url: str) -> None:
    refused = run("agents", "--platform", url, ARTCAFE_TENANT_TOKEN=TOKEN)
    assert refused.returncode == 2
    assert "--platform must be a URL with http:// or https://" in refused.stderr
    assert "ws_endpoint" not in refused.stderr


@pytest.mark.parametrize(
    "token", ["my-secret-token-\rx", "my-secret-tok\u20acn-of-many", "my-secret token of many", "my-secret"]
)
@pytest.mark.parametrize("command", [["agents"], ["platform", "--port", "0"]])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(command: list[str], token: str) -> None:
    refused = run(*command, ARTCAFE_TENANT_TOKEN=token)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "16 or more visible ASCII characters" in refused.stderr
    assert "my-secret" not in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_whitespace_around_a_token_is_no_part_of_it(platform: dict[str, str]) -> None:
    assert run("agents", **platform | {"ARTCAFE_TENANT_TOKEN": f" {TOKEN}\r\n"}).returncode == 0


AGENT = '{"agent_id": "a", "status": "online", "last_seen": null, "metrics": %s, "capabilities": []}'
METRICS = '{"cpu_usage": 1e400, "memory_usage": 0}'


def answering(status: int, headers: dict[str, str], body: bytes) -> subprocess.CompletedProcess[str]:
    """What `artcafe agents` says to a server that answers so."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name in the library
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = run("agents", "--platform", f"http://127.0.0.1:{server.server_port}", ARTCAFE_TENANT_TOKEN=TOKEN)
        thread.join()
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    return done


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"[]"),
        (200, b"<html>"),
        (200, b""),
        (200, b"[" * 100_000),
        (200, b'{"agents": [{"agent_id": "a"}], "next": null}'),
        (200, b'{"agents": [{"agent_id": "\xff"}], "next": null}'),
        (200, f'{{"agents": [{AGENT % METRICS}], "next": null}}'.encode()),
        (302, b""),
        (404, b'{"error": "not found"}'),
        (502, b"<html>"),
    ],
)
def test_another_server_is_told_from_a_platform(status: int, body: bytes) -> None:
    assert f"with status {status}, is not an ArtCafe platform" in answering(status, {}, body).stderr


@pytest.mark.parametrize("host", [f"{'a' * 70}.example", "a..example", ".example", "[::1]8420"])
def test_a_host_that_cannot_be_one_is_refused_before_it_is_looked_up(host: str) -> None:
    done = run("agents", "--platform", f"https://{host}", ARTCAFE_TENANT_TOKEN=TOKEN)
    assert done.returncode == 2
    assert done.stderr.startswith("artcafe: --platform ")
    assert done.stderr.count("\n") == 1


def test_output_that_nobody_reads_is_no_error_to_tell(platform: dict[str, str], tmp_path: Path) -> None:
    run("keygen", "key", cwd=tmp_path)
    run("register", "--agent-id", "agent-1", "--public-key", "key.pub", cwd=tmp_path, **platform)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [ARTCAFE, "agents"],
            env=environment(**platform),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_command_for_an_agent_that_is_offline_says_that_it_waits(platform: dict[str, str], tmp_path: Path) -> None:
    run("keygen", "key", cwd=tmp_path)
    run("register", "--agent-id", "agent-1", "--public-key", "key.pub", cwd=tmp_path, **platform)
    process = subprocess.Popen(
        [ARTCAFE, "send", "agent-1", "resize"],
        env=environment(**platform),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "agent-1 is offline: waiting" in process.stderr.readline()
    time.sleep(0.3)  # so that it polls
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)  # a poll lasts 30 s
    assert (process.returncode, out, err) == (130, "", "")


def test_registering_again_adds_a_key_and_another_tenants_id_is_taken(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        make_key_pair(tmp_path / name, "ed25519", "")

    def key(name: str) -> str:
        return (tmp_path / f"{name}.pub").read_text()

    with from_thread.start_blocking_portal() as portal:
        tenants = {"tenant-1": TOKEN, "tenant-2": "the-password-of-another"}
        with portal.wrap_async_context_manager(Platform(tenants=tenants)) as platform:
            mine, other = (Operator(platform.url, token) for token in tenants.values())
            keys = [mine.register("agent-1", key(name))["key_id"] for name in ("one", "two")]
            assert keys[0] != keys[1]
            with pytest.raises(RequestFailedError) as known:
                mine.register("agent-1", key("one"))
            assert (known.value.status, known.value.code) == (409, "key_exists")
            with pytest.raises(RequestFailedError, match="'agent-1' is taken by another tenant"):
                other.register("agent-1", key("three"))
            with pytest.raises(RequestFailedError) as invalid:  # whatever its text holds
                mine.register("agent_exists" * 50, key("three"))
            assert invalid.value.code == "invalid_agent_id"


def test_a_token_is_never_sent_unencrypted_to_another_machine() -> None:
    refused = run("agents", "--platform", "http://example.com", ARTCAFE_TENANT_TOKEN=TOKEN)
    assert refused.returncode == 2
    assert "unencrypted" in refused.stderr


@pytest.mark.parametrize(
    ("status", "headers", "body", "says"),
    [
        (302, {"Location": "https://u:pw@login.example/?t=pw"}, b"", "it redirects to https://login.example, and"),
        (407, {}, b"", "a proxy in between wants credentials"),
        (502, {}, b"<html>", "a proxy answered, which cannot reach the platform behind it: does the platform run?"),
        (404, {}, b'{"detail": "Not\\nFound"}', r'is --platform right? (it says "Not\nFound")'),
        (
            401,
            {},
            b'{"error": {"code": "no", "message": "\\u001b[31m %b"}}' % TOKEN.encode(),
            r"refused: \x1b[31m … (no, 401): is ARTCAFE_TENANT_TOKEN that platform's",
        ),
    ],
)
def test_what_a_server_in_between_answers_is_told_with_what_to_do(
    status: int, headers: dict[str, str], body: bytes, says: str
) -> None:
    done = answering(status, headers, body)
    assert says in done.stderr
    assert "pw" not in done.stderr
    assert TOKEN not in done.stderr


def test_the_operators_other_mistakes_are_told_with_what_to_do(platform: dict[str, str], tmp_path: Path) -> None:
    url = platform["ARTCAFE_PLATFORM"]
    gone = run("agents", "--platform", "http://127.0.0.1:1", ARTCAFE_TENANT_TOKEN=TOKEN)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.endswith("127.0.0.1:1: Connection refused: is the platform running there?\n")
    assert TOKEN not in gone.stderr
    doubled = run("agents", "--platform", f"{url}/api/v1", ARTCAFE_TENANT_TOKEN=TOKEN)
    assert "--platform has /api/v1 in its path, which is added to it: leave it out" in doubled.stderr
    wrong = run("agents", "--platform", url, ARTCAFE_TENANT_TOKEN="wrong-token-0123456789")
    assert "(invalid_token, 401): is ARTCAFE_TENANT_TOKEN that platform's, as in the file tenant-token" in wrong.stderr
    assert (wrong.returncode, "wrong-token" in wrong.stderr) == (1, False)
    nobody = run("agents", "--platform", url)
    assert "the content of the file tenant-token in its data directory" in nobody.stderr
    blank = run("register", "--agent-id", "agent 1", "--public-key", "x", **platform)
    assert blank.stderr == "artcafe: --agent-id must not hold blanks: use - or _ instead\n"
    taken = run("platform", "--port", url.rpartition(":")[2])
    assert (taken.returncode, taken.stdout) == (2, "")
    assert f"cannot listen on {url}" in taken.stderr
    assert "Address already in use: give another --port, or --port 0 for a free one" in taken.stderr
    unquoted = run("send", "agent-1", "resize", '{"width": 640}', **platform)
    assert 'did not expect {"width": 640}: see artcafe send --help; give JSON as one argument' in unquoted.stderr
    unmade = run("register", "--agent-id", "agent-1", "--public-key", "agent_key.pub", cwd=tmp_path, **platform)
    assert unmade.stderr.startswith("artcafe: the public key agent_key.pub is missing: make both with artcafe keygen")
    unset = run("agents", ARTCAFE_CA_FILE="", **platform)
    assert unset.returncode == 0
    for flag in ("--auth-rate-by-address", "--auth-burst-by-address", "--auth-rate-by-agent", "--auth-burst-by-agent"):
        assert run("platform", flag, "0").stderr.startswith(f"artcafe: {flag} must be ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["platform", "--data", ""], "--data"),
        (["platform", "--cert-file="], "--cert-file"),
        (["keygen", " "], "PATH"),
        (["register", "--agent-id", "a", "--public-key", ""], "--public-key"),
        (["agents", "--ca-file", ""], "--ca-file"),
        (["agent", "x:y", "--private-key-path", ""], "--private-key-path"),
        (["agent", "x:y", "--client-cert-file", ""], "--client-cert-file"),
    ],
)
def test_an_empty_path_is_not_the_working_directory(arguments: list[str], named: str, tmp_path: Path) -> None:
    """It comes of a variable that is not set."""
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"artcafe: {named} is empty: expected a path\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("odd", ["", ".", "..", "agent 1"])
def test_what_cannot_be_an_agents_id_is_refused_before_anything_is_sent(odd: str) -> None:
    for flag, arguments in (("AGENT", ["send", odd, "x"]), ("--wait-for", ["agents", "--wait-for", odd])):
        done = run(*arguments, ARTCAFE_TENANT_TOKEN=TOKEN, ARTCAFE_PLATFORM="http://127.0.0.1:1")
        assert (done.returncode, done.stderr.startswith(f"artcafe: {flag} must ")) == (2, True)


@pytest.mark.parametrize("command", ["agents", "send", "register"])
def test_the_help_says_where_the_tenants_token_comes_from(command: str) -> None:
    said = " ".join(run(command, "--help").stdout.split())
    assert "ARTCAFE_TENANT_TOKEN" in said
    assert "file tenant-token of its data directory" in said


def test_a_platform_says_what_it_keeps_and_what_not(tmp_path: Path) -> None:
    said = " ".join(run("platform", "--help").stdout.replace("│", " ").split())
    assert "Without a data directory agents, their keys and commands are kept only in memory" in said
    assert "Backup while it runs" in said
    stored = ["agents", "keys", "commands"]
    with serving("--data=~/data", cwd=tmp_path, HOME=str(tmp_path)) as ready:
        assert (ready["on_disk"], ready["in_memory"]) == (["tenant-token", "signing-key", *stored], [])
    files = {path.name for path in (tmp_path / "data").iterdir()}
    assert files == {"tenant-token", "signing-key", "records.db", "records.db.lock"}
    with serving(cwd=tmp_path, ARTCAFE_TENANT_TOKEN=TOKEN) as ready:
        assert (ready["on_disk"], ready["in_memory"]) == ([], stored)


def test_a_platform_takes_its_limits_and_compat_as_flags(tmp_path: Path) -> None:
    flags = ["--compat", "--auth-burst-by-agent", "1", "--auth-rate-by-agent", "0.001"]
    with serving(*flags, cwd=tmp_path, ARTCAFE_TENANT_TOKEN=TOKEN) as ready:
        ask = [
            urllib.request.Request(
                f"{ready['url']}/api/v1/auth/{path}", b'{"agent_id": "a"}', {"Content-Type": "application/json"}
            )
            for path in ("agent/challenge", "challenge")
        ]
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(ask[0], timeout=30) as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError) as limited:
            direct.open(ask[1], timeout=30)
        assert limited.value.code == 429
        limited.value.close()


def test_agents_may_be_listed_once_one_is_there(platform: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "my_agent.py").write_text(AGENT_SOURCE)
    run("keygen", "key", cwd=tmp_path)
    run("register", "--agent-id", "agent-1", "--public-key", "key.pub", cwd=tmp_path, **platform)
    flags = ["--api-endpoint", platform["ARTCAFE_PLATFORM"], "--agent-id", "agent-1", "--private-key-path", "key"]
    agent = subprocess.Popen(
        [ARTCAFE, "agent", "my_agent:agent", *flags, "--tenant-id", "tenant-1"],
        env=environment(),
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        listed = json.loads(run("agents", "--wait-for", "agent-1", **platform).stdout)
        assert listed["status"] == "online"
        assert listed["last_seen"] is not None
    finally:
        agent.terminate()
        agent.wait(30)
    unknown = run("agents", "--wait-for", "nobody", **platform)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "agent_not_found" in unknown.stderr
