"""Patches by row number, ready for the network: read from the disk as they are asked for, or held on the device."""

from __future__ import annotations

from dataclasses import dataclass
from io import FileIO
from mmap import mmap
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from porepatch_lib.errors import PorePatchError
from porepatch_lib.patches.sampler import PATCH_SIZE
from porepatch_lib.progress import progress

_BLOCK = 8192  # patches copied to the device at a time, 32 MB
_SHARE_OF_FREE_MEMORY = 0.5  # that "auto" lets the patches take on a device


class PatchSource(Protocol):
    """Patches of a store by row.

    device: where patches arrive. rows_device: where row numbers must live, so that no step waits for the other side.
    """

    device: torch.device
    rows_device: torch.device

    def take(self, rows: Tensor) -> Tensor:
        """Return the patches of `rows`, int64 (P,) on rows_device, as float32 (P,1,S,S) on device, grey values 0..255."""


def open_source(store: NDArray[np.uint8], patch_side: int, device: torch.device, resident: str) -> PatchSource:
    """Return the patches of a memory-mapped `store`, uint8 (N,64,64), at `patch_side` 32 (halved) or 64 (as stored).

    resident: "always" and "never" hold them on `device` or not; "auto" does on a GPU where they fit into half of its free
    memory.

    Raises:
        PorePatchError: if they must be held on a GPU whose free memory is too small.
    """
    if patch_side not in (PATCH_SIZE, PATCH_SIZE // 2):
        raise ValueError(f"patches are {PATCH_SIZE} or {PATCH_SIZE // 2} pixels wide, not {patch_side}")
    needed, free = len(store) * patch_side**2, _free_memory(device)
    if resident == "always" and free is not None and needed > free:
        raise PorePatchError(
            f"The {len(store)} training patches take {needed / 1e9:.1f} GB but the device {device} has {free / 1e9:.1f} GB free; "
            "set 'resident' to auto or never."
        )
    fits = free is not None and needed <= _SHARE_OF_FREE_MEMORY * free
    if resident == "always" or (resident == "auto" and fits):
        return ResidentPatches(store, patch_side, device)
    return MappedPatches(store, patch_side, device)


@dataclass(frozen=True)
class _PatchFile:
    """The file under a memory map.

    Reads through the map would leave every page in the process's memory, and giving pages back costs more than reading.
    """

    stream: FileIO
    offset: int

    @classmethod
    def of(cls, store: NDArray[np.uint8]) -> _PatchFile | None:
        """Open the file of a whole memory map, read-only and row after row; None for any other array."""
        if not (isinstance(store, np.memmap) and isinstance(store.base, mmap)):
            return None
        if store.mode != "r" or store.filename is None or not store.flags.c_contiguous:
            return None
        return cls(Path(store.filename).open("rb", buffering=0), store.offset)

    def read_into(self, patches: NDArray[np.uint8], rows: NDArray[np.int64], order: NDArray[np.int64]) -> None:
        """Fill patches[i] with patch rows[i] of the file, in the given order of i."""
        for place, row in zip(order.tolist(), rows[order].tolist(), strict=True):
            self.stream.seek(self.offset + row * PATCH_SIZE**2)
            if self.stream.readinto(patches[place]) != PATCH_SIZE**2:
                raise PorePatchError(f"The patches {self.stream.name} end before patch {row}; delete the file and run again.")


class MappedPatches:
    """Reads only the rows asked for. The memory of the process does not grow with the store."""

    def __init__(self, store: NDArray[np.uint8], patch_side: int, device: torch.device) -> None:
        self.device = device
        self.rows_device = torch.device("cpu")
        self._store = store
        self._file = _PatchFile.of(store)
        self._patch_side = patch_side

    def take(self, rows: Tensor) -> Tensor:
        return _as_input(self.read(rows.numpy()))

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the patches of `rows` (P,) as uint8 (P,S,S) on the device."""
        patches = torch.empty((len(rows), PATCH_SIZE, PATCH_SIZE), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        order = np.argsort(rows)  # the disk likes ascending rows
        if self._file is None:
            patches.numpy()[order] = self._store[rows[order]]
        else:
            self._file.read_into(patches.numpy(), rows, order)
        at_device = patches.to(self.device, non_blocking=True)
        return at_device if self._patch_side == PATCH_SIZE else halve(at_device)


class ResidentPatches:
    """Holds the whole store on the device as uint8, at the side the network takes."""

    def __init__(self, store: NDArray[np.uint8], patch_side: int, device: torch.device) -> None:
        self.device = self.rows_device = device
        self._patches = torch.empty((len(store), patch_side, patch_side), dtype=torch.uint8, device=device)
        mapped = MappedPatches(store, patch_side, device)
        for start in progress(range(0, len(store), _BLOCK), "load patches", " patches", units_per_item=_BLOCK):
            stop = min(start + _BLOCK, len(store))
            self._patches[start:stop] = mapped.read(np.arange(start, stop))

    def take(self, rows: Tensor) -> Tensor:
        return _as_input(self._patches.index_select(0, rows))


def halve(patches: Tensor) -> Tensor:
    """Reduce patches uint8 (N,2S,2S) to uint8 (N,S,S): (a + b + c + d + 2) >> 2 over 2x2 pixels, in integers."""
    columns = patches[:, 0::2].to(torch.int16) + patches[:, 1::2]
    return ((columns[:, :, 0::2] + columns[:, :, 1::2] + 2) >> 2).to(torch.uint8)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to `device` without waiting for the work under way there."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # a copy from pageable memory would wait
    return tensor.to(device, non_blocking=True)


def _as_input(patches: Tensor) -> Tensor:
    return patches[:, None].to(torch.float32)


def _free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a GPU, None for the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None
