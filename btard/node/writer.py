"""Files are written in another thread, and waited for where something rests on them (spec OPS-5)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """Carries out jobs one after the other; one that failed makes every wait fail from then on."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._begun: list[Future[None]] = []

    def begin(self, job: Callable[[], None]) -> None:
        """Begin a job, after those before."""
        self._begun.append(self._pool.submit(job))

    def wait(self) -> None:
        """Wait until all jobs are done. Raises what one of them did."""
        for begun in self._begun:
            begun.result()
        self._begun.clear()

    def close(self) -> None:
        """Wait for what is under way; nothing is to be begun after that."""
        self._pool.shutdown(wait=True)
