"""What a request may say: every field with its bounds; what is not named here is refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

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


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return text


Words = Annotated[str, Field(max_length=LIMITS.text), AfterValidator(_clean)]
Text = Annotated[Words, AfterValidator(_said)]
Name = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_clean)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Version = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[int, Field(ge=0, lt=2**63)]


class Form(BaseModel):
    """Strict: an unknown field is a mistake that is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Picture(Form):
    """A picture: an item of the index by id, one that was sent before by its hash, or an address where allowed."""

    id: Name | None = None
    upload: Hash | None = None
    url: Annotated[str, Field(max_length=2048), AfterValidator(_clean)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Picture:
        if sum(value is not None for value in self.values()) != 1:
            raise ValueError(f"give exactly one of {', '.join(self._names())}")
        return self

    def values(self) -> list[object]:
        """What was given for each way of naming what is meant."""
        return [getattr(self, name) for name in self._names()]

    def _names(self) -> tuple[str, ...]:
        return ("id", "upload", "url")


class Part(Picture):
    """One part of a query, with its weight: more of this, or less where it is negative."""

    text: Text | None = None
    weight: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _weighs(self) -> Part:
        if self.weight == 0:
            raise ValueError("a weight of 0 says nothing; leave the part out")
        return self

    def _names(self) -> tuple[str, ...]:
        return ("text", "id", "upload", "url")


class Query(Form):
    """What is looked for: parts that add up, among items that satisfy the conditions."""

    parts: Annotated[list[Part], Field(min_length=1, max_length=LIMITS.parts)]
    find: Annotated[str, Field(max_length=32, pattern="^[a-z_]+$")] | None = None
    k: Annotated[int, Field(ge=1, le=LIMITS.ranks)] = 20
    offset: Annotated[int, Field(ge=0, le=LIMITS.ranks)] = 0
    where: Annotated[list[Annotated[Words, Field(max_length=512)]], Field(max_length=16)] = []


class Search(Query):
    """A query whose results are given in words."""

    k: Annotated[int, Field(ge=1, le=LIMITS.results)] = 20


class Explain(Form):
    """One result of a query, to be explained."""

    parts: Annotated[list[Part], Field(min_length=1, max_length=LIMITS.parts)]
    number: Number
    version: Version


class Classify(Form):
    """A picture, and the names it may be called."""

    image: Picture
    classes: Annotated[list[Text], Field(min_length=2, max_length=1000)]
    templates: Annotated[list[Text], Field(min_length=1, max_length=16)] | None = None


class Caption(Form):
    """A picture to be described."""

    image: Picture


class Ask(Form):
    """A question about a picture."""

    image: Picture
    question: Annotated[Text, Field(max_length=1000)]


class Embed(Form):
    """Texts or pictures whose vectors are wanted."""

    texts: Annotated[list[Text], Field(min_length=1, max_length=LIMITS.several)] | None = None
    images: Annotated[list[Picture], Field(min_length=1, max_length=LIMITS.several)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Embed:
        if (self.texts is None) == (self.images is None):
            raise ValueError("give texts or images: exactly one of the two")
        return self


class Feedback(Form):
    """What a person thinks of a pair."""

    id: Name
    other: Name | None = None
    verdict: Literal["wrong", "fine"]


class Session(Form):
    """The token, shown once; a cookie takes its place."""

    token: Annotated[str, Field(max_length=512), AfterValidator(_clean)]
