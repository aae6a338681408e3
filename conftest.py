"""Settings of all tests: one torch thread, no deadlines, the same examples in CI every time, Ctrl-C heard."""

import os
import signal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported anywhere

from hypothesis import settings

settings.register_profile("btard", deadline=None)
settings.register_profile("btard-ci", parent=settings.get_profile("btard"), derandomize=True)
settings.load_profile("btard-ci" if os.environ.get("CI") else "btard")

# Where a script starts tests in the background it is ignored, and a test that presses it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
