"""The built-in glyphs: names belong to their drawings, and what is unseen stays unseen."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
import unicodedata
from collections import Counter

import numpy as np
import pytest

from cospace.data.sources import ReadOptions, Rows, glyphs
from cospace.data.sources.glyphs import FACES, HELD_OUT_FACES, Config, GlyphImage, unseen_characters
from cospace.types import Lazy, UserError


@pytest.fixture(scope="module")
def splits() -> dict[str, Rows]:
    return {
        "train": Config(split="train").read(),
        "characters": Config(split="characters").read(),
        "faces": Config(split="faces").read(),
    }


def ink(character: str, face: str = "DejaVuSans", size: int = 32) -> np.ndarray:
    return GlyphImage(face, ord(character), size).load()[..., 0] < 128


def rows_of(mask: np.ndarray) -> tuple[int, int]:
    found = np.flatnonzero(mask.any(axis=1))
    return int(found[0]), int(found[-1])


# --- the splits


def test_sizes_are_what_the_fonts_of_matplotlib_give(splits: dict[str, Rows]) -> None:
    assert len(splits["train"].ids) > 40_000
    assert len(set(splits["train"].items["text"])) > 6_000
    assert len(set(splits["characters"].items["text"])) == 500
    assert len(splits["characters"].ids) > 3_000
    assert len(splits["faces"].ids) > 3_500


def test_rows_say_which_drawing_they_are(splits: dict[str, Rows]) -> None:
    for name, rows in splits.items():
        assert len(rows.ids) == len(set(rows.ids)) == len(rows.items["image"]) == len(rows.items["text"])
        for identity, picture, text in zip(rows.ids, rows.items["image"], rows.items["text"], strict=True):
            assert identity == f"glyphs/{picture.face}/U+{picture.code:04X}"
            assert text == unicodedata.name(chr(picture.code)).lower()
            assert picture.face in (HELD_OUT_FACES if name == "faces" else FACES)
    captions = dict(zip(splits["train"].ids, splits["train"].items["text"], strict=True))
    assert captions["glyphs/DejaVuSans/U+0041"] == "latin capital letter a"
    assert captions["glyphs/STIXGeneral/U+03AC"] == "greek small letter alpha with tonos"


def test_digits_are_ten_classes_in_every_face() -> None:
    seen, unseen = Config(split="digits").read(), Config(split="digits/faces").read()
    numbers = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert seen.items["text"] == numbers * len(FACES)
    assert unseen.items["text"] == numbers * len(HELD_OUT_FACES)
    assert seen.ids[7] == "glyphs/DejaVuSans/U+0037"
    assert {image.face for image in unseen.items["image"]} == set(HELD_OUT_FACES)
    assert not {image.key() for image in seen.items["image"]} & {image.key() for image in unseen.items["image"]}


def test_unseen_characters_are_never_trained_on(splits: dict[str, Rows]) -> None:
    trained = set(splits["train"].items["text"])
    assert trained.isdisjoint(splits["characters"].items["text"])
    assert trained.issuperset(splits["faces"].items["text"])
    assert not set(FACES) & set(HELD_OUT_FACES)


def test_unseen_names_are_made_of_words_that_training_uses(splits: dict[str, Rows]) -> None:
    uses = Counter(word for name in set(splits["train"].items["text"]) for word in set(name.split()))
    unseen = [name.split() for name in set(splits["characters"].items["text"])]
    assert min(uses[word] for name in unseen for word in name) >= 3
    assert min(map(len, unseen)) >= 2
    assert sum(len(name) >= 3 for name in unseen) / len(unseen) > 0.9


def test_no_unseen_character_is_drawn_like_a_trained_one(splits: dict[str, Rows]) -> None:
    pictures = {name: [p for p in splits[name].items["image"] if p.face == "DejaVuSans"] for name in splits}
    trained = {picture.load().tobytes() for picture in pictures["train"]}
    assert pictures["characters"]
    assert trained.isdisjoint(picture.load().tobytes() for picture in pictures["characters"])


def test_the_choice_of_unseen_characters_never_changes() -> None:
    assert {ord("\N{CIRCLED LATIN SMALL LETTER C}"), ord("\N{REVERSED SEMICOLON}")} <= unseen_characters()


# --- the drawings


def test_every_drawing_has_ink_and_a_white_border(splits: dict[str, Rows]) -> None:
    for picture in [p for rows in splits.values() for p in rows.items["image"][::29]]:
        pixels = picture.load()
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8
        assert pixels.min() < 200, picture
        assert min(pixels[0].min(), pixels[-1].min(), pixels[:, 0].min(), pixels[:, -1].min()) == 255, picture


@pytest.mark.parametrize("face", FACES + HELD_OUT_FACES)
def test_letters_keep_a_common_scale_and_baseline(face: str) -> None:
    (top_small, foot_small), (top, foot) = rows_of(ink("o", face, 96)), rows_of(ink("O", face, 96))
    assert top < top_small - 10
    assert abs(foot - foot_small) <= 2
    accented, bare = ink("á", face, 96), ink("a", face, 96)
    assert rows_of(accented)[0] < rows_of(bare)[0] - 10
    assert rows_of(ink("g", face, 96))[1] > foot + 10


def test_what_only_its_place_tells_apart_differs() -> None:
    left, right = ink("\N{LEFT HALF BLOCK}"), ink("\N{RIGHT HALF BLOCK}")
    assert left[:, :16].sum() > 100 > left[:, 16:].sum()
    assert right[:, 16:].sum() > 100 > right[:, :16].sum()
    assert rows_of(ink("\N{MACRON}"))[1] < rows_of(ink("\N{HYPHEN}"))[0] < rows_of(ink("_"))[0]


@pytest.mark.parametrize("size", [16, 48])
def test_drawings_come_in_any_size(size: int) -> None:
    assert ink("Ǆ", size=size).shape == (size, size)
    assert ink("Ǆ", size=size).any()


def test_no_face_with_borrowed_or_private_code_points_is_used(splits: dict[str, Rows]) -> None:
    assert not [face for face in FACES + HELD_OUT_FACES if face.startswith(("cm", "STIXNonUni", "STIXSiz", "Last"))]
    codes = {picture.code for rows in splits.values() for picture in rows.items["image"]}
    assert not [code for code in codes if unicodedata.category(chr(code)) in ("Co", "Cn", "Cs", "Cc")]
    assert not codes & {0x20, 0xA0, 0x200B}


# --- the pictures as objects


def test_a_picture_travels_by_name() -> None:
    picture = GlyphImage("DejaVuSerif", 0x3AC, 32)
    copy = pickle.loads(pickle.dumps(picture))
    assert isinstance(picture, Lazy)
    assert copy == picture
    assert len(pickle.dumps(picture)) < 200
    assert np.array_equal(copy.load(), picture.load())
    assert copy.key() == picture.key()


def test_keys_are_equal_where_drawings_are() -> None:
    def key(character: str, face: str = "DejaVuSans", size: int = 32) -> str:
        return GlyphImage(face, ord(character), size).key()

    assert key("A") == key("\N{GREEK CAPITAL LETTER ALPHA}") == key("\N{CYRILLIC CAPITAL LETTER A}")
    assert key("ä") == key("\N{CYRILLIC SMALL LETTER A WITH DIAERESIS}")
    different = [key("A"), key("a"), key("Ä"), key("ä"), key("A", "DejaVuSerif"), key("A", size=48)]
    assert len(set(different)) == len(different)


def test_equal_keys_mean_equal_pixels_and_the_other_way_round() -> None:
    pictures = [p for p in Config().read().items["image"] if p.face == "DejaVuSerif"]
    keys, pixels = [p.key() for p in pictures], [p.load().tobytes() for p in pictures]
    both = len(set(zip(keys, pixels, strict=True)))
    assert len(set(keys)) == both
    assert both - len(set(pixels)) <= 0.005 * len(pictures)


# --- the source


@pytest.mark.parametrize(
    ("spec", "split"),
    [
        ("glyphs", "train"),
        ("glyphs/train", "train"),
        ("glyphs/characters", "characters"),
        ("glyphs/faces", "faces"),
        ("glyphs/digits", "digits"),
        ("glyphs/digits/faces", "digits/faces"),
    ],
)
def test_specs_name_splits(spec: str, split: glyphs.Split) -> None:
    assert Config.accepts(spec)
    assert Config.from_spec(spec) == Config(split=split)


def test_what_is_not_a_spec() -> None:
    assert not any(map(Config.accepts, ["", "glyph", "glyphs/", "glyphs/val", "glyphs.csv", "data/glyphs"]))
    with pytest.raises(UserError, match="--separator means nothing for glyphs; leave it out"):
        Config.from_spec("glyphs", ReadOptions(separator=";"))


def test_missing_fonts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the font NoSuchFace\.ttf, which comes with matplotlib; run: pip"):
        GlyphImage("NoSuchFace", 65, 32).load()


def test_reading_does_not_import_matplotlib() -> None:
    program = (
        "import sys; from cospace.data.sources.glyphs import Config\n"
        "assert 'fontTools' not in sys.modules\n"
        "Config(split='faces').read()\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
