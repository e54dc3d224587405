"""Instructions of a process, counted by callgrind: the same on a busy machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys


def instructions(file: str, *arguments: str, **environment: str) -> int:
    """All that Python executes for the script `file`, with a fixed hash seed."""
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    variables = {**os.environ, "PYTHONHASHSEED": "0", **environment}
    command = [*tool, sys.executable, file, *arguments]
    said = subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stderr
    found = re.search(r"Collected : (\d+)", said)
    assert found is not None, said
    return int(found[1])
