"""What a request may contain: every field with its bounds; what is not named here is refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, Strict, model_validator

from .limits import Limits

LIMITS = Limits()
"""The bounds that the forms below hold; those of sizes and numbers of requests are the service's own."""


def _clean(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text is not valid Unicode") from None
    if "\0" in text:
        raise ValueError("the text holds a zero byte")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return text


def _weighs(weight: float) -> float:
    if abs(weight) < LEAST_WEIGHT:
        raise ValueError(f"a weight of {weight:g} says nothing; leave the part out")
    return weight


Words = Annotated[str, Field(max_length=LIMITS.text), AfterValidator(_clean)]
Text = Annotated[Words, AfterValidator(_not_blank)]
Name = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_clean)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Version = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[int, Field(ge=0, lt=2**63)]
LEAST_WEIGHT = 1e-3
"""Of a part, either way: less says nothing beside the others, and of the smallest numbers no mean can be computed."""


class Form(BaseModel):
    """Strict: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reference(Form):
    """An item: of the index by its id, an upload by its hash, or at an address where the service fetches."""

    id: Name | None = None
    upload: Hash | None = None
    url: Annotated[str, Field(max_length=2048), AfterValidator(_clean)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Reference:
        if sum(value is not None for value in self.values()) != 1:
            raise ValueError(f"give exactly one of {', '.join(self._names())}")
        return self

    def values(self) -> list[object]:
        """What was given for each way of naming an item."""
        return [getattr(self, name) for name in self._names()]

    def _names(self) -> tuple[str, ...]:
        return ("id", "upload", "url")


class Part(Reference):
    """One part of a query, with its weight: more of this, or less where it is negative."""

    text: Text | None = None
    weight: Annotated[float, Strict(), Field(ge=-2, le=2, allow_inf_nan=False), AfterValidator(_weighs)] = 1.0

    def _names(self) -> tuple[str, ...]:
        return ("text", "id", "upload", "url")


Marked = Annotated[list[Name], Field(max_length=LIMITS.marks)]
"""Ids of results that somebody marked."""


class Query(Form):
    """What is searched for: parts that add up, among items that satisfy the conditions."""

    parts: Annotated[list[Part], Field(min_length=1, max_length=LIMITS.parts)]
    find: Annotated[str, Field(max_length=32, pattern="^[a-z_]+$")] | None = None
    k: Annotated[int, Strict(), Field(ge=1, le=LIMITS.ranks)] = 20
    offset: Annotated[int, Strict(), Field(ge=0, le=LIMITS.ranks)] = 0
    where: Annotated[list[Annotated[Words, Field(max_length=512)]], Field(max_length=16)] = []
    at_least: Literal["strong", "likely", "maybe"] | None = None
    hybrid: Annotated[bool, Strict()] = False
    right: Marked = []
    wrong: Marked = []


class Search(Query):
    """A query whose results are given in words."""

    k: Annotated[int, Strict(), Field(ge=1, le=LIMITS.results)] = 20


class Explain(Form):
    """One result of a query, to be explained."""

    parts: Annotated[list[Part], Field(min_length=1, max_length=LIMITS.parts)]
    number: Annotated[Number, Strict()]
    version: Annotated[Version, Strict()]


ONE_ITEM = AliasChoices("item", "image")
"""The second name is that of older clients, from when all items were images."""


class Classify(Form):
    """An item, and the names it may be called."""

    item: Annotated[Reference, Field(validation_alias=ONE_ITEM)]
    classes: Annotated[list[Text], Field(min_length=1, max_length=1000)]
    templates: Annotated[list[Text], Field(min_length=1, max_length=16)] | None = None
    rest: Annotated[Text, Field(max_length=100)] | None = None

    @model_validator(mode="after")
    def _enough(self) -> Classify:
        if len(self.classes) < 2 and self.rest is None:
            raise ValueError("give at least two classes, or one and a rest")
        return self


class SaveClass(Form):
    """What a query and marked results give together, under a name."""

    name: Annotated[Text, Field(max_length=100)]
    parts: Annotated[list[Part], Field(max_length=LIMITS.parts)] = []
    find: Annotated[str, Field(max_length=32, pattern="^[a-z_]+$")] | None = None
    right: Marked = []
    wrong: Marked = []


class Caption(Form):
    """An item to be described."""

    item: Annotated[Reference, Field(validation_alias=ONE_ITEM)]


class Ask(Form):
    """A question about an item."""

    item: Annotated[Reference, Field(validation_alias=ONE_ITEM)]
    question: Annotated[Text, Field(max_length=1000)]


class Embed(Form):
    """Texts or items whose vectors are wanted."""

    texts: Annotated[list[Text], Field(min_length=1, max_length=LIMITS.several)] | None = None
    items: Annotated[
        Annotated[list[Reference], Field(min_length=1, max_length=LIMITS.several)] | None,
        Field(validation_alias=AliasChoices("items", "images")),
    ] = None

    @model_validator(mode="after")
    def _one(self) -> Embed:
        if (self.texts is None) == (self.items is None):
            raise ValueError("give texts or items: exactly one of the two")
        return self


class Feedback(Form):
    """What a person thinks of a pair."""

    id: Name
    other: Name | None = None
    verdict: Literal["wrong", "fine"]


class Session(Form):
    """The token, shown once; a cookie takes its place."""

    token: Annotated[str, Field(max_length=512), AfterValidator(_clean)]
