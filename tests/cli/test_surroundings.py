"""`artcafe` where something is missing: standard streams, room for its output, the extras, patience at the start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PATIENCE_S = 60.0
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("ARTCAFE_")} | {
    "ARTCAFE_TENANT_TOKEN": "a-long-random-password"
}
AGENT = """
from artcafe_anyio import Agent
agent = Agent(agent_id="a", tenant_id="t", private_key_path="key", api_endpoint="http://127.0.0.1:1", {settings})
"""
NOWHERE = "--platform http://127.0.0.1:1"
CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


def shell(folder: Path, line: str, **changes: str) -> tuple[int, str]:
    """Run a line of bash in which ARTCAFE is the command; its status, and all that it said."""
    (folder / "my_agent.py").write_text(AGENT.format(settings="give_up_after=0.1"))
    line = line.replace("ARTCAFE", f"'{sys.executable}' -W error -m artcafe_cli")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env=ENVIRONMENT | changes,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "Traceback" not in done.stdout
    assert "Exception ignored" not in done.stdout
    return done.returncode, done.stdout


@pytest.mark.parametrize("closed", CLOSED)
def test_any_standard_stream_may_be_closed_in_every_command(tmp_path: Path, closed: str) -> None:
    for command, status in (
        ("keygen key", 0),
        ("--help", 0),
        ("--version", 0),
        ("agent my_agent:agent", 1),
        (f"register --agent-id a --public-key key.pub {NOWHERE}", 1),
        (f"agents {NOWHERE}", 1),
        (f"send a x {NOWHERE}", 1),
        ("nonsense", 2),
    ):
        ended, said = shell(tmp_path, f"ARTCAFE {command} {closed}")
        assert ended == status, (command, said)
        is_said_elsewhere = ">&-" in closed.split() if status == 0 else "2>&-" in closed
        assert is_said_elsewhere == (said == ""), (command, said)
    (tmp_path / "key").stat()


@pytest.mark.parametrize("closed", CLOSED)
def test_a_demo_needs_no_standard_streams(tmp_path: Path, closed: str) -> None:
    assert shell(tmp_path, f"ARTCAFE demo --agents 1 --seconds 1 {closed}")[0] == 0


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_a_platform_needs_only_the_stream_that_it_says_where_it_listens_on(tmp_path: Path, closed: str) -> None:
    line = f"exec '{sys.executable}' -W error -m artcafe_cli platform --port 0 {closed}"
    with subprocess.Popen(["bash", "-c", line], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE) as platform:
        assert platform.stdout is not None
        assert json.loads(platform.stdout.readline())["ready"] is True
        platform.terminate()
        assert platform.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "--version", "keygen key", "platform --port 0", "demo --seconds 1"])
def test_output_that_finds_no_room_is_one_line_and_status_1(tmp_path: Path, command: str, unbuffered: str) -> None:
    status, said = shell(tmp_path, f"ARTCAFE {command} >/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert (status, said) == (1, "artcafe: cannot write: No space left on device\n")


@pytest.mark.parametrize("command", ["nonsense", "agent my_agent:nobody", "keygen my_agent.py"])
def test_what_is_wrong_has_its_status_also_if_nobody_can_read_it(tmp_path: Path, command: str) -> None:
    assert shell(tmp_path, f"ARTCAFE {command} 2>/dev/full") == (2, "")


@pytest.mark.parametrize("command", ["--help", "demo --agents 1 --seconds 1"])
def test_whoever_reads_the_output_may_have_enough_of_it(tmp_path: Path, command: str) -> None:
    status, said = shell(tmp_path, f"ARTCAFE {command} | head -c 1 >/dev/null")
    assert (status, said) == (1, "")


# --- without the extras, and in a hurry -------------------------------------------------------------------------------


def start(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, after `program`."""
    code = f"import sys; sys.argv[0] = 'artcafe'\n{program}\nfrom artcafe_cli.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_the_installed_command_begins_where_this_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"artcafe": "artcafe_cli.__main__:main"}


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_without_the_extras_it_says_what_to_install(missing: str) -> None:
    done = start(f"sys.modules['{missing}'] = None", "demo")
    expected = f"artcafe: the command needs {missing}: pip install 'artcafe-proto[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_another_module_that_is_missing_is_told_as_it_is() -> None:
    done = start("sys.modules['msgspec'] = None", "demo")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: ")


INTERRUPT = """
import os, signal
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize(
    "name", ["artcafe_cli.main", "msgspec", "cyclopts", "artcafe_proto", "artcafe_cli.demo", "artcafe_platform.server"]
)
def test_ctrl_c_while_it_is_being_loaded_ends_it_without_a_word(name: str) -> None:
    done = start(INTERRUPT.format(name=name), "demo", "--seconds", "1")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("command", [["demo"], ["send", "a", "x", "--platform", "http://127.0.0.1:1"]])
def test_ctrl_c_while_it_works_ends_it_without_a_traceback(command: list[str]) -> None:
    """Whatever it is doing at that moment."""
    program = """
import os, signal, threading, time
def interrupt():
    while "artcafe_cli.tenant_client" not in sys.modules:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
import http.client
def never(*args, **more):
    time.sleep(60)
http.client.HTTPConnection.connect = never
"""
    done = start(program, *command)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_an_interrupt_that_is_ignored_stays_so() -> None:
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    done = start(f"{ignored}\n{INTERRUPT.format(name='cyclopts')}", "--version")
    assert (done.returncode, done.stderr) == (0, "")
