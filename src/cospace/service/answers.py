"""What the interface answers, as types: for the description under ``/openapi.json``, from which clients are generated.

Answers are made as plain data where they are made; a test holds them against these types.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Further fields may come with a later version: ignore what you do not know."""

    model_config = ConfigDict(extra="allow")


class ProblemAnswer(Answer):
    """What went wrong, in one sentence (RFC 9457)."""

    title: str
    status: int
    detail: str
    field: str | None = None
    """The part of the request that it is about."""


class OkAnswer(Answer):
    """It was done."""

    ok: bool


class ModalityInfo(Answer):
    """A modality of the index: how people call it, and what may be uploaded of it."""

    name: str
    noun: str
    plural: str
    is_text: bool
    upload_types: list[str]
    preview: bool
    page: str | None


class Can(Answer):
    """What the run's decoder, and the way the service was started, allow."""

    caption: bool
    ask: bool
    fetch: bool


class RequestLimits(Answer):
    """How much one request may ask for."""

    upload_bytes: int
    k: int
    ranks: int
    text: int
    parts: int


class InfoAnswer(Answer):
    """What the index holds and what can be done with it."""

    name: str
    version: int
    fingerprint: str
    counts: dict[str, int]
    total: int
    modalities: list[ModalityInfo]
    can: Can
    describes: str | None
    columns: dict[str, Any] | list[Any]
    calibrated: list[str]
    examples: list[Any]
    representatives: list[int]
    limits: RequestLimits
    token: bool


class ItemInfo(Answer):
    """An item of the index. Its preview is at ``/t/256/{hash}``; ``number`` holds for one version."""

    number: int
    id: str
    modality: str
    path: str
    """The file's name, without its folder."""
    text: str
    hash: str
    width: int
    height: int
    rgb: int
    extras: dict[str, Any]
    """The person's own columns."""


class SearchResult(ItemInfo):
    """An item that was found; the person's own columns also stand beside the fields, where no field has their name."""

    score: float
    probability: float | None = None
    """That the item shows what was asked for; null where nothing was calibrated."""
    match: Literal["strong", "likely", "maybe", "weak"] | None = None


class SearchAnswer(Answer):
    """Results, best first."""

    version: int
    total: int
    """Items that satisfy the conditions."""
    direction: str
    results: list[SearchResult]
    unknown_words: list[str] = Field(default_factory=list)
    """Words of the query that occur in no caption."""
    shown: int | None = None
    """Results, over the whole ranking, that are maybe or better."""


class ItemAnswer(ItemInfo):
    """One item, with the version in which it has its number."""

    version: int


class ItemsAnswer(Answer):
    """Items by number."""

    version: int
    items: list[ItemInfo]


class NearAnswer(Answer):
    """Numbers of the nearest items, and their cosines."""

    numbers: list[int]
    scores: list[float]


class ExplainedPart(Answer):
    """What one part of the query says of the item: cosine, standard score, share of the whole."""

    score: float
    z: float
    share: float


class ExplainAnswer(Answer):
    """Why an item was found."""

    score: float
    z: float
    share_above: float
    parts: list[ExplainedPart]


class UploadAnswer(Answer):
    """A file that is remembered; ``{"upload": ...}`` names it in queries, ``/u/{upload}`` shows it."""

    upload: str
    modality: str
    preview: bool
    width: int
    height: int


class ClassResult(Answer):
    """A name with its probability."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    name: str = Field(alias="class")
    probability: float


class ClassifyAnswer(Answer):
    """Names, the likeliest first."""

    results: list[ClassResult]


class CaptionAnswer(Answer):
    """A sentence about the item, and the decoder's own image-text matching score of it, which is no probability."""

    caption: str
    itm_score: float | None = None


class OneAnswer(Answer):
    """An answer with its probability."""

    answer: str
    confidence: float


class AskAnswer(OneAnswer):
    """The likeliest answer, and the ten likeliest."""

    top: list[OneAnswer]


class EmbedAnswer(Answer):
    """Unit vectors, in the order of the request."""

    vectors: list[list[float]]


class HealthAnswer(Answer):
    """Figures on the space with what they mean; see the page's Health view."""


class StateAnswer(Answer):
    """Whether the service answers; with 503 and a detail where the index cannot be read."""

    ok: bool
    warm: bool
    status: str | None = None
    detail: str | None = None


class Completion(Answer):
    """A query that begins as typed, and the captions that hold its last words."""

    text: str
    count: int


class CompleteAnswer(Answer):
    """Completions, the most frequent first."""

    completions: list[Completion]


class Group(Answer):
    """Items that lie together, with a name and the item that stands for them."""

    name: str
    count: int
    cover: int
    numbers: list[int]


class GroupsAnswer(Answer):
    """The regions of the map."""

    groups: list[Group]


class ColumnValues(Answer):
    """One of the person's own columns: its most frequent values, and its range where it holds numbers."""

    name: str
    kind: Literal["text", "number"]
    distinct: int
    values: list[dict[str, Any]]
    least: float | None = None
    most: float | None = None


class ValuesAnswer(Answer):
    """The person's own columns."""

    columns: list[ColumnValues]


class PairedAnswer(Answer):
    """What stands in the same rows as each item that was asked for, in the order of the request."""

    version: int
    paired: list[list[ItemInfo]]


class PathAnswer(Answer):
    """Where the file of an item lies on the machine that serves."""

    path: str


class ShelvedItem(ItemInfo):
    """An item on the shelf, with what somebody wrote beside it."""

    note: str


class ShelfAnswer(Answer):
    """Items that were put aside, and ids of those that the index no longer holds."""

    items: list[ShelvedItem]
    gone: list[str]


class CountAnswer(Answer):
    """How many items there are now."""

    count: int


class SavedClassAnswer(Answer):
    """A class that was saved from marks: ``class:NAME`` as a condition keeps its ``count`` items."""

    name: str
    modality: str
    version: int
    asked: str
    right: list[str]
    wrong: list[str]
    count: int


class ClassesAnswer(Answer):
    """All saved classes, in order of their names."""

    classes: list[SavedClassAnswer]


class HeatAnswer(Answer):
    """How much each part of an item speaks for a match, from -1 to 1: boxes of an image, letters, or seconds."""

    kind: Literal["boxes", "letters", "seconds"]
    columns: int
    spans: list[list[float]]
    heat: list[float]
    score: float
    drop: float


class QuestionsAnswer(Answer):
    """Questions of the run's own training that go with an item."""

    questions: list[str]
