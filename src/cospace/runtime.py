"""What the machine offers: the device, the number format that is fast on it, and what to call it in a report."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names for what ``mallopt`` sets: bytes at the end of the heap, or in one piece, that go back when freed."""

Precision = Literal["auto", "float32", "bfloat16"]


def device() -> torch.device:
    """The accelerator that torch finds (CUDA, ROCm, Apple's MPS, Intel's XPU), or the CPU where there is none.

    Each process that `torchrun` starts gets one of its own.
    """
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None:
        return torch.device("cpu")
    own = os.environ.get("LOCAL_RANK", "")
    return torch.device(found.type, int(own) % torch.accelerator.device_count()) if own.isdigit() else found


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
    AVX-512's dot products), where it is two to six times faster. Emulated elsewhere, it is up to ten times slower. A
    device that cannot compute in bfloat16 at all gets float32 (:func:`limits` says so).
    """
    import torch

    if precision == "bfloat16" and can_compute(where, torch.bfloat16):
        return torch.bfloat16
    if precision != "auto":
        return torch.float32
    return torch.bfloat16 if has_fast_bfloat16(where) else torch.float32


def can_compute(where: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device multiplies matrices of this number format, however slowly: found out by doing it."""
    import torch

    try:
        ones = torch.ones(2, 2, dtype=dtype, device=where)
        return (ones @ ones).dtype == dtype
    except (RuntimeError, TypeError, NotImplementedError):
        return False


def has_fast_bfloat16(where: torch.device) -> bool:
    """Whether matrix products in bfloat16 are native on this device; where nothing is known of that, they are not."""
    import torch

    if where.type == "cpu":
        probes = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
        return any(probe is not None and probe() for probe in probes)
    known = _module_of(where)
    if hasattr(known, "get_device_capability") and isinstance(known.get_device_capability(where), tuple):
        return int(known.get_device_capability(where)[0]) >= 8  # CUDA's compute capability, ROCm's gfx generation
    supports = getattr(known, "is_bf16_supported", None)
    return bool(supports is not None and supports())


def memory_of(where: torch.device) -> int:
    """Bytes of memory that there are: an accelerator's own, or what the machine or its container gives to a process.

    An accelerator that does not say counts as if it shared the machine's memory (:func:`limits` says so).
    """
    own = accelerator_memory(where)
    if own is not None:
        return own
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return installed
    return min(installed, int(limit)) if limit.isdigit() else installed


def accelerator_memory(where: torch.device) -> int | None:
    """Bytes of an accelerator's own memory; nothing for a CPU and where its library gives no figure."""
    if where.type == "cpu":
        return None
    known = _module_of(where)
    for name in ("get_device_properties", "recommended_max_memory"):
        if not hasattr(known, name):
            continue
        found = getattr(known, name)(*([where] if name == "get_device_properties" else []))
        size = getattr(found, "total_memory", found)
        if isinstance(size, int):
            return size
    return None


def limits(where: torch.device, precision: Precision = "auto") -> list[str]:
    """What a device cannot do of what training asks for, and what is done in its place: a sentence each."""
    import torch

    said = []
    if precision == "bfloat16" and not can_compute(where, torch.bfloat16):
        said.append(f"{where.type} does not compute in bfloat16: float32 is used (training.precision)")
    if where.type != "cpu" and accelerator_memory(where) is None:
        said.append(
            f"{where.type} does not say how much memory it has: activations may take a quarter of the machine's "
            "(training.activation_memory_gb sets it)"
        )
    return said


def random_state(where: torch.device) -> list[torch.Tensor]:
    """The state of the generators that computing on a device draws from: the CPU's and the device's own."""
    import torch

    if where.type in ("cpu", "meta"):
        return [torch.get_rng_state()]
    return [torch.get_rng_state(), _module_of(where).get_rng_state(*_numbered(where))]


def set_random_state(where: torch.device, states: list[torch.Tensor]) -> None:
    """Go back to what :func:`random_state` gave."""
    import torch

    torch.set_rng_state(states[0])
    for state in states[1:]:
        _module_of(where).set_rng_state(state, *_numbered(where))


def _numbered(where: torch.device) -> list[torch.device]:
    """The device as its library's generator functions take it; of Apple's GPU there is one alone."""
    return [] if where.type == "mps" else [where]


def _module_of(where: torch.device) -> Any:
    """The module of torch for a kind of device: ``torch.cuda``, ``torch.mps`` ...; nothing where it has none."""
    import torch

    return getattr(torch, where.type, None)


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

    name = f"{_processor()}, {cores()} cores"
    if where.type != "cpu":
        known = getattr(_module_of(where), "get_device_name", None)
        name = str(known(where)) if known is not None else f"{name}, {where.type}"
    return f"{name}, torch {torch.__version__}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
