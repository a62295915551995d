"""What a modality finds of single items, with what holds of every finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cospace.data.examining import _Table
from cospace.modalities import modality
from cospace.types import attempted


def found_by(name: str, raws: Sequence[Any], kinds: Sequence[str], left_out: Sequence[str]) -> dict[str, list[int]]:
    """By kind the numbers of the items that have it, without kinds that none has."""
    one, table = modality(name), _Table(len(raws))
    for number, raw in enumerate(raws):
        table.add(number, attempted(one.examine, raw))
    findings = one.find(raws, table.measures)
    assert [finding.kind for finding in findings] == list(kinds), "empty ones too"
    for finding in findings:
        assert len(finding.items_F) == len(finding.certainty_F) == len(finding.notes_F)
        assert all(0.5 <= certainty <= 1 for certainty in finding.certainty_F)
        assert list(finding.certainty_F) == sorted(finding.certainty_F, reverse=True), "the surest first"
        assert finding.leave_out == (finding.kind in left_out)
    return {finding.kind: sorted(finding.items_F) for finding in findings if finding.items_F}
