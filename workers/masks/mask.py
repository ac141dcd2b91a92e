"""Masks: which weights of a network are kept."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from search_spaces.base.canonical import canonical_json

_ZSTD = pa.Codec("zstd", compression_level=1)
_LENGTHS = struct.Struct("<3I")
_Bools = npt.NDArray[np.bool_]
_Bytes = npt.NDArray[np.uint8]


class Mask(Mapping[str, Tensor]):
    """An immutable mapping from parameter names to bool tensors on the CPU, True where a weight is kept."""

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        assert all(tensor.dtype == torch.bool for tensor in kept.values()), "a mask holds bool tensors"
        self._kept = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in kept.items()}

    @classmethod
    def dense(cls, parameters: Mapping[str, Tensor]) -> Mask:
        """The mask that keeps every weight of `parameters`."""
        return cls({name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._kept[name].clone()  # a caller must not change the mask through what it gets

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return list(self) == list(other) and all(torch.equal(self[name], other[name]) for name in self)

    def __hash__(self) -> int:
        return hash(self.pack())

    def __and__(self, other: Mask) -> Mask:
        """The weights that both masks keep."""
        return Mask({name: mine & theirs for name, mine, theirs in self._pairs(other)})

    def __or__(self, other: Mask) -> Mask:
        """The weights that either mask keeps."""
        return Mask({name: mine | theirs for name, mine, theirs in self._pairs(other)})

    def __repr__(self) -> str:
        return f"Mask({len(self)} tensors, {self.kept:,} of {self.size:,} weights kept)"

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return sum(tensor.numel() for tensor in self.values())

    @property
    def kept(self) -> int:
        """Number of weights kept."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Number of weights kept in each tensor."""
        return {name: int(tensor.sum()) for name, tensor in self.items()}

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights removed."""
        return 1 - self.kept / self.size if self.size else 0.0

    def jaccard(self, other: Mask) -> float:
        """The number of weights that both masks keep, divided by the number that either keeps; 1 for empty masks."""
        both = sum(int((mine & theirs).sum()) for _, mine, theirs in self._pairs(other))
        either = self.kept + other.kept - both
        return both / either if either else 1.0

    def hamming(self, other: Mask) -> float:
        """Fraction of weights on which the masks differ."""
        return sum(int((mine ^ theirs).sum()) for _, mine, theirs in self._pairs(other)) / self.size

    def pack(self) -> bytes:
        """Compress the mask to bytes, which are equal for equal masks. `unpack` restores the mask.

        Each tensor uses the encoding that makes it smaller. All tensors with the same encoding form one block, so that
        small networks compress well too.
        """
        flat = {name: tensor.flatten().numpy() for name, tensor in self.items()}
        chosen = {name: min(_ENCODERS, key=lambda e: len(_compress(_ENCODERS[e](bits)))) for name, bits in flat.items()}
        header = [[name, chosen[name], *tensor.shape] for name, tensor in self.items()]
        blocks = [_ZSTD.compress(canonical_json(header).encode(), asbytes=True)]
        for encoding, encode in _ENCODERS.items():
            parts = [bits for name, bits in flat.items() if chosen[name] == encoding]
            blocks.append(_compress(encode(np.concatenate(parts))) if parts else b"")
        return _LENGTHS.pack(*map(len, blocks)) + b"".join(blocks)

    @classmethod
    def unpack(cls, packed: bytes) -> Mask:
        """Restore a mask from the result of `pack`."""
        blocks, position = [], _LENGTHS.size
        for length in _LENGTHS.unpack_from(packed):
            blocks.append(_decompress(packed[position : position + length]))
            position += length
        header = [(name, encoding, tuple(shape)) for name, encoding, *shape in json.loads(blocks[0].tobytes())]
        kept: dict[str, Tensor] = {}
        for encoding, data in zip(_ENCODERS, blocks[1:], strict=True):
            members = {name: shape for name, chosen, shape in header if chosen == encoding}
            sizes = [math.prod(shape) for shape in members.values()]
            bits = torch.from_numpy(_DECODERS[encoding](data, sum(sizes)))
            kept |= {n: part.reshape(members[n]) for n, part in zip(members, bits.split(sizes), strict=True)}
        return cls({name: kept[name] for name, _, _ in header})

    def _pairs(self, other: Mask) -> Iterator[tuple[str, Tensor, Tensor]]:
        shapes = [{name: tensor.shape for name, tensor in mask.items()} for mask in (self, other)]
        if shapes[0] != shapes[1]:
            raise ValueError("the masks are of different networks: their tensors differ in name or shape")
        return ((name, self[name], other[name]) for name in self)


def _compress(data: _Bytes) -> bytes:
    packed: bytes = _ZSTD.compress(data.tobytes(), asbytes=True)
    return packed


def _decompress(block: bytes) -> _Bytes:
    raw = pa.CompressedInputStream(pa.BufferReader(block), "zstd").read() if block else b""
    return np.frombuffer(raw, dtype=np.uint8)


def _to_bits(kept: _Bools) -> _Bytes:
    """Encode eight weights in each byte."""
    return np.packbits(kept)


def _from_bits(data: _Bytes, size: int) -> _Bools:
    return np.unpackbits(data, count=size).astype(np.bool_)


def _to_gaps(kept: _Bools) -> _Bytes:
    """Encode the number of removed weights before each kept one, as a byte.

    The byte 255 means 255 removed weights without a kept one after them. If few weights are kept, an entropy coder for
    bytes compresses this encoding better than bits.
    """
    gaps = np.diff(np.flatnonzero(kept), prepend=-1) - 1
    escapes, rests = np.divmod(gaps, 255)
    data = np.full(int(escapes.sum()) + len(gaps), 255, dtype=np.uint8)
    data[np.cumsum(escapes + 1) - 1] = rests
    return data


def _from_gaps(data: _Bytes, size: int) -> _Bools:
    ends = data != 255
    kept = np.zeros(size, dtype=np.bool_)
    kept[np.cumsum(data + ends.astype(np.int64))[ends] - 1] = True
    return kept


_ENCODERS: dict[str, Callable[[_Bools], _Bytes]] = {"bits": _to_bits, "gaps": _to_gaps}
_DECODERS: dict[str, Callable[[_Bytes, int], _Bools]] = {"bits": _from_bits, "gaps": _from_gaps}
