"""The toy task as a run file names it."""

from tests.training.toy_task import Toy


class Small(Toy):
    def __init__(self, seed: bytes, device: str) -> None:
        super().__init__(device=device)
