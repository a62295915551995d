"""Captions that teach nothing or harm: planted ones are found, near misses and clean sets are left in peace."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cospace.modalities import ItemFinding, modality
from cospace.modalities.text import encodings, languages
from cospace.modalities.text.boilerplate import CAMERA
from cospace.modalities.text.encodings import mend
from cospace.modalities.text.faults import find, least_tokens, over_long
from cospace.modalities.text.languages import NAMES, script_of

KINDS = ["wrong_encoding", "markup", "markup", "wrong_language", "over_long", "boilerplate", "boilerplate"]

WHO = [
    "A man",
    "A young woman",
    "Two dogs",
    "A little girl in a red dress",
    "Several children",
    "A brown dog",
    "A horse",
]
DO = ["runs", "is sitting", "play with a ball", "jumps", "stands", "is walking", "sleeps"]
WHERE = [
    "on the beach",
    "in the grass",
    "in front of an old house",
    "in the snow",
    "on the street",
    "next to the fence",
]
CLEAN = [" ".join(words) for words in itertools.product(WHO, DO, WHERE)]
"""294 sentences, which share their beginnings and ends as captions do."""

EMOJI = [
    "person with crown: medium-dark skin tone", "middle finger: light skin tone", "envelope", "flag: Côte d’Ivoire",
    "flag: São Tomé & Príncipe", "keycap: *", "keycap: #", "piñata", "Japanese “here” button", "1st place medal",
    "input numbers", "person: blond hair", "fleur-de-lis", "ON! arrow", "A button (blood type)", "Mrs. Claus", "atom",
    "kiss: man, man, medium skin tone, dark skin tone", "diya lamp", "kaaba", "e-mail", "DVD", "name badge",
]  # fmt: skip
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SPECIES = [f"{genus} {kind}" for genus in ("Canis", "Turdus", "Quercus", "Rosa") for kind in ("lupus", "alba", "minor")]
TEMPLATES = [f"a photo of a {name}, a type of animal." for name in [*CLASSES, *(one.lower() for one in SPECIES)]]
TONES = [
    f"{person}: {tone} skin tone, facing right"
    for person in ("man farmer", "woman farmer", "man cook", "woman pilot", "person rowing a boat", "man judge")
    for tone in ("light", "medium-light", "medium", "medium-dark", "dark")
]


def named(texts: Sequence[str | None]) -> dict[str, dict[str, str]]:
    """By kind, the captions that are found and what is said of each."""
    found: dict[str, dict[str, str]] = {}
    for one in find(texts):
        for item, note in zip(one.items_F, one.notes_F, strict=True):
            text = texts[item]
            assert text is not None
            found.setdefault(one.kind, {})[text] = note
    return found


def left_out(texts: Sequence[str]) -> set[str]:
    return {texts[item] for one in find(texts) if one.leave_out for item in one.items_F}


def well_formed(found: Sequence[ItemFinding], count: int) -> None:
    assert [one.kind for one in found] == KINDS
    for one in found:
        assert len(one.items_F) == len(one.certainty_F) == len(one.notes_F) == len(set(one.items_F))
        assert all(0 <= item < count for item in one.items_F)
        assert all(0 <= certainty <= 1 for certainty in one.certainty_F)
        assert list(one.certainty_F) == sorted(one.certainty_F, reverse=True)


@pytest.fixture(params=["with ftfy", "without"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the library that mends texts and without."""
    if request.param == "without":
        monkeypatch.setattr(encodings, "_ftfy", lambda: None)
    else:
        pytest.importorskip("ftfy")


SETS = {
    "sentences": CLEAN, "emoji": EMOJI, "classes": CLASSES, "species": SPECIES, "templates": TEMPLATES, "tones": TONES,
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_clean_sets_are_left_in_peace(name: str, either_way: None) -> None:
    assert named(SETS[name]) == {}


def test_nothing_is_found_of_nothing() -> None:
    for texts in ([], [None], ["", " "], [None] * 40):
        well_formed(find(texts), len(texts))
        assert not any(one.items_F for one in find(texts))


def test_captions_that_no_row_has_are_passed_over() -> None:
    texts = [*CLEAN, None, "cafÃ© in the rain", None]
    assert [one.items_F for one in modality("text").find(texts, {}) if one.items_F] == [[len(CLEAN) + 1]]


# --- encodings


@pytest.mark.parametrize(
    ("broken", "meant"),
    [
        ("a cafÃ© in the rain", "a café in the rain"),
        ("the dogâ€™s bowl", "the dog’s bowl"),
        ("ZÃ¼rich in winter", "Zürich in winter"),
        ("price: 5 Â£", "price: 5 £"),
        ("Ð¿ÑÐ¸Ð²ÐµÑ Ð¼Ð¸Ñ".replace("Ñ", "Ñ\x80"), None),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("&amp;quot;hello&amp;quot;", '"hello"'),
        ("caf&eacute; &#39;s", "café 's"),
        ("a \x07dog", "a dog"),
        ("\ufeffa dog", "a dog"),
        ("the caf\ufffd at night", "letters are lost: the caf\ufffd at night"),
        ("two caf?s", "letters are lost: caf?s"),
        ("a na?ve fa?ade", "letters are lost: na?ve, fa?ade"),
        ("the dog?s bowl", "letters are lost: dog?s"),
    ],
)
def test_a_broken_encoding_is_found_and_mended(broken: str, meant: str | None, either_way: None) -> None:
    found = named([*CLEAN, broken])
    assert list(found) == ["wrong_encoding"]
    assert meant is None or found["wrong_encoding"] == {broken: meant}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize(
    "word", ["café", "Zürich", "crème brûlée", "São", "Łódź", "don’t", "“hello”", "–", "привет", "🐶"]
)
def test_utf_8_that_was_read_as_another_encoding_is_mended(word: str, encoding: str, either_way: None) -> None:
    data = f"the {word} here".encode()
    undefined = {0x81, 0x8D, 0x8F, 0x90, 0x9D}  # in Windows-1252, where programs keep them as they are
    broken = "".join(
        chr(byte) if byte in undefined or encoding == "latin-1" else bytes([byte]).decode("cp1252") for byte in data
    )
    assert mend(broken)[0] == f"the {word} here"
    assert mend(broken)[1] > 0.9
    assert mend(f"the {word} here") == (f"the {word} here", 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "SÃO PAULO", "IRMÃ", "« CAFÉ »", "«CAFÉ»", "“À la carte”", "L’Été", "CAFÉ™", "5 € – 10 €", "AT&T store",
        "R&D lab", "a&b; c", "what is it?a dog", "is it red?yes", "who?me", "what is this?", "cat?dog", "see page?id=3",
        "http://example.com/c?d", "naïve café façade", "Hà Nội", "👩🏽‍🚀 astronaut", "line one\nline two", "a\tb",
    ],
)  # fmt: skip
def test_unusual_letters_are_no_broken_encoding(text: str, either_way: None) -> None:
    known = ["is that red", "a red cat", "cat and dog", "a dog", "what is here"]
    assert "wrong_encoding" not in named([*CLEAN, *known, text])


# --- markup


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<b>A dog</b> runs<br/>", "A dog runs"),
        ('<a href="http://example.com/c">A dog</a>', "A dog"),
        ("<!-- hidden -->A dog", "A dog"),
        ("[A dog](http://example.com/c) runs", "A dog runs"),
        ("**A dog** runs", "A dog runs"),
        ("# A dog", "A dog"),
        ("see https://example.org/photos/1234", "see"),
    ],
)
def test_markup_is_found_and_its_words_are_shown(text: str, words: str) -> None:
    assert named([*CLEAN, text]) == {"markup": {text: f"words: {words}"}}
    assert left_out([*CLEAN, text]) == set()


@pytest.mark.parametrize(
    "text",
    ["https://example.com/1.jpg?x=1", "www.example.com/p/1", "jane@example.com", "example.com", "<br/>", "![](a.png)"],
)
def test_markup_and_nothing_else_is_left_out(text: str) -> None:
    assert left_out([*CLEAN, text]) == {text}
    assert named([*CLEAN, text]) == {"markup": {text: "no words"}}


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d", "I <3 dogs", "<person> holds a <unk>", "# of dogs", "2 ** 3 is eight", "*not* sure",
        "a sign with http://example.com above a door in the street", "a [dog] (brown)", "#1 dad mug", "#sunset #beach",
        "jane@x.com is painted on the hill behind the house", "and/or", "a.m. and p.m.",
        "the web site amazon.com on a screen",
    ],
)  # fmt: skip
def test_signs_in_a_sentence_are_no_markup(text: str) -> None:
    assert "markup" not in named([*CLEAN, text])


# --- languages


FOREIGN = {
    "de": ["Ein Mann läuft am Strand", "Zwei Hunde spielen mit einem Ball im Schnee"],
    "fr": ["Un homme court sur la plage", "Deux chiens jouent avec un ballon dans la neige"],
    "es": ["Un hombre corre en la playa", "Dos perros juegan con una pelota en la nieve"],
    "it": ["Un uomo corre sulla spiaggia", "Due cani giocano con una palla nella neve"],
    "nl": ["Een man loopt op het strand", "Twee honden spelen met een bal in de sneeuw"],
    "pl": ["Mężczyzna biegnie po plaży w śniegu", "Dwa psy bawią się piłką w śniegu"],
}


@pytest.mark.parametrize("language", FOREIGN)
def test_another_language_than_most_is_found(language: str) -> None:
    pytest.importorskip("py3langid")
    found = named([*CLEAN, *FOREIGN[language]])
    assert found == {"wrong_language": {text: f"{NAMES[language]}: {text}" for text in FOREIGN[language]}}


def test_the_language_of_most_need_not_be_english() -> None:
    pytest.importorskip("py3langid")
    verbs, places = ["läuft", "sitzt", "springt", "steht", "schläft"], ["am Strand", "im Schnee", "auf der Straße"]
    german = [f"{who} {do} {place}" for who in ("Ein Mann", "Ein Hund") for do in verbs for place in places]
    assert named(german) == {}
    assert named([*german, "Two dogs play with a ball in the snow"]).keys() == {"wrong_language"}


def test_a_set_of_two_languages_has_no_wrong_one() -> None:
    pytest.importorskip("py3langid")
    several = [f"{one} {number}" for one in itertools.chain(*FOREIGN.values()) for number in range(20)]
    assert named([*CLEAN[: len(several)], *several]) == {}
    assert named([*CLEAN[:40], *(f"собака бежит {number}" for number in range(40))]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "piñata", "Canis lupus familiaris", "flag: Côte d’Ivoire", "flag: São Tomé & Príncipe", "a π and an Ω",
        "Palacio de Bellas Artes", "Bouvier des Flandres dog", "blades roller skate skates sport",
        "Red velvet belt - Bar Inc Ltd", "a sign says 東京", "croissant", "π", "𝐀 𝐛𝐨𝐥𝐝 𝐝𝐨𝐠", "Ｆｕｌｌ ｗｉｄｔｈ",
    ],
)  # fmt: skip
def test_names_and_lists_of_words_are_in_no_wrong_language(text: str) -> None:
    assert "wrong_language" not in named([*CLEAN, text])


@pytest.mark.parametrize("text", ["собака бежит", "一只狗在跑", "犬", "강아지", "σκύλος", "כלב רץ", "كلب يجري", "कुत्ता"])
def test_another_script_is_exact(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "_identifier", lambda: None)
    (one,) = [one for one in find([*CLEAN, text]) if one.items_F]
    assert (one.kind, list(one.items_F), list(one.certainty_F)) == ("wrong_language", [len(CLEAN)], [1.0])
    assert "cospace[check]" in one.advice, "it says that languages were not compared"


def test_scripts() -> None:
    texts = ("a dog", "123", "собака", "犬とねこ", "東京 Tokyo", "𝐛𝐨𝐥𝐝", "")
    assert [script_of(text) for text in texts] == ["LATIN", "", "CYRILLIC", "CJK", "LATIN", "LATIN", ""]


# --- length


def test_captions_that_the_model_cuts_are_found_and_how_much_of_them() -> None:
    fits, cut = " ".join(["word"] * 62), " ".join(["word"] * 93)
    assert named([*CLEAN, fits]) == {}
    found = named([*CLEAN, fits, cut])["over_long"]
    assert found == {cut: "at least 93 tokens, of which 62 are read: at least 33% is cut; 19% with CLIP's 77"}


def test_tokens_may_be_counted_by_a_tokenizer() -> None:
    texts = ["a dog", "a dachshund"]
    assert [fault.item for fault in over_long(texts, len, 9)] == [1]
    assert [fault.note for fault in over_long(texts, len, 9)] == ["11 tokens, of which 7 are read: 36% is cut"]


def test_the_least_number_of_tokens_is_never_more_than_a_tokenizer_makes() -> None:
    captions = [*CLEAN[:50], "the dog's 12 bones, don't!?", "a_b __ c", "Łódź — 3½ km", "犬が走る", "x" * 90, "कुत्ता"]
    tokenizer = modality("text").processor_class().train(captions * 3, length=10_000)
    for text in captions:
        assert least_tokens(text) <= len(tokenizer.encode([text])[0]) - 2


# --- boilerplate


@pytest.mark.parametrize(
    "text",
    [
        "untitled", "Untitled 3", "UNTITLED-1", "image", "a photo", "No description", "null", "(null)", "N/A", "none",
        "Image may contain:", "alt text", "placeholder", "Lorem ipsum dolor sit amet", "Click to enlarge!",
        "stock photo", "final_v2_small.jpg", "IMG_2041", "DSC00012.JPG", "20190704_101500", "1234", "12", "-",
        "...", "© 2019",
    ],
)  # fmt: skip
def test_empty_talk_is_found_and_left_out(text: str) -> None:
    found = named([*CLEAN, text])
    assert (list(found), list(found["boilerplate"])) == (["boilerplate"], [text])
    assert left_out([*CLEAN, text]) == {text}


@pytest.mark.parametrize(
    "text",
    [
        "image of a dog", "photo of cats", "none of them", "untitled work by Picasso", "null pointer",
        "stock photo of a dog", "room 101", "IMG of a dog", "a dog.jpg viewer", "click to enlarge the hole", "zero",
        "naan", "🐶", "7 dogs", "B2",
    ],
)  # fmt: skip
def test_words_beside_it_say_something(text: str) -> None:
    assert "boilerplate" not in named([*CLEAN, text])


def test_digits_and_vague_words_may_be_classes() -> None:
    assert named([str(number) for number in range(10)]) == {}
    assert named(["photo", "sketch", "cartoon", "painting"]) == {}
    assert named([*CLASSES, "none", "image", "12"]) == {}
    assert list(named([*CLASSES, "null"])["boilerplate"]) == ["null"], "a missing value is no class"
    assert named([f"house {number}" for number in range(20)] + [str(number) for number in range(20)]) == {}


def test_names_of_cameras_are_another_finding_where_they_are_most() -> None:
    assert named([f"IMG_20{number:02d}" for number in range(30)]) == {}


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{} - Stock Photo by Jane Doe", '"- Stock Photo by Jane Doe" ends 40 captions'),
        ("{} | Free shipping", '"| Free shipping" ends 40 captions'),
        ("{} Stock photo by Jane Doe", '"Stock photo by Jane Doe" ends 40 captions'),
        ("{}. Click here for more pictures", '"Click here for more pictures" ends 40 captions'),
        ("Photo of the day: {}", '"Photo of the day:" begins 40 captions'),
        ("Jane Doe Photography | {}", '"Jane Doe Photography |" begins 40 captions'),
    ],
)
def test_words_around_many_captions_are_found(template: str, shown: str) -> None:
    texts = [template.format(text) if place % 7 == 0 else text for place, text in enumerate(CLEAN[:280])]
    assert named(texts) == {"boilerplate": dict.fromkeys(texts[::7], shown)}
    assert left_out(texts) == set(), "the rest of them says something"
    alone = template.format("").strip(" .")
    assert left_out([*texts, alone]) == {alone}


def test_a_full_stop_before_the_mark_is_no_part_of_it() -> None:
    texts = [
        f"{text} . - Stock Photo by Jane Doe" if place % 7 == 0 else f"{text} ." for place, text in enumerate(CLEAN)
    ]
    assert set(named(texts)["boilerplate"].values()) == {'"- Stock Photo by Jane Doe" ends 42 captions'}


def test_values_of_a_field_are_no_boilerplate() -> None:
    brands = ["Acme Works", "North Face", "South Side", "Zeta Group", "Foo Brothers", "Quux and Sons", "Bar Limited"]
    titles = [
        f"{colour} {what} {number}" for colour in ("red", "blue") for what in ("hat", "bag") for number in range(70)
    ]
    assert "boilerplate" not in named([f"{title} - {brands[place % 7]}" for place, title in enumerate(titles)])


def test_what_a_program_begins_a_description_with_is_named() -> None:
    assert named([*CLEAN, "Image may contain: dog, outdoor"]).keys() == {"boilerplate"}
    assert left_out([*CLEAN, "Image may contain: dog, outdoor"]) == set()


def test_names_of_cameras() -> None:
    named_by_cameras = ["IMG_2041", "DSC00012.JPG", "20190704_101500", "PXL_20230101_101010123", "DSCN1234"]
    assert all(CAMERA.fullmatch(name) for name in named_by_cameras)


# --- any texts at all

PIECES = [
    "dog",
    "A",
    " ",
    "\n",
    "&amp;",
    "?",
    "s",
    "Ã©",
    "<b>",
    "](",
    "http://",
    "@",
    "|",
    " - ",
    ".",
    "犬",
    "б",
    "\ud83d",
    "\x00",
]
anything = st.one_of(st.none(), st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@settings(deadline=None, max_examples=200)
@given(st.lists(anything, max_size=40))
def test_any_texts_are_looked_at_without_a_fault(texts: list[str | None]) -> None:
    well_formed(find(texts), len(texts))


@settings(deadline=None, max_examples=25)
@given(st.lists(anything, max_size=30), st.booleans())
def test_so_are_they_among_sentences_and_without_libraries(texts: list[str | None], libraries: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if not libraries:
            patch.setattr(encodings, "_ftfy", lambda: None)
            patch.setattr(languages, "_identifier", lambda: None)
        well_formed(find([*CLEAN[::5], *texts]), len(CLEAN[::5]) + len(texts))


def test_very_long_texts_take_no_longer_than_their_length_asks_for() -> None:
    long = ["a" * 200_000, "a." * 90_000, "<!--" * 50_000, "[a" * 60_000, "**a" * 60_000, "?a" * 60_000, "a@" * 90_000]
    well_formed(
        find([*long, "Ã" * 90_000, "&amp;" * 40_000, *(f"{'word ' * 30_000}{number}" for number in range(20))]), 29
    )
