"""What a peer trains: the class that a user fills in with a model, an optimizer, a loss and public data."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from btard.hashing import digest
from btard.training.buffers import compute_statistics, kept_buffers
from btard.training.optimizers import ConsensusOptimizer, ConsensusSchedule
from btard.training.sampling import batch_indices, seeded_generators
from btard.training.state import State, StateError, tensors_digest

_STATISTICS_BATCHES = 16
"""Batches from which the running statistics of normalisation layers are computed anew."""


class Task(ABC):
    """A model, its optimizer and its public data, the same at every peer.

    A subclass takes `seed: bytes` and `device: str` and any options of its own in its constructor, sets the
    attributes below there, and defines `loss` and `evaluate`. A peer does the rest. Whatever `loss` does must
    follow from parameters, indices and torch's, `random`'s or `numpy.random`'s global generators alone: other
    peers compute the gradient again, and ban whoever got another one.

    One task is for one thread at a time.
    """

    model: nn.Module
    """Parameters that require no gradient are neither trained nor exchanged."""
    optimizer: Optimizer
    """One of `btard.training.optimizers`, with which peers on any hardware keep equal states, or any of
    `torch.optim` (or one like them) whose `step()` needs no closure, for peers of one numerics class."""
    examples: int
    """The number of training examples; `loss` is given indices below it."""
    batch_size: int
    """Examples per gradient."""
    data: tuple[torch.Tensor, ...] = ()
    """The tensors that `data_digest` hashes: what all peers must hold in common."""
    scheduler: LRScheduler | None = None
    """Stepped after each `optimizer.step()`."""
    last_loss: float = math.nan
    """The loss that the last call of `gradient` computed."""

    @abstractmethod
    def loss(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, a tensor without dimensions, on the examples `indices` (int64, on device)."""

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Return figures on held-out data, `accuracy` or `loss` among them. Callers use `scores`."""

    def data_digest(self) -> bytes:
        """Return the digest of the data: of the tensors in `data`, unless overridden (TRN-7)."""
        if not self.data:
            raise ValueError(f"{type(self).__name__} names no data: set self.data or define data_digest()")
        return tensors_digest("data", {f"{i:08d}": tensor for i, tensor in enumerate(self.data)})

    @property
    def portable(self) -> bool:
        """Whether `update` comes to the same state on any hardware (TRN-14, TRN-18)."""
        schedule = self.scheduler is None or isinstance(self.scheduler, ConsensusSchedule)
        return schedule and isinstance(self.optimizer, ConsensusOptimizer)

    # What peers exchange.

    @cached_property
    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def dimension(self) -> int:
        """The length of a gradient."""
        return sum(p.numel() for p in self._trained)

    @property
    def device(self) -> torch.device:
        """The device of the model, and so of gradients."""
        return self._trained[0].device

    def gradient(self, seed: bytes) -> torch.Tensor:
        """Return the gradient of the loss on the batch that `seed` selects (TRN-1).

        One dimension, float32, on the model's device, parameter after parameter in the order of
        `model.parameters()`; zero where the loss does not depend on one. Within one numerics class it is a
        function of parameters and seed, bit for bit: buffers are the same before each call. What is not
        finite is returned as it is. Parameters, buffers and random generators are left as they were.

        Raises ValueError unless the seed has 32 bytes, TypeError where `loss` gives no single number.
        """
        indices = batch_indices(seed, self.examples, self.batch_size).to(self.device)
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        with seeded_generators(seed, self.device), kept_buffers(self.model), torch.enable_grad():
            loss = self.loss(indices)
            if not isinstance(loss, torch.Tensor) or loss.ndim != 0:
                raise TypeError(f"{type(self).__name__}.loss() must return a tensor without dimensions")
            loss.backward()  # type: ignore[no-untyped-call]
        self.last_loss = loss.item()
        flat = torch.cat([_dense_gradient(p) for p in self._trained])
        self.model.zero_grad(set_to_none=True)
        return flat

    def gradient_at(self, parameters: torch.Tensor, seed: bytes) -> torch.Tensor:
        """Return what `gradient(seed)` was when `parameters_vector()` was `parameters` (TRN-5).

        The present parameters, `last_loss` and everything else are as before afterwards, bit for bit, also
        where this raises.
        """
        kept, loss = [p.detach().clone() for p in self._trained], self.last_loss
        try:
            self.load_parameters_vector(parameters)
            return self.gradient(seed)
        finally:
            self.last_loss = loss
            with torch.no_grad():
                for p, old in zip(self._trained, kept, strict=True):
                    p.copy_(old)

    def update(self, gradient: torch.Tensor) -> None:
        """Let the optimizer make one step with an aggregated gradient, as `gradient` lays it out.

        Raises ValueError where its shape is wrong. Whether it is finite is the caller's business.
        """
        for p, piece in zip(self._trained, self._split(gradient), strict=True):
            p.grad = piece.to(device=p.device, dtype=p.dtype, copy=True)
        self.optimizer.step()
        self.model.zero_grad(set_to_none=True)
        if self.scheduler is not None:
            self.scheduler.step()

    def parameters_vector(self) -> torch.Tensor:
        """Return a copy of the trained parameters, shape (dimension,), that loses no bit.

        Its dtype is float64 if that of one parameter is, else float32.
        """
        dtype = torch.float64 if any(p.dtype == torch.float64 for p in self._trained) else torch.float32
        return torch.cat([p.detach().to(dtype).reshape(-1) for p in self._trained])

    def load_parameters_vector(self, vector: torch.Tensor) -> None:
        """Set the trained parameters to a `parameters_vector`. Raises ValueError where its shape is wrong."""
        with torch.no_grad():
            for p, piece in zip(self._trained, self._split(vector), strict=True):
                p.copy_(piece)

    def _split(self, vector: torch.Tensor) -> list[torch.Tensor]:
        if vector.shape != (self.dimension,):
            raise ValueError(f"a vector for this model has shape [{self.dimension}], not {list(vector.shape)}")
        pieces = torch.split(vector.detach(), [p.numel() for p in self._trained])
        return [piece.view(p.shape) for p, piece in zip(self._trained, pieces, strict=True)]

    # The state that peers have in common.

    def state(self) -> State:
        """Return a copy of parameters, optimizer and scheduler, for roll-back, checkpoints and newcomers."""
        return self._state().copy()

    def load_state(self, state: State) -> None:
        """Continue from a state of this task; compare its digest with the agreed one first (TRN-8).

        Raises StateError where it belongs to another model or optimizer. The model is not touched where its
        parameters do not fit; where optimizer or scheduler refuse theirs, the task is of no use any more.
        """
        parameters, rest = state.parameters(), state.rest()
        mine = dict(self.model.named_parameters())
        if _forms(mine) != _forms(parameters):
            raise StateError(
                "this state belongs to another model: names, shapes or dtypes of parameters differ"
            )
        with torch.no_grad():
            for name, parameter in mine.items():
                parameter.copy_(parameters[name])
        try:
            self.optimizer.load_state_dict(rest["optimizer"])
            _restore_dtypes(self.optimizer, rest["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(rest["scheduler"])
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise StateError(f"another optimizer or scheduler than ours: {str(error)!r:.200}") from error
        if self.model_digest() != state.digest():
            raise StateError(
                f"{type(self.optimizer).__name__} or its scheduler did not take this state as it is"
            )

    def model_digest(self) -> bytes:
        """Return the digest of parameters, optimizer state and schedule, on which peers agree (TRN-6)."""
        return self._state().digest()

    def model_size(self) -> int:
        """Return the bytes of the state as an object, without making them."""
        return self._state().size()

    def _state(self) -> State:
        rest: dict[str, object] = {"optimizer": self.optimizer.state_dict()}
        if self.scheduler is not None:
            rest["scheduler"] = self.scheduler.state_dict()
        return State.of(dict(self.model.named_parameters()), rest)

    # Looking at the model.

    @contextmanager
    def for_inference(self) -> Iterator[None]:
        """Put the model into evaluation mode, with running statistics of the present parameters (TRN-9).

        Batch normalisation's statistics do not follow from aggregated gradients. So they are computed here
        from batches that everybody knows, and put back afterwards.
        """
        with kept_buffers(self.model), seeded_generators(digest("inference"), self.device), torch.no_grad():
            compute_statistics(self.model, self._run_statistics_batches)
            self.model.eval()
            try:
                yield
            finally:
                self.model.train()

    def scores(self) -> dict[str, float]:
        """Return the figures of `evaluate`, computed as `for_inference` says."""
        with self.for_inference():
            return {name: float(value) for name, value in self.evaluate().items()}

    def _run_statistics_batches(self) -> None:
        self.model.train()
        for i in range(_STATISTICS_BATCHES):
            seed = digest("statistics", i.to_bytes(8, "little"))
            self.loss(batch_indices(seed, self.examples, self.batch_size).to(self.device))

    def check(self) -> None:
        """Raise TypeError or ValueError, in one line, where the constructor left something out or wrong."""
        name = type(self).__name__
        needed = {"model": nn.Module, "optimizer": Optimizer, "examples": int, "batch_size": int}
        for attribute, kind in needed.items():
            if not isinstance(getattr(self, attribute, None), kind):
                raise TypeError(f"{name}.__init__ must set self.{attribute} (type {kind.__name__})")
        if not 1 <= self.batch_size <= self.examples:
            raise ValueError(f"{name}: batch_size is {self.batch_size}; there are {self.examples} examples")
        if not self._trained:
            raise ValueError(f"{name}: no parameter of the model requires a gradient")
        if odd := [n for n, p in self.model.named_parameters() if not p.is_floating_point()]:
            raise TypeError(f"{name}: parameter {odd[0]} is not a floating-point tensor")
        if len(devices := {str(p.device) for p in self.model.parameters()}) > 1:
            raise ValueError(
                f"{name}: the model is spread over {', '.join(sorted(devices))}; put it on one device"
            )
        self._check_optimizer()
        self.data_digest()

    def _check_optimizer(self) -> None:
        name = f"{type(self).__name__}: {type(self.optimizer).__name__}"
        known = {id(p) for p in self.model.parameters()}
        if not all(id(p) in known for group in self.optimizer.param_groups for p in group["params"]):
            raise ValueError(
                f"{name} is not over parameters of the model: make it from self.model.parameters()"
            )
        closure = inspect.signature(self.optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise TypeError(
                f"{name} computes the loss again within a step; use one whose step() needs no closure"
            )


def _forms(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _dense_gradient(parameter: nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        return torch.zeros(parameter.numel(), dtype=torch.float32, device=parameter.device)
    return parameter.grad.to_dense().to(torch.float32).reshape(-1)


def _restore_dtypes(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Undo the cast to the parameter's dtype that `Optimizer.load_state_dict` makes."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, values in saved["state"].items():
        current = optimizer.state[parameters[index]]
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                current[key] = value.detach().to(current[key].device, copy=True)
