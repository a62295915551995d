"""One modality of a space, so that the image side of one publisher can meet the text side of another."""

from __future__ import annotations

from ..config import unknown
from ..models.space import Space
from ..types import UserError
from .published import Published, fingerprint


def one_side(source: Published | Space, modality: str) -> Space:
    """The space of one modality: its encoder, its processor and its projection, which are shared and not copied.

    A space that has no other modality is returned itself. Raises :class:`UserError` where it lacks this one.
    """
    space = source.space if isinstance(source, Published) else source
    if modality not in space.modalities:
        raise UserError(unknown(modality, space.modalities, "this model has no modality"))
    if space.modalities == [modality]:
        return space
    side = Space(
        {modality: space.encoders[modality]},
        {modality: space.configs[modality]},
        {modality: space.processors[modality]},
        space.width,
    )
    side.projections[modality] = space.projections[modality]
    side.fingerprint = fingerprint(side)
    return side.eval()
