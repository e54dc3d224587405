"""What heartbeats say of this process (HB-2)."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

from artcafe_anyio.clocks import process_cpu_s

if TYPE_CHECKING:
    from artcafe_anyio.clocks import Clock
    from artcafe_anyio.logs import AgentLog

MIB: Final = 1024 * 1024


class ProcessMetrics:
    """CPU in percent of all cores since the last reading, and resident memory in MiB."""

    def __init__(self, clock: Clock, log: AgentLog | None = None) -> None:
        """`clock` says how much time has passed. `log` hears once of what cannot be measured; until it can be again,
        figures keep their last values.
        """
        self._clock = clock
        self._log = log
        self._is_failing = False
        self._cores = os.cpu_count() or 1
        self._read_at = clock().mono
        self._cpu_s = process_cpu_s()
        self._figures = (0.0, 0.0)

    def read(self) -> tuple[float, float]:
        """CPU (0 to 100) and memory (MiB). Never raises."""
        try:
            self._figures = self._read()
        except Exception as error:  # the last descriptor is taken, and modules may be missing for it
            if self._log is not None and not self._is_failing:
                text = f"cannot measure cpu and memory, heartbeats go on with the last figures: {error} [HB-2]"
                self._log.line(logging.WARNING, text)
            self._is_failing = True
        else:
            self._is_failing = False
        return self._figures

    def _read(self) -> tuple[float, float]:
        now, cpu_s = self._clock().mono, process_cpu_s()
        elapsed_s, used_s = now - self._read_at, cpu_s - self._cpu_s
        self._read_at, self._cpu_s = now, cpu_s
        cpu = 100 * used_s / (elapsed_s * self._cores) if elapsed_s > 0 else 0.0
        return round(min(max(cpu, 0.0), 100.0), 2), round(resident_bytes() / MIB, 2)


def resident_bytes() -> int:
    """Resident memory: of Linux itself, else of psutil where that is installed, else the peak."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import psutil  # here, not above: Linux does without, and an agent starts sooner
    except ImportError:
        return _peak_resident_bytes()
    return psutil.Process().memory_info().rss


def _peak_resident_bytes() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
