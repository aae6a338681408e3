"""A training state as plain data: parameters, optimizer and schedule, to be hashed, sent and restored.

Tensors stay tensors; everything else in the state dicts of optimizer and scheduler becomes canonical JSON
that refers to tensors by name. No pickle, so a state from another peer can be parsed without trusting it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
import safetensors
import safetensors.torch
import torch

from btard.hashing import digest, object_digest, streamed_object_digest
from btard.training import tensor_file
from btard.training.tensor_file import raw_bytes

_STRUCTURE = "structure"
_PARAMETER = "parameter."
_UNREADABLE = (safetensors.SafetensorError, KeyError, ValueError, TypeError, AssertionError, RuntimeError)


class StateError(ValueError):
    """A state that cannot be read, or does not belong to this task."""


@attrs.frozen(eq=False)
class State:
    """What peers must have in common after a step; buffers and the step's number are no part of it.

    `tensors` holds one entry `parameter.NAME` for each parameter, and those of optimizer and scheduler;
    `structure` is the JSON of all the rest.
    """

    tensors: Mapping[str, torch.Tensor]
    structure: str

    @classmethod
    def of(cls, parameters: Mapping[str, torch.Tensor], rest: Mapping[str, object]) -> "State":
        """Return the state made of named parameters and of trees such as `Optimizer.state_dict()`.

        The tensors are not copied. Raises StateError where a tree holds anything but tensors, numbers, text,
        None, lists, tuples and dicts.
        """
        tensors = {_PARAMETER + name: tensor.detach() for name, tensor in parameters.items()}
        structure = _canonical(_flatten(dict(rest), "", tensors))
        return cls(tensors, structure)

    def parameters(self) -> dict[str, torch.Tensor]:
        """Return the parameters by name."""
        prefix = len(_PARAMETER)
        return {name[prefix:]: t for name, t in self.tensors.items() if name.startswith(_PARAMETER)}

    def rest(self) -> dict[str, Any]:
        """Return the trees that `of` was given. Raises StateError where the structure makes no sense."""
        try:
            tree = _unflatten(json.loads(self.structure), self.tensors)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StateError(f"the structure of this state cannot be read: {str(error)!r:.200}") from error
        if not isinstance(tree, dict):
            raise StateError("the structure of this state cannot be read: no dict at the top")
        return tree

    def copy(self) -> "State":
        """Return a state with tensors of its own."""
        return attrs.evolve(self, tensors={name: t.detach().clone() for name, t in self.tensors.items()})

    def digest(self) -> bytes:
        """Return the name under which the bytes of this state can be fetched (TRN-6, CNS-2).

        It covers structure, names, dtypes, shapes and bytes of all tensors, and takes no copy of them all.
        Raises StateError where a tensor has a dtype that cannot be sent.
        """
        return streamed_object_digest(self.pieces())

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes of `to_bytes()` one piece at a time. Raises StateError as `digest` does."""
        return tensor_file.pieces(self._file())

    def size(self) -> int:
        """Return the length of `to_bytes()`. Raises StateError as `digest` does."""
        return tensor_file.size(self._file())

    def to_bytes(self) -> bytes:
        """Return the state as a safetensors file; equal states give equal bytes (TRN-13).

        Raises StateError as `digest` does.
        """
        return b"".join(self.pieces())

    @classmethod
    def from_bytes(cls, data: bytes) -> "State":
        """Return the state that `to_bytes` wrote, for any bytes of any origin (TRN-13).

        Raises StateError unless `to_bytes` gives the same bytes again. Takes memory in proportion to `data`.
        """
        try:
            tensors = safetensors.torch.load(data)
            state = cls(tensors, bytes(raw_bytes(tensors.pop(_STRUCTURE))).decode())
        except _UNREADABLE as error:
            raise StateError(f"these {len(data)} bytes hold no state: {str(error)!r:.200}") from error
        if state.digest() != object_digest(data):
            raise StateError(f"these {len(data)} bytes hold a state, but not in the form that all peers write")
        return state

    def _file(self) -> dict[str, torch.Tensor]:
        for name, tensor in self.tensors.items():
            if name == _STRUCTURE:
                raise StateError(f"no tensor of a state may be called {name}")
            if tensor.dtype not in tensor_file.DTYPES:
                raise StateError(f"{name} is {tensor.dtype}; a state holds real numbers of the usual widths")
        text = np.frombuffer(self.structure.encode(), dtype=np.uint8)
        return {**self.tensors, _STRUCTURE: torch.from_numpy(text.copy())}


def _described(tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes | memoryview]:
    for name in sorted(tensors):
        tensor = tensors[name]
        yield f"{name} {tensor.dtype} {list(tensor.shape)}".encode()
        yield raw_bytes(tensor)


def tensors_digest(context: str, tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the digest over names, dtypes, shapes and bytes of tensors, in the order of their names."""
    return digest(context, *_described(tensors))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _flatten(value: object, path: str, tensors: dict[str, torch.Tensor]) -> object:
    """Turn a tree into JSON's types; its tensors go into `tensors` under their path."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, torch.Tensor):
        if path in tensors:
            raise StateError(f"two tensors of this state are called {path}")
        tensors[path] = value.detach()
        return {"tensor": path}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_flatten(item, _join(path, i), tensors) for i, item in enumerate(value)]}
    if isinstance(value, Mapping):
        items = [[_flatten_key(k, path), _flatten(v, _join(path, k), tensors)] for k, v in value.items()]
        return {"dict": sorted(items, key=lambda item: _canonical(item[0]))}
    raise StateError(f"{path} is a {type(value).__name__}; a state holds tensors, numbers and text only")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _flatten_key(key: object, path: str) -> int | str:
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise StateError(f"a key in {path or 'the state'} is a {type(key).__name__}; use text or integers")
    return key


def _unflatten(value: object, tensors: Mapping[str, torch.Tensor]) -> object:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unflatten(item, tensors) for key, item in content}
    items = [_unflatten(item, tensors) for item in content]
    if kind not in ("list", "tuple"):
        raise ValueError(f"unknown kind {kind!r}")
    return items if kind == "list" else tuple(items)
