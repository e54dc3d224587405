"""`docs/protocol.md` and the code say the same: every clause that is cited can be looked up, and the numbers agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from artcafe_platform import listening
from artcafe_proto import AgentConfig, PlatformConfig, limits
from artcafe_proto.policies.backoff import WAITS, FailureKind

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")
SOURCES = sorted(path for folder in ("artcafe_proto", "adapters") for path in (ROOT / folder).rglob("*.py"))

LAST = {"MSG": 7, "AUTH": 8, "TOK": 6, "LINK": 10, "HB": 3, "STAT": 4, "CMD": 11, "PLAT": 8}
CLAUSES = {f"{family}-{number}" for family, last in LAST.items() for number in range(1, last + 1)}

CITED = re.compile(r"\b(?:MSG|AUTH|TOK|LINK|HB|STAT|CMD|PLAT)-\d+")
ANCHOR = re.compile(r'<a id="([^"]*)"></a>')
ITEM = re.compile(r'^- <a id="([a-z]+-\d+)"></a>\*\*([A-Z]+-\d+)\*\* ', re.MULTILINE)

AGENT = AgentConfig(agent_id="agent-1", tenant_id="tenant-1")
PLATFORM = PlatformConfig()
MINUTE_S = 60
MIB = 1024 * 1024

# The clause that says a number, how it says it (the number as the group), its unit, and the code's value.
NUMBERS: list[tuple[str, str, float, float]] = [
    ("MSG-3", r"1 to (\d+) characters", 1, limits.MAX_ID_CHARS),
    ("MSG-5", r"more than (\d+) in a row", 1, AGENT.max_bad_messages),
    ("MSG-6", r"at most (\d+) MiB", MIB, AGENT.max_message_size),
    ("MSG-6", r"at most (\d+) levels", 1, limits.MAX_JSON_DEPTH),
    ("AUTH-2", r"to (\d+) visible ASCII characters", 1, limits.MAX_CHALLENGE_CHARS),
    ("AUTH-5", r"RSA of (\d+) to \d+ bits", 1, limits.MIN_RSA_BITS),
    ("AUTH-5", r"RSA of \d+ to (\d+) bits", 1, limits.MAX_RSA_BITS),
    ("AUTH-5", r"below 2\^(\d+)", 1, limits.MAX_RSA_EXPONENT_BITS),
    ("AUTH-8", r"expiry \((\d+) s\)", 1, limits.CHALLENGE_LIFE_S),
    ("TOK-5", r"lives (\d+) min", MINUTE_S, PLATFORM.token_life),
    ("LINK-3", r"timed out \| (\d+) s, doubled", 1, WAITS[FailureKind.AUTHENTICATION].first_s),
    ("LINK-3", r"upgrade \| (\d+) s, doubled", 1, WAITS[FailureKind.SERVER].first_s),
    ("LINK-3", r"1, 2, 4 … (\d+) s", 1, WAITS[FailureKind.OTHER].cap_s),
    ("LINK-7", r"After (\d+) s without", 1, AGENT.ping_interval),
    ("LINK-8", r"TLS included, (\d+) s", 1, AGENT.connect_timeout),
    ("HB-1", r"every (\d+) s", 1, AGENT.heartbeat_interval),
    ("HB-3", r"Silence of (\d+) s", 1, limits.OFFLINE_AFTER_S),
    ("CMD-1", r"one of the latest ([\d,]+)", 1, limits.MAX_SETTLED_COMMANDS),
    ("CMD-4", r"missing it is (\d+) s", 1, limits.DEFAULT_COMMAND_TIMEOUT_S),
    ("CMD-5", r"At most (\d+) commands run", 1, AGENT.max_concurrent),
    ("CMD-10", r"at most (\d+) commands", 1, PLATFORM.window),
    ("PLAT-4", r"a wait of up to (\d+) s", 1, limits.MAX_WAIT_S),
    ("PLAT-4", r"after (\d+) s of silence", 1, limits.KEEP_ALIVE_S),
    ("PLAT-4", r"more than (\d+) MiB waits", MIB, limits.MAX_WAITING_BYTES),
    ("PLAT-4", r"a tenant has at most (\d+)", 1, limits.MAX_STREAMS_PER_TENANT),
    ("PLAT-8", r"([\d,]+) connections", 1, listening.MAX_CONNECTIONS),
]


def clause_texts() -> dict[str, str]:
    """The text of each clause on one line, from its id to the next clause or heading."""
    starts = list(ITEM.finditer(PAGE))
    ends = [start.start() for start in starts[1:]] + [len(PAGE)]
    bodies = [PAGE[start.end() : end].partition("\n#")[0] for start, end in zip(starts, ends, strict=True)]
    return {start[2]: " ".join(body.split()) for start, body in zip(starts, bodies, strict=True)}


def test_every_clause_is_a_list_item_of_its_own() -> None:
    assert sorted(match[2] for match in ITEM.finditer(PAGE)) == sorted(CLAUSES)


def test_every_clause_has_its_anchor_once() -> None:
    assert all(anchor == clause.lower() for anchor, clause in ITEM.findall(PAGE))
    assert sorted(ANCHOR.findall(PAGE)) == sorted(clause.lower() for clause in CLAUSES)


def test_the_page_cites_no_clause_that_does_not_exist() -> None:
    assert set(CITED.findall(PAGE)) == CLAUSES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_the_code_cites_can_be_looked_up(path: Path) -> None:
    assert set(CITED.findall(path.read_text("utf-8"))) <= clause_texts().keys()


@pytest.mark.parametrize(("clause", "phrase", "unit", "value"), NUMBERS, ids=[f"{row[0]}: {row[1]}" for row in NUMBERS])
def test_numbers_are_those_of_the_code(clause: str, phrase: str, unit: float, value: float) -> None:
    found = re.findall(phrase, clause_texts()[clause])
    assert len(found) == 1, f"{clause} no longer says {phrase!r} once: correct the table with the page"
    assert float(found[0].replace(",", "")) * unit == pytest.approx(value)
