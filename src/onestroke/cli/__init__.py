"""The command lines."""

from __future__ import annotations

import os

if "OMP_WAIT_POLICY" not in os.environ:
    # Read by GNU's OpenMP when torch is loaded. Its threads wait for each other by spinning, for milliseconds; where
    # another process has one of the cores, the thread that is waited for then never gets the core of the one that
    # waits, and a training goes at a thirtieth of its speed. After a few microseconds they now sleep instead.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
