"""The Autobahn test cases for WebSockets, both roles over loopback sockets: all of groups 1 to 7, 9 and 10.

Groups 12 and 13 are about compression, which is neither offered nor taken; there is no 8, and 11 is not in use. What is
under test is the wire, with its limits opened by arguments: binary messages and 32 MiB. The façades hold it to MSG-6
and MSG-7, by which most cases of group 9 and all binary ones would be refused.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
NON_STRICT = {"6.4.3", "6.4.4"}
"""Text that is no UTF-8 is refused when its frame is whole, not, as Autobahn likes it better, within the frame."""
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
"""Where RFC 6455 says nothing: what becomes of a long echo when a close follows, close codes of 5000 and 65535."""


def verdicts(role: str, cases: list[str]) -> dict[str, list[str]]:
    command = [sys.executable, "-W", "error", str(TESTS / "conformance.py"), role, *cases]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=600).stdout)


def not_ok(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {case: verdict for case, verdict in found.items() if verdict != ["OK", "OK"]}


@pytest.mark.parametrize("role", ["agent", "platform"])
def test_the_wire_conforms(role: str) -> None:
    found = verdicts(role, ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"])
    assert not_ok(found) == {
        **{case: ["NON-STRICT", "OK"] for case in NON_STRICT},
        **{case: ["INFORMATIONAL", "INFORMATIONAL"] for case in INFORMATIONAL},
    }
    groups = Counter(int(case.split(".")[0]) for case in found)
    assert groups == {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 10: 1}


@pytest.mark.thorough
@pytest.mark.parametrize("role", ["agent", "platform"])
def test_the_wire_carries_large_and_many_messages(role: str) -> None:
    found = verdicts(role, ["9.*"])
    assert not_ok(found) == {}
    assert len(found) == 54
