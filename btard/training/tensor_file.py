"""Named tensors as the bytes of a safetensors file, in one form only and without a copy of all of them."""

import json
from collections.abc import Iterator, Mapping

import torch

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The dtypes that `pieces` and `size` take, with their names in the file."""


def pieces(tensors: Mapping[str, torch.Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the file of `tensors`, one piece at a time (TRN-13).

    The header's length (8 bytes, little-endian), the header, then each tensor in row-major order, those with
    the larger elements first, else by name. The header is JSON with sorted keys and without white space, but
    for the spaces that fill it up to a multiple of 8 bytes. Every dtype
    must be one of `DTYPES`.
    """
    header = _header(tensors)
    yield len(header).to_bytes(8, "little") + header
    for name in _order(tensors):
        yield raw_bytes(tensors[name])


def size(tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the number of bytes that `pieces` yields."""
    return 8 + len(_header(tensors)) + sum(tensor.nbytes for tensor in tensors.values())


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """Return the elements of a tensor in row-major order as they stand in memory (little-endian)."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _header(tensors: Mapping[str, torch.Tensor]) -> bytes:
    entries: dict[str, object] = {}
    end = 0
    for name in _order(tensors):
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        entries[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _order(tensors: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names so that every tensor stands at a multiple of its element's size."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
