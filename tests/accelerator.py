"""A pretended accelerator: tensors that are somewhere else than the CPU, and compute with real numbers.

The ``meta`` device of torch knows shapes only, so whatever asks a tensor for its numbers ends there. Tensors that are
sent to ``meta`` inside :class:`Accelerator` keep their numbers, and what is computed from them keeps them too. An
operation that mixes them with a tensor of the CPU raises :class:`MixedDevices`, as a GPU would; so a tensor that is
created on the CPU by mistake is found on a machine without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

WHERE = torch.device("meta")

PACK = "aten::_pack_padded_sequence"
CROSSING = {"aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put", "aten::index_put_", "aten::set_", PACK}
"""Operations that an accelerator lets both devices take part in: copies, reading by places that the CPU holds, and
packing by lengths that are always on the CPU."""


class MixedDevices(AssertionError):
    """One operation was given tensors of both devices."""


class Elsewhere(Tensor):
    """A tensor of the accelerator; ``held`` are its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=WHERE
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.held!r})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})


class Accelerator(TorchDispatchMode):
    """A block with an accelerator, which is called ``meta``."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return computed(func, args, kwargs or {})

    def __enter__(self) -> Self:
        super().__enter__()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # .data would change the wrapper alone
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        super().__exit__(kind, error, at)


def computed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What an operation gives, on the device that it was asked for on."""
    flat, form = tree_flatten((args, dict(kwargs)))
    wrappers = {id(one.held): one for one in flat if isinstance(one, Elsewhere)}
    there = bool(wrappers)
    if there and func._schema.name not in CROSSING:
        strangers = [one.shape for one in flat if isinstance(one, Tensor) and _of_cpu(one)]
        if strangers:
            raise MixedDevices(f"{func} was given tensors of both devices; of the CPU {strangers}")
    inner_args, inner_kwargs = tree_unflatten([_held(one) for one in flat], form)
    asked = inner_kwargs.get("device")
    if asked is not None:
        there = torch.device(asked).type == WHERE.type
        inner_kwargs["device"] = torch.device("cpu")
    made = func(*inner_args, **inner_kwargs)
    if func._schema.name == "aten::copy_":  # it is where its target is
        return args[0]
    if func._schema.name == PACK:
        return Elsewhere(made[0]), made[1]
    return tree_map(_wrapped(wrappers, there), made)


def _of_cpu(tensor: Tensor) -> bool:
    """A tensor of the CPU that is no bare number; those go along with any device."""
    return not isinstance(tensor, Elsewhere) and tensor.dim() > 0 and tensor.device.type == "cpu"


def _held(one: Any) -> Any:
    return one.held if isinstance(one, Elsewhere) else one


def _wrapped(wrappers: Mapping[int, Elsewhere], there: bool) -> Callable[[Any], Any]:
    """What was changed in place stays the tensor that it was."""

    def wrap(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        known = wrappers.get(id(one))
        return known if known is not None else Elsewhere(one) if there else one

    return wrap
