"""Files of tokens as programs write them. What a file holds is read from its own header, said by the user, or refused.

| format          | known by                               | type of a token                       |
|-----------------|----------------------------------------|---------------------------------------|
| llm.c           | its magic number, 1,024 bytes of header | uint16 (GPT-2), uint32 (Llama 3)      |
| NumPy .npy      | its magic bytes                        | in its header                         |
| Megatron-LM     | a .idx file beside the .bin            | in the .idx                           |
| Parquet         | its magic bytes                        | in its schema; one column of tokens   |
| flat .bin       | nothing: what is left (nanoGPT's files) | uint16, or as the user says           |

llm.c: github.com/karpathy/llm.c, dev/data/data_common.py (also what modded-nanogpt writes). Megatron-LM:
megatron/core/datasets/indexed_dataset.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mutransfer.data.shards import Array

DTYPES = ("uint8", "uint16", "uint32", "int32", "int64")
"""Types that a user may say for a flat file, little-endian."""
FLAT = "uint16"
"""What a flat file holds where nobody says: nanoGPT's type."""

_LLM_C = {20240520: "uint16", 20240801: "uint32"}
_LLM_C_HEADER = 1024
_MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}
_OTHERS = {
    b"\x1f\x8b": "a gzip file: unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it",
    b"PK\x03\x04": "a zip archive (also .npz and .pt): write its tokens to a .npy file",
    b"\x89HDF": "an HDF5 file: write its tokens to a .npy file",
    b"ARROW1": "an Arrow file: write it as Parquet",
    b"\x80\x04\x95": "a pickle, which may run code and is not read: write its tokens to a .npy file",
}
_LOOK = 1 << 16
"""Tokens at the start of a flat file that are looked at."""
_SMALL = 16
"""A token in every second place that is always below this is the upper half of a wider number."""
_LARGEST_VOCABULARY = 1 << 22


class Found(NamedTuple):
    """The tokens of a file, and the name of its format."""

    tokens: Array
    format: str


def read_tokens(path: Path, dtype: str | None = None) -> Found:
    """The tokens of one file, memory-mapped where the format allows it.

    Args:
        path: a regular file that is there.
        dtype: one of DTYPES for a flat file; None: by its format.

    Raises ValueError on a file of another kind, or one that looks as if its tokens were of another type.
    """
    with path.open("rb") as file:
        head = file.read(_LLM_C_HEADER)
    index = path.with_suffix(".idx")
    readers: list[tuple[bool, str, Callable[[], Array]]] = [
        (len(head) >= 12 and _magic(head) in _LLM_C, "llm.c", lambda: _llm_c(path, head)),
        (head.startswith(b"\x93NUMPY"), "NumPy", lambda: _numpy(path)),
        (head.startswith(b"PAR1"), "Parquet", lambda: _parquet(path)),
        (path.suffix == ".bin" and index.is_file(), "Megatron-LM", lambda: _megatron(path, index)),
    ]
    for claimed, name, read in readers:
        if claimed:
            if dtype is not None:
                raise ValueError(f"expected no type for {path}: its format, {name}, says it; remove :{dtype}")
            return Found(_whole_numbers(read(), path), name)
    return Found(_flat(path, head, dtype or FLAT), "flat")


def _magic(head: bytes) -> int:
    number: int = struct.unpack_from("<i", head)[0]
    return number


def _llm_c(path: Path, head: bytes) -> Array:
    magic, _, count = struct.unpack_from("<iii", head)
    dtype = np.dtype(_LLM_C[magic]).newbyteorder("<")
    there = (path.stat().st_size - _LLM_C_HEADER) // dtype.itemsize
    if not 0 < count <= there:
        raise ValueError(f"expected {count} tokens in {path}, as its header says; got {there}: copy the file again")
    return np.memmap(path, dtype, mode="r", offset=_LLM_C_HEADER, shape=(count,))


def _numpy(path: Path) -> Array:
    try:
        tokens: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"expected a NumPy array in {path}; it cannot be read ({error}): write it again") from None
    return tokens


def _parquet(path: Path) -> Array:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError(f"expected the package pyarrow to read {path}: pip install 'mutransfer[hf]'") from None
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        told = str(error).partition("\n")[0]
        raise ValueError(f"expected a Parquet file {path}; it cannot be read ({told}): write it again") from None
    tokens = []
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            column = column.flatten()
        if pa.types.is_integer(column.type) and not column.null_count:
            tokens.append((name, column))
    named = [column for name, column in tokens if name in ("input_ids", "tokens", "token_ids", "ids")]
    chosen = named[0] if named else tokens[0][1] if len(tokens) == 1 else None
    if chosen is None:
        names = ", ".join(name for name, _ in tokens) or "none"
        raise ValueError(f"expected a column input_ids in {path}; its columns of whole numbers are {names}: name it so")
    found: Array = chosen.to_numpy(zero_copy_only=False)
    return found


def _megatron(path: Path, index: Path) -> Array:
    head = index.read_bytes()[:18]
    if not head.startswith(_MEGATRON_MAGIC) or len(head) < 18:
        raise ValueError(f"expected Megatron-LM's index in {index}; its magic bytes are missing: make it again")
    code = head[17]
    if code not in _MEGATRON_DTYPES:
        raise ValueError(f"expected whole numbers in {path}; its index says type {code}: tokenize again")
    dtype = np.dtype(_MEGATRON_DTYPES[code]).newbyteorder("<")
    if path.stat().st_size % dtype.itemsize:
        raise ValueError(f"expected a whole number of {dtype.name} tokens in {path}: copy the file again")
    return np.memmap(path, dtype, mode="r")


def _flat(path: Path, head: bytes, name: str) -> Array:
    dtype, size = np.dtype(name).newbyteorder("<"), path.stat().st_size
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise ValueError(f"expected tokens in {path}; it looks like {what}")
    if _is_text(head):
        raise ValueError(f"expected tokens in {path}; it looks like text: give text:{path}")
    if size % dtype.itemsize:
        raise ValueError(f"expected {name} tokens in {path}, a multiple of {dtype.itemsize} bytes; got {size} bytes")
    tokens: Array = np.memmap(path, dtype, mode="r")
    looks = _looks_like(path, name)
    if looks is not None:
        raise ValueError(f"expected {name} tokens in {path}; it looks like {looks}: give tokens:{path}:{looks}")
    return tokens


def _is_text(head: bytes) -> bool:
    """Whether bytes can only be text: printable ASCII and line ends."""
    return len(head) > 64 and all(32 <= byte < 127 or byte in (9, 10, 13) for byte in head)


def _looks_like(path: Path, name: str) -> str | None:
    """The type of which a flat file must be, where it cannot be of the type that was said."""
    count = min(_LOOK, path.stat().st_size // 8 * 4)
    halves = np.fromfile(path, "<u2", count=count)
    halves = halves[: len(halves) // 4 * 4].reshape(-1, 4).astype(np.int64)
    if len(halves) < 4:
        return None
    low, second, third, fourth = halves.T
    quarter_empty = max(third.max(), fourth.max()) == 0
    if quarter_empty and second.max() < _SMALL and low.max() > 0:
        seems = "int64"
    elif max(second.max(), fourth.max()) < _SMALL and max(low.max(), third.max()) >= _SMALL:
        seems = "uint32"
    elif np.dtype(name).itemsize == 4 and np.median(second) > _LARGEST_VOCABULARY >> 16:
        seems = "uint16"
    else:
        return None
    same = np.dtype(seems).itemsize == np.dtype(name).itemsize
    return None if same else seems


def _whole_numbers(tokens: Array, path: Path) -> Array:
    if tokens.ndim != 1 or tokens.dtype.kind not in "ui":
        raise ValueError(
            f"expected one row of whole numbers in {path}; got an array of shape {tokens.shape} and type {tokens.dtype}"
        )
    return tokens
