"""The interface of OpenAI's embeddings, asked by its own client on a real connection."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served
from test_uploads import encoded, gradient

openai = pytest.importorskip("openai")
TOKEN = "0123456789abcdef"
TEXTS = ["a red circle", "a blue square number 4"]


@pytest.fixture(scope="module")
def served(indexed: Path) -> Iterator[Served]:
    served = Served(indexed, "--token", TOKEN)
    yield served
    served.kill()


@pytest.fixture(scope="module")
def client(served: Served) -> Any:
    return openai.OpenAI(base_url=served.url + "/v1", api_key=TOKEN, max_retries=0)


def vectors(answer: Any) -> np.ndarray:
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return np.array([one.embedding for one in answer.data])


def ours(served: Served, body: dict[str, Any]) -> np.ndarray:
    """What the service's own interface answers."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    return np.array(json.loads(served.post("/api/embed", json.dumps(body).encode(), **headers)[1])["vectors"])


def data_url() -> tuple[str, bytes]:
    picture = encoded(gradient(60, 40), "PNG")
    return "data:image/png;base64," + base64.b64encode(picture).decode(), picture


def test_texts_have_the_vectors_of_our_own_interface(client: Any, served: Served) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=TEXTS)  # asks for base64 by itself
    np.testing.assert_allclose(vectors(answer), ours(served, {"texts": TEXTS}), atol=1e-6)
    assert answer.model == "text-embedding-3-small"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 4
    one = client.embeddings.create(model="m", input=TEXTS[0], encoding_format="float")
    np.testing.assert_allclose(vectors(one), vectors(answer)[:1], atol=1e-6)


def test_a_picture_as_a_data_url_lies_in_the_same_space(client: Any, served: Served) -> None:
    url, picture = data_url()
    answer = vectors(client.embeddings.create(model="m", input=[TEXTS[0], url]))
    headers = {"authorization": f"Bearer {TOKEN}"}
    sent = json.loads(served.post("/api/upload", picture, **headers)[1])["upload"]
    np.testing.assert_allclose(answer[1:], ours(served, {"items": [{"upload": sent}]}), atol=1e-6)
    np.testing.assert_allclose(answer[:1], ours(served, {"texts": TEXTS[:1]}), atol=1e-6)


def test_fewer_dimensions_are_the_first_ones_at_unit_length(client: Any) -> None:
    whole = vectors(client.embeddings.create(model="m", input=TEXTS))
    cut = vectors(client.embeddings.create(model="m", input=TEXTS, dimensions=5))
    np.testing.assert_allclose(cut, whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True), atol=1e-6)


def test_thousands_of_texts_are_embedded_in_one_request(client: Any) -> None:
    answer = client.embeddings.create(model="m", input=[f"thing {number}" for number in range(2048)])
    assert vectors(answer).shape == (2048, 16)


def test_the_model_is_listed(client: Any) -> None:
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id).id == model.id
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        client.models.retrieve("gpt/4")


@pytest.mark.parametrize(
    ("given", "message", "param"),
    [
        ({"input": [[1, 2, 3]]}, "another model's tokenizer", "input"),
        ({"input": [1, 2, 3]}, "another model's tokenizer", "input"),
        ({"input": ""}, "input 0 is empty", "input"),
        ({"input": ["a", " "]}, "input 1 is empty", "input"),
        ({"input": []}, "give 1 to 2,048 inputs", "input"),
        ({"input": ["a"] * 2049}, "2,049 were given", "input"),
        ({"input": "a" * 10_001}, "10,001 characters", "input"),
        ({"input": "a\0b"}, "not valid Unicode", "input"),
        ({"input": "data:image/png;base64,!"}, "not base64", "input"),
        ({"input": "a", "dimensions": 17}, "have 16 dimensions", "dimensions"),
        ({"input": "a", "dimensions": 0}, "greater than or equal to 1", "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "'float' or 'base64'", "encoding_format"),
    ],
)
def test_a_mistake_is_said_in_their_form(client: Any, given: dict[str, Any], message: str, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="m", **given)
    assert message in refused.value.body["message"]
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_a_file_that_is_no_picture_and_a_wrong_token(client: Any, served: Served) -> None:
    with pytest.raises(openai.APIStatusError, match="send a JPEG, PNG or WebP image") as refused:
        client.embeddings.create(model="m", input="data:application/pdf;base64,JVBERi0xLjc=")
    assert refused.value.status_code == 415
    with pytest.raises(openai.AuthenticationError, match="requires its token") as refused:
        openai.OpenAI(base_url=served.url + "/v1", api_key="wrong", max_retries=0).models.list()
    assert refused.value.code == "invalid_api_key"
