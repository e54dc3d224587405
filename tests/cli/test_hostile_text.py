"""Whatever platforms and agents say, the command shows it so that neither a terminal nor a reader is misled."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from rich.console import Console

from artcafe_anyio.logs import AgentLog
from artcafe_cli.account import Account
from artcafe_cli.demo import Demo
from artcafe_cli.key_files import make_key_pair
from artcafe_cli.log_lines import LineFormatter
from artcafe_cli.main import main
from artcafe_cli.tables import print_agents
from artcafe_proto.events import AgentEvent, Event
from artcafe_proto.readable import one_line
from cli.test_account import sample
from support.hostile_text import HOSTILE, check_readable

METRICS = {"cpu_usage": 1.0, "memory_usage": 2.0}
ANSWERS: dict[str, Any] = {
    "error": {"error": {"code": HOSTILE, "message": HOSTILE}},
    "agent": {
        "agent_id": HOSTILE,
        "status": HOSTILE,
        "last_seen": HOSTILE,
        "metrics": METRICS,
        "capabilities": [HOSTILE, "a"],
    },
    "command": {"command_id": HOSTILE, "state": "failed", "response": {"code": HOSTILE, HOSTILE: [HOSTILE]}},
}
ANSWERS["agents"] = {"agents": [ANSWERS["agent"]], "next": None}


@contextmanager
def lying_platform(*answers: tuple[int, object]) -> Generator[str]:
    """A server that gives these answers, one a request, under a reason phrase to match."""
    left = list(answers)

    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body = left.pop(0)
            data = json.dumps(body, ensure_ascii=False).encode()
            self.wfile.write(f"HTTP/1.0 {status} \x1b[31m\x9bred\r\n\r\n".encode("latin-1") + data)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name in the library
            pass

    with HTTPServer(("127.0.0.1", 0), Liar) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(
    ("arguments", "answers", "status"),
    [
        (["agents"], [(500, ANSWERS["error"])], 1),
        (["agents"], [(200, ANSWERS["agents"])], 0),
        (["send", "agent-1", HOSTILE], [(500, ANSWERS["error"])], 1),
        (
            ["send", "agent-1", HOSTILE],
            [(202, ANSWERS["command"]), (200, {**ANSWERS["agent"], "status": "offline"})],
            1,
        ),
        (["send", HOSTILE, "work"], [], 2),
        (["register", "--agent-id", "agent-1", "--public-key", "key.pub"], [(500, ANSWERS["error"])], 1),
        (["register", "--agent-id", "agent-1", "--public-key", "key.pub"], [(201, ANSWERS["agent"])], 0),
        ([HOSTILE], [], 2),
        (["agent", HOSTILE], [], 2),
    ],
)
def test_each_command_is_readable_whatever_the_platform_says(
    arguments: list[str],
    answers: list[tuple[int, object]],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_key_pair(tmp_path / "key", "ed25519", "")
    follow_ups = [(200, ANSWERS["command"]), (201, {"key_id": HOSTILE, "fingerprint": HOSTILE})]
    answers = [*answers, follow_ups[arguments[0] == "register"]]
    with lying_platform(*answers) as url:
        monkeypatch.setenv("ARTCAFE_PLATFORM", url)
        monkeypatch.setenv("ARTCAFE_TENANT_TOKEN", "a-long-random-password")
        monkeypatch.setattr("sys.argv", ["artcafe", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    out, err = capsys.readouterr()
    assert ended.value.code == status, err
    check_readable(out)
    check_readable(err)
    assert len(err.splitlines()) <= 1
    if out:
        assert json.dumps(HOSTILE) in json.dumps(json.loads(out)), "JSON says exactly what was said"


@pytest.mark.parametrize("name", ["worker[gpu]", "[/]", ":warning:", HOSTILE], ids=["gpu", "tag", "emoji", "all"])
def test_a_table_shows_data_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_agents(
        [{**ANSWERS["agent"], "agent_id": name, "status": name, "last_seen": name, "capabilities": [name, "a"]}]
    )
    out = capsys.readouterr().out
    check_readable(out)
    assert out.count(one_line(name)) == 4


@pytest.mark.parametrize("is_terminal", [True, False])
def test_ids_that_differ_at_their_ends_look_different(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")  # 80 columns, without colour
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    ids = [f"worker-{'a' * 100}-{kind}" for kind in ("gpu", "cpu")] + ["hidden\u3164", "hidden\ufe0f"]
    print_agents(
        [{**ANSWERS["agent"], "agent_id": agent_id, "status": "online", "last_seen": None} for agent_id in ids]
    )
    lines = capsys.readouterr().out.splitlines()
    if is_terminal:
        agents = "".join(line[1:].split(" ")[0] for line in lines)
        assert all(one_line(agent_id) in agents for agent_id in ids), agents
    else:
        assert [line.split()[0] for line in lines[1:]] == [one_line(agent_id) for agent_id in ids]


def hostile_events() -> list[Event]:
    """One of each kind, with hostile texts wherever one is."""
    events: list[Event] = []
    for kind in get_args(Event):
        fields = {name: sample(hint) for name, hint in get_type_hints(kind).items()}
        events.append(kind(**{name: HOSTILE if value == "x" else value for name, value in fields.items()}))
    return events


@pytest.mark.parametrize("event", hostile_events(), ids=lambda event: type(event).__name__)
def test_every_event_is_told_readably(event: Event) -> None:
    told = io.StringIO()
    demo = Demo(1, 1, Console(file=told, width=2000))
    account = Account(demo._write)  # pyright: ignore[reportPrivateUsage]
    account.tell("platform", event)
    account.tell("platform", event)
    account.flush()
    check_readable(told.getvalue())


@pytest.mark.parametrize("formatter", [logging.Formatter("%(message)s"), LineFormatter(in_colour=False)])
def test_every_record_is_readable(formatter: logging.Formatter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = AgentLog("agent-1")
    for event in hostile_events():
        if isinstance(event, AgentEvent):
            log.event(event, 0.0)
    log.line(logging.ERROR, HOSTILE, ValueError(HOSTILE))
    logging.getLogger("artcafe_platform").warning("cannot accept: %s", OSError(HOSTILE), exc_info=ValueError(HOSTILE))
    if isinstance(formatter, LineFormatter):  # which also writes what other libraries log
        logging.getLogger("handlers").error("got %s", HOSTILE, exc_info=ValueError(HOSTILE))
    for record in caplog.records:
        record.exc_text = record.exc_text if record.name != "handlers" else None
        check_readable(formatter.format(record))
