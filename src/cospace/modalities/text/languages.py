"""Captions in another language or script than most of a set, where most of it is in one.

A script is exact. A language is judged by py3langid's likelihoods (an optional library), and only of captions of some
words: "piñata" and "Canis lupus" are names in any language.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

CLEAR = 0.7
"""Share of the captions from which on their script or language is that of the set; below, it is a set of several."""

FEWEST = 10
"""Captions below which no script is that of the set."""

FEWEST_SENTENCES = 20
"""Captions of some words below which no language is that of the set."""

WORDS = 4
"""Fewest words of a caption whose language is judged. Of 2,813 names of emoji and 998 of ImageNet's classes, mostly of
one to three words, 1,800 are nearer to some other language than to English."""

EVIDENCE = 2.0
"""Least logarithm of how much likelier another language is, divided by the square root of the caption's bytes, as
py3langid does for its probabilities. 1,944 sentences in nine languages, written for the purpose, have 2.4 or more
against English; 3,979 English captions of Flickr8k have 0.4 or less, 1,314 names of emoji 1.4, and 998 of "a photo of
a" with one of ImageNet's classes 1.5; of 1,182 lists of English keywords ("blades roller skate") 8 have more."""

EVIDENCE_OF_NOUNS = 4.0
"""The same of captions without a function word of the other language: "velvet belt" is near to three by chance, up to
2.8 among 640 titles of products and 3.5 among those lists of keywords."""

SAMPLE = 2_000
"""Captions, spread evenly, from which the language of the set and its words are learned."""

SEEN = 3
"""Captions of the sample that a word must be in to be one of the set's language."""

_LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""Words; "d’Ivoire" is one, where names are looked for."""
_APOSTROPHE = re.compile("['’]")
_UNSPACED = ("CJK", "HANGUL")
"""Scripts whose single letters are words."""

_EAST = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "BOPOMOFO": "CJK", "KANGXI": "CJK", "KATAKANA-HIRAGANA": "CJK"}
"""Japanese is written in three scripts, of which one is that of Chinese."""

_LANGUAGES = """
    af Afrikaans: 'n die en met op in van is het
    ca Catalan: el la els les un una amb i de del en al és
    cs Czech: v na s a se je do u po za před
    da Danish: en et og med på i af er som for til den
    de German: der die das ein eine einen einem einer und mit auf im am in dem den ist vor von zu
    en English: the a an and with in on of at is are to by for from
    es Spanish: el la los las un una con en y de del al está por
    et Estonian: ja on
    fi Finnish: ja on
    fr French: le la les un une des et avec sur dans du de est au aux en
    hr Croatian: u na i s je se
    hu Hungarian: a az egy és van
    id Indonesian: di yang dan dengan sebuah seorang
    it Italian: il la lo i gli un una con e di del della nel nella su sul sulla in per è
    lt Lithuanian: ir su yra ant
    lv Latvian: un ar ir uz
    ms Malay: di yang dan dengan sebuah seorang
    nl Dutch: de het een en met op in van is aan voor
    no Norwegian: en et ei og med på i av er som for til den
    pl Polish: w na z i do jest się o u po przed
    pt Portuguese: o a os as um uma com em e de do da no na está
    ro Romanian: un o și cu pe în de la este
    sk Slovak: v na s a sa je do u po za pred
    sl Slovene: v na in s je se
    sv Swedish: en ett och med på i av är som för till den
    tl Tagalog: ang ng sa mga na isang
    tr Turkish: bir ve ile bu da de
    vi Vietnamese: một và với trên trong đang người
"""
NAMES = {line[:2]: line[3:].split(":")[0] for line in _LANGUAGES.strip().replace("    ", "").split("\n")}
"""Languages that are looked for: those in Latin letters with many captions on the web. py3langid knows 139, and names
and lists of words are near to some small one of them by chance."""

_FUNCTION_WORDS = {
    line[:2]: frozenset(line.split(":")[1].split()) for line in _LANGUAGES.strip().replace("    ", "").split("\n")
}
"""Words that hold the sentences of each together."""

_ALIKE = ({"no", "da"}, {"hr", "sl"}, {"id", "ms"}, {"nl", "af"}, {"cs", "sk"})
"""Languages so near to each other that a caption does not show which of them it is in."""

ADVICE = "leave them out, translate them, or take a model of several languages"
BY_SCRIPT = f"{ADVICE}; only scripts were compared: languages need pip install 'cospace[check]'"

Found = tuple[int, float, str]
"""A caption's number, how sure it is, and why."""


def wrong_language(texts: Sequence[str | None]) -> tuple[list[Found], str]:
    """The captions, and what to do about them."""
    scripts = [None if text is None else script_of(text) for text in texts]
    written = Counter(script for script in scripts if script)
    main, many = written.most_common(1)[0] if written else ("", 0)
    if many < FEWEST or many < CLEAR * sum(written.values()):
        return [], ADVICE
    found = [
        (item, 1.0, f"{script.lower() if script != 'CJK' else 'Chinese or Japanese'} script: {texts[item]}")
        for item, script in enumerate(scripts)
        if script and script != main and _is_enough(texts[item] or "", script)
    ]
    is_main = (script == main for script in scripts)
    in_main = (
        item for item, (text, own) in enumerate(zip(texts, is_main, strict=True)) if own and _is_sentence(text or "")
    )
    sentences = np.fromiter(in_main, np.int64)
    if main != "LATIN" or len(sentences) < FEWEST_SENTENCES:
        return found, ADVICE
    identifier = _identifier()
    if identifier is None:
        return found, BY_SCRIPT
    return found + _by_language(identifier, texts, sentences), ADVICE


def script_of(text: str) -> str:
    """The script of more than half of a text's letters, in Unicode's words; nothing where there is none."""
    if text.isascii():
        return "LATIN" if _LETTERS.search(text) else ""
    counts: Counter[str] = Counter()
    for letter, many in Counter(text).items():
        if script := _script(letter):
            counts[script] += many
    script, many = counts.most_common(1)[0] if counts else ("", 0)
    return script if 2 * many > sum(counts.values()) else ""


@cache
def _script(letter: str) -> str:
    """Of one letter; styled ones (mathematical bold, full width) count as what they are made of."""
    plain = unicodedata.normalize("NFKC", letter)[:1]
    if not plain.isalpha() or unicodedata.category(plain) == "Lm":
        return ""
    first = unicodedata.name(plain, "").split(" ")[0]
    return _EAST.get(first, first)


def _is_enough(text: str, script: str) -> bool:
    """One Greek letter is a symbol; one Chinese letter is a word."""
    return script in _UNSPACED or sum(_script(letter) == script for letter in text) > 1


@cache
def _identifier() -> Any:
    """py3langid's, whose model takes a second to read; nothing where it is not installed."""
    try:
        from py3langid import langid
    except ModuleNotFoundError:
        return None
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)


def _by_language(identifier: Any, texts: Sequence[str | None], sentences: np.ndarray) -> list[Found]:
    """Captions that are likelier in another language than in the one of most."""
    identifier.set_languages(list(NAMES))
    sample = sentences[:: max(1, len(sentences) // SAMPLE)].tolist()
    languages = {item: identifier.classify(texts[item])[0] for item in sample}
    main, many = Counter(languages.values()).most_common(1)[0]
    if many < CLEAR * len(sample):
        return []
    alike = {main}.union(*(group for group in _ALIKE if main in group))
    known = _known_words([(texts[item] or "", language in alike) for item, language in languages.items()])
    others = {}
    for item in map(int, sentences):
        if not _is_known(texts[item] or "", known):
            language, score = identifier.classify(texts[item])
            if language not in alike:
                others[item] = language, score
    identifier.set_languages([main])
    found = []
    for item, (language, score) in others.items():
        text = texts[item] or ""
        evidence = float(score - identifier.classify(text)[1]) / math.sqrt(len(text.encode("utf-8", "replace")))
        parts = {part for word in _LETTERS.findall(text.lower()) for part in _APOSTROPHE.split(word)}
        has_function_word = not _FUNCTION_WORDS[language].isdisjoint(parts - known)
        if evidence >= (EVIDENCE if has_function_word else EVIDENCE_OF_NOUNS):
            found.append((item, 1 / (1 + math.exp(-evidence)), f"{NAMES[language]}: {text}"))
    return found


def _is_sentence(text: str) -> bool:
    """Whether its language shows: some words, and not all in capitals at their beginning, as names are.

    What stands before a colon ("flag: São Tomé & Príncipe") is none of them.
    """
    words = _LETTERS.findall(text.rpartition(": ")[2])
    return len(words) >= WORDS and (text.isupper() or _is_more_than_names(words))


def _is_more_than_names(words: Sequence[str]) -> bool:
    """Whether one begins with a small letter; short ones do in names too ("Palacio de Bellas Artes")."""
    long = [word for word in words if len(word) > 3] or words
    return any(word[0].islower() for word in long)


def _known_words(sample: Sequence[tuple[str, bool]]) -> frozenset[str]:
    """Words of the set's language: in several captions of it, and in fewer of another one.

    Some of the captions that seem to be of another one are names and lists of words, so none would be too strict.
    """
    own: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    for text, is_own in sample:
        (own if is_own else foreign).update(set(_LETTERS.findall(text.lower())))
    return frozenset(word for word, many in own.items() if many >= SEEN and many > foreign[word])


def _is_known(text: str, known: frozenset[str]) -> bool:
    """Whether the set's own words settle it: half of all, or all but names ("flag: Côte d’Ivoire")."""
    words = _LETTERS.findall(text)
    others = [word for word in words if word.lower() not in known]
    return 2 * len(others) <= len(words) or not (text.isupper() or _is_more_than_names(others))
