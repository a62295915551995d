"""Every setting of an encoder, of the decoder and of generation says what it means, where --help-settings finds it."""

from __future__ import annotations

import pytest

from cospace.commands.recipes import meanings
from cospace.config import Config, lookup, names
from cospace.models.generation import decoder, decoding

KINDS: dict[str, type[Config]] = {name: lookup("models.encoders", name) for name in names("models.encoders")}
KINDS |= {"decoder": decoder.Config, "generation": decoding.Generation}


@pytest.mark.parametrize("name", KINDS)
def test_every_setting_has_a_meaning(name: str) -> None:
    found = meanings(KINDS[name])
    assert found.keys() >= KINDS[name].model_fields.keys()
    assert all(found[field].endswith((".", ")")) for field in KINDS[name].model_fields)
