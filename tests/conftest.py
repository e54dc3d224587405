"""Profiles of the suite: `quick` is the default and the same in every run."""

from __future__ import annotations

from hypothesis import settings

# No deadline: how fast a machine is must not decide a test.
settings.register_profile("quick", derandomize=True, deadline=None, database=None)
settings.load_profile("quick")
