"""The OpenAPI document, and bodies that nobody would think of, made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from hanji.serving.app import ROUTES
from hanji.serving.limits import Limits
from hanji.serving.models import Models
from hanji.serving.service import Service
from hanji.storage.database import Database
from hanji.storage.feedback import FeedbackBook
from hanji.storage.location import parse
from serving.running import Running, Trained, running, starting


def test_the_document_names_every_endpoint_and_its_fields(tiny: Running) -> None:
    document = httpx2.get(f"{tiny.url}/openapi.json").json()
    for route in ROUTES:
        operation = document["paths"][route.path.replace(":path", "")][route.method.lower()]
        assert operation["summary"]
        if route.body is not None:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            fields = {field.alias or name for name, field in route.body.model_fields.items()}
            assert set(schema["properties"]) == fields
            assert schema["additionalProperties"] is False


@pytest.fixture(scope="module")
def fuzzed(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("fuzzed")
    with Database.open(parse(f"sqlite:///{place}/hanji.db", "test")) as database:
        models = Models({"tiny": starting(trained.model, trained.tokenizer, slots=4, context=64)})
        service = Service(models, Limits(seconds=20), feedback=FeedbackBook(database))
        with running(service) as one:
            yield one


QUESTION = {
    "type": "object", "required": ["role", "content"], "additionalProperties": False,
    "properties": {"role": {"enum": ["user"]}, "content": {"type": "string", "minLength": 1, "maxLength": 9}},
}  # fmt: skip
LIKELY = {
    "model": {"type": "string", "enum": ["tiny"]},
    "messages": {"type": "array", "items": QUESTION, "minItems": 1, "maxItems": 1},
    "max_tokens": {"type": "integer", "minimum": 1, "maximum": 5},
    **{name: {"type": "null"} for name in ("tools", "tool_choice", "response_format", "stream_options", "n")},
    "structured_outputs": {"type": "null"},
}
"""Without these, few bodies that the document allows make sense."""


def loaded(fuzzed: Running, likely: bool) -> schemathesis.BaseSchema:
    document = httpx2.get(f"{fuzzed.url}/openapi.json").json()
    for path in document["paths"].values():
        if likely and "post" in path:
            fields = path["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
            fields |= {name: schema for name, schema in LIKELY.items() if name in fields}
    found = schemathesis.openapi.from_dict(document)
    found.config.update(base_url=fuzzed.url)
    return found


POSTS = [route.path for route in ROUTES if route.body is not None]
GETS = [route.path.replace(":path", "") for route in ROUTES if route.body is None]
ANSWERED = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/tokenize", "/v1/detokenize")
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


def fuzz(operation: Any, mode: GenerationMode, examples: int) -> set[int]:
    """Sends what is made from an operation: never a 5xx, and errors in one shape. Returns the codes."""
    seen: set[int] = set()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy(generation_mode=mode))
    def sends(case: schemathesis.Case) -> None:
        response = case.call(timeout=30)
        assert response.status_code < 500, f"{case.as_curl_command()}\n{response.text}"
        seen.add(response.status_code)
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    sends()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("path", POSTS)
def test_no_body_makes_the_service_fail(fuzzed: Running, path: str) -> None:
    for likely, mode in ((True, POSITIVE), (False, POSITIVE), (False, NEGATIVE)):
        seen = fuzz(loaded(fuzzed, likely)[path]["POST"], mode, 60)
        assert not likely or path not in ANSWERED or 200 in seen


@pytest.mark.slow
@pytest.mark.parametrize("path", GETS)
def test_no_path_makes_the_service_fail(fuzzed: Running, path: str) -> None:
    assert fuzz(loaded(fuzzed, False)[path]["GET"], POSITIVE, 20) <= {200, 404}
