"""What the machine offers: the device, the number format that is fast on it, and what to call it in a report."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names for what ``mallopt`` sets: bytes at the end of the heap, or in one piece, that go back when freed."""

Precision = Literal["auto", "float32", "bfloat16"]


def device() -> torch.device:
    """The first GPU if there is one, otherwise the CPU; for each process that `torchrun` starts, a GPU of its own."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    own = os.environ.get("LOCAL_RANK", "")
    return torch.device("cuda", int(own) % torch.cuda.device_count()) if own.isdigit() else torch.device("cuda")


def rank() -> int:
    """Which of the processes that `torchrun` started this one is; 0 where there is one alone."""
    given = os.environ.get("RANK", "")
    return int(given) if given.isdigit() else 0


def precision(name: str) -> Precision:
    """A number format by its name. Raises :class:`ValueError` for another name."""
    if name not in get_args(Precision):
        raise ValueError(f"{name!r} is not a number format; these are: {', '.join(get_args(Precision))}")
    return cast(Precision, name)


def compute_dtype(precision: Precision, where: torch.device) -> torch.dtype:
    """The number format of the towers' compute copy.

    ``auto`` takes bfloat16 where the hardware multiplies it natively (GPUs since Ampere, CPUs with AMX tiles or
    AVX-512's dot products), where it is two to six times faster. Emulated elsewhere, it is up to ten times slower.
    """
    import torch

    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    return torch.bfloat16 if has_fast_bfloat16(where) else torch.float32


def has_fast_bfloat16(where: torch.device) -> bool:
    """Whether matrix products in bfloat16 are native on this device."""
    import torch

    if where.type == "cuda":
        return torch.cuda.get_device_capability(where)[0] >= 8
    probes = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    return any(probe is not None and probe() for probe in probes)


def memory_of(where: torch.device) -> int:
    """Bytes of memory that there are: a GPU's own, or what the machine or its container gives to a process."""
    if where.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(where).total_memory)
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return installed
    return min(installed, int(limit)) if limit.isdigit() else installed


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allow_open_files() -> None:
    """Let this process open as many files as the system allows: tensors from worker processes are one file each."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS calls it unlimited and refuses to set that
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for the next tensor of that size.

    Every large tensor of a training step is otherwise given back to the system and asked for again, page by page: a
    tenth of the step. glibc alone has the switch.
    """
    with suppress(OSError, AttributeError):
        import ctypes

        libc = ctypes.CDLL("libc.so.6")
        for setting in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(setting, 2**30)


def return_freed_memory() -> None:
    """Free memory goes back to the system: the C library would keep it, and the process stay as large as its peak."""
    release = _release()
    if release is not None:
        release(0)


@functools.cache
def _release() -> Callable[[int], int] | None:
    """The GNU C library's ``malloc_trim``; others have none."""
    import ctypes

    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found


def describe(where: torch.device) -> str:
    """One line for reports and recipes: processor, cores, torch version."""
    import torch

    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"{_processor()}, {cores()} cores"
    return f"{name}, torch {torch.__version__}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
