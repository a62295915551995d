"""The processes that train together, as `torchrun` starts them, and what they exchange.

:data:`ALONE` is one process, for which everything is there already. :func:`joined` gives the ranks of a `torchrun`
launch: over gloo between CPUs, over the accelerator's own library (NCCL, RCCL, XCCL) between accelerators.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .types import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PATIENCE = timedelta(days=1)
"""How long ranks wait for what the first one does alone: an evaluation, the saving of a run."""

NOTICED = 2.0
"""Seconds within which all ranks notice that one of them is missing."""

ADDRESS = "cospace/store"
"""Under which name the first rank leaves the port of its store."""

LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` sets for each process that it starts."""


class Ranks:
    """One process alone: what several would exchange is there already."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that prints, evaluates and writes."""
        return self.rank == 0

    def gather(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks, one rank after the other; ``counts`` says how many each has."""
        return own

    def tree_sum(self, numbers: Tensor) -> Tensor:
        """The sum over all ranks of a vector, the same bits on each.

        Neighbours are added first, then pairs of neighbours, and so on, so that sums within ranks that follow the same
        pattern make one tree: the sum does not depend on how many ranks (a power of two) share its leaves.
        """
        return numbers

    def any(self, flag: bool) -> bool:
        """Whether it holds on some rank."""
        return flag

    def from_first(self, value: Any = None) -> Any:
        """What the first rank gives, plain data, however long it takes to get there."""
        return value

    def from_each(self, value: Any) -> list[Any]:
        """What every rank gives, plain data, in their order."""
        return [value]

    def tensors_from_first(self, tensors: Mapping[str, Tensor], where: torch.device) -> dict[str, Tensor]:
        """The first rank's tensors by name; what the others give does not matter."""
        return dict(tensors)

    def close(self) -> None:
        """Leave the others."""


ALONE = Ranks()
"""A process that nobody started together with others."""


def launched() -> int:
    """How many processes `torchrun` started together with this one; 0 where it did not."""
    there = all(os.environ.get(name) for name in LAUNCHED)
    return int(os.environ["WORLD_SIZE"]) if there and os.environ["WORLD_SIZE"].isdigit() else 0


def joined(where: torch.device, timeout_seconds: float) -> Ranks:
    """The ranks that `torchrun` started, this process among them; waits for the others to come.

    A rank that keeps the others waiting for longer than the timeout ends the launch.
    """
    import torch.distributed as dist

    if not dist.is_available():
        raise UserError("this torch was built without torch.distributed; install one with it, or train in one process")
    timeout = timedelta(seconds=timeout_seconds)
    if where.type != "cpu":
        import torch

        torch.accelerator.set_device_index(where.index or 0)
    backend = dist.get_default_backend_for_device(where.type)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        rank, size, lasting = int(os.environ["RANK"]), launched(), _lasting_store(timeout)
        store = _new_store(lasting, rank, timeout)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        ranks = Processes(where, timeout)
        if rank == 0:  # all are here, and a later start begins with none
            lasting.delete_key(ADDRESS)
        return ranks
    dist.init_process_group(backend, timeout=timeout)
    return Processes(where, timeout)


def _lasting_store(timeout: timedelta) -> Any:
    """The store that torchrun keeps."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(host, port, is_master=False, timeout=timeout)


def _new_store(lasting: Any, rank: int, timeout: timedelta) -> Any:
    """A store of this start of the ranks alone, which the first one keeps.

    The store of torchrun outlives the ranks: started anew after one of them has died, they would find the addresses of
    the dead in it, and wait for those. A store that the first rank opens is gone with it, so an old address is known by
    nobody answering there.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host = os.environ["MASTER_ADDR"]
    if rank == 0:
        own = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=timeout)
        lasting.set(ADDRESS, str(own.port))
        return own
    deadline = time.monotonic() + timeout.total_seconds()
    while time.monotonic() < deadline:
        found = int(lasting.get(ADDRESS))  # waits for the very first one
        with suppress(OSError):
            socket.create_connection((host, found), timeout=5).close()
            return TCPStore(host, found, is_master=False, timeout=timeout)
        time.sleep(0.1)
    raise UserError(f"rank {rank} cannot reach rank 0 on {host}; see that the machines reach each other on any port")


class Processes(Ranks):
    """The ranks of a process group that has been set up."""

    def __init__(self, where: torch.device, timeout: timedelta) -> None:
        import torch.distributed as dist

        self.where = where
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        # Plain numbers travel between CPUs, also where tensors do not.
        self._quick = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo", timeout=timeout)
        self._store = dist.distributed_c10d._get_default_store()

    def gather(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """See :meth:`Ranks.gather`; every rank sends as many rows as the one with most."""
        import torch
        import torch.distributed as dist

        filled = own.new_zeros(max(counts), *own.shape[1:])
        filled[: len(own)] = own.detach()
        everyone = [torch.empty_like(filled) for _ in counts]
        with self._together():
            dist.all_gather(everyone, filled)
        return torch.cat([rows[:count] for rows, count in zip(everyone, counts, strict=True)])

    def tree_sum(self, numbers: Tensor) -> Tensor:
        """See :meth:`Ranks.tree_sum`. Each rank adds up one part of the vector and hands it to the others.

        Ranks at distance 1 exchange halves, those at distance 2 halves of these, and so on; then the parts go the same
        way back (Rabenseifner 2004). What travels is twice the vector, however many ranks there are. Where their number
        is no power of two, the library's own sum is taken, whose order is its own affair.
        """
        import torch
        import torch.distributed as dist

        if self.size & (self.size - 1):
            with self._together():
                dist.all_reduce(numbers)
            return numbers
        part = torch.nn.functional.pad(numbers, (0, -len(numbers) % self.size))
        distances = [1 << place for place in range(self.size.bit_length() - 1)]
        with self._together():
            for distance in distances:
                lower, upper = part.chunk(2)
                keep, give = (upper, lower) if self.rank & distance else (lower, upper)
                part = keep + self._exchanged(give, self.rank ^ distance)
            for distance in reversed(distances):
                other = self._exchanged(part, self.rank ^ distance)
                part = torch.cat([other, part] if self.rank & distance else [part, other])
        return part[: len(numbers)]

    def any(self, flag: bool) -> bool:
        """See :meth:`Ranks.any`."""
        import torch
        import torch.distributed as dist

        flags = torch.tensor([int(flag)])
        with self._together():
            dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._quick)
        return bool(flags.item())

    def from_first(self, value: Any = None) -> Any:
        """See :meth:`Ranks.from_first`; it travels as JSON."""
        import torch
        import torch.distributed as dist

        content = json.dumps(value).encode() if self.first else b""
        size = torch.tensor([len(content)])
        with self._together():
            dist.broadcast(size, 0, group=self._patient)
            bytes_N = torch.empty(int(size.item()), dtype=torch.uint8)
            if self.first:
                bytes_N.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            dist.broadcast(bytes_N, 0, group=self._patient)
        return json.loads(bytes(bytes_N.tolist()))

    def from_each(self, value: Any) -> list[Any]:
        """See :meth:`Ranks.from_each`; it travels as JSON."""
        import torch
        import torch.distributed as dist

        own_N = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with self._together():
            dist.all_gather(sizes, torch.tensor([len(own_N)]), group=self._quick)
            longest = int(max(sizes))
            parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(parts, torch.nn.functional.pad(own_N, (0, longest - len(own_N))), group=self._quick)
        return [json.loads(bytes(part[: int(size)].tolist())) for part, size in zip(parts, sizes, strict=True)]

    def tensors_from_first(self, tensors: Mapping[str, Tensor], where: torch.device) -> dict[str, Tensor]:
        """See :meth:`Ranks.tensors_from_first`."""
        import torch
        import torch.distributed as dist

        shapes = {name: [list(value.shape), str(value.dtype).removeprefix("torch.")] for name, value in tensors.items()}
        received: dict[str, Tensor] = {}
        for name, (shape, dtype) in self.from_first(shapes).items():
            value = torch.empty(shape, dtype=getattr(torch, dtype), device=where)
            if self.first:
                value.copy_(tensors[name])
            with self._together():
                dist.broadcast(value.view(torch.uint8) if value.dim() and value.dtype == torch.bool else value, 0)
            received[name] = value
        return received

    def close(self) -> None:
        """See :meth:`Ranks.close`."""
        import torch.distributed as dist

        with suppress(RuntimeError):
            dist.destroy_process_group()

    def _exchanged(self, give: Tensor, partner: int) -> Tensor:
        """What a partner gives for what it is given."""
        import torch
        import torch.distributed as dist

        got, give = torch.empty_like(give), give.contiguous()
        sending, receiving = dist.P2POp(dist.isend, give, partner), dist.P2POp(dist.irecv, got, partner)
        for work in dist.batch_isend_irecv([sending, receiving]):
            work.wait()
        return got

    @contextmanager
    def _together(self) -> Iterator[None]:
        """A block in which all ranks take part; where one does not, the others end with its name."""
        try:
            yield
        except RuntimeError as error:
            raise UserError(
                f"rank {self.rank} of {self.size} waits in vain for {self._missing()}: it has ended or hangs (its own "
                "last words say why). Start the same command again, or let torchrun do so by --max-restarts"
            ) from error

    def _missing(self) -> str:
        """The ranks that do not notice either that one is missing; the first, where its store is gone."""
        try:
            self._store.set(f"cospace/waits/{self.rank}", "")
            time.sleep(NOTICED)
            gone = [rank for rank in range(self.size) if not self._store.check([f"cospace/waits/{rank}"])]
        except RuntimeError:
            gone = [0]
        return f"rank {' and '.join(map(str, gone))}" if gone else "another rank"
