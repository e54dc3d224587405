"""What heartbeats say of this process (HB-2)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import suppress

import pytest

from artcafe_anyio import process_metrics
from artcafe_anyio.clocks import read_clocks
from artcafe_anyio.logs import AgentLog
from artcafe_anyio.process_metrics import ProcessMetrics, resident_bytes
from artcafe_proto import Instant


class Clocks:
    """Stand in for the clock and for what the process uses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.elapsed_s = 100.0
        self.used_s = 10.0
        monkeypatch.setattr(process_metrics, "process_cpu_s", lambda: self.used_s)
        monkeypatch.setattr(os, "cpu_count", lambda: 4)


def test_cpu_is_of_all_cores_since_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    metrics = ProcessMetrics(lambda: Instant(clocks.elapsed_s, 0.0))
    clocks.elapsed_s += 10
    clocks.used_s += 4
    assert metrics.read()[0] == 10.0
    clocks.elapsed_s += 10
    assert metrics.read()[0] == 0.0
    assert metrics.read()[0] == 0.0  # nothing has elapsed
    clocks.elapsed_s += 1
    clocks.used_s += 4.1
    assert metrics.read()[0] == 100.0
    clocks.elapsed_s += 1
    clocks.used_s -= 1
    assert metrics.read()[0] == 0.0


def no_proc(*_: object) -> None:
    """Stand in for `open`."""
    raise FileNotFoundError


GROWING = """
import os, sys
from artcafe_anyio import clocks, process_metrics

def no_proc(*_):
    raise FileNotFoundError

if sys.argv[1] == "False":
    process_metrics.open = no_proc
metrics = process_metrics.ProcessMetrics(clocks.read_clocks)
before = metrics.read()[1]
held = bytearray(os.urandom(1)) * (64 * process_metrics.MIB)
print(metrics.read()[1] - before)
"""


@pytest.mark.parametrize("with_proc", [True, False])
def test_memory_is_what_a_process_holds(with_proc: bool) -> None:
    """In one of its own: here, others come and go."""
    done = subprocess.run([sys.executable, "-c", GROWING, str(with_proc)], capture_output=True, text=True, check=True)
    assert 60 < float(done.stdout) < 80


def test_without_proc_and_psutil_the_peak_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    current = resident_bytes()
    monkeypatch.setattr(process_metrics, "open", no_proc, raising=False)
    monkeypatch.setitem(sys.modules, "psutil", None)
    peak = resident_bytes()
    monkeypatch.undo()
    assert current * 0.9 < peak


def test_what_cannot_be_measured_keeps_its_last_figure_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_descriptors() -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    metrics = ProcessMetrics(read_clocks, AgentLog("agent-1"))
    for times in (1, 2):
        figures = metrics.read()
        assert figures[1] > 1
        with monkeypatch.context() as patch:
            patch.setattr(process_metrics, "resident_bytes", no_descriptors)
            for _ in range(3):
                read: object = None
                with suppress(OSError):
                    read = metrics.read()
                assert read == figures
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == times
        assert "the last figures: [Errno 24] Too many open files [HB-2]" in told[-1]
