"""`/v1/feedback`: people rate an answer by its id, for the next training."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hanji.serving.bodies.reading import FeedbackBody
from hanji.serving.connection import body_of
from hanji.serving.errors import ApiError
from hanji.serving.service import Call, Service
from hanji.storage.feedback import Feedback


async def feedback(request: Request) -> Response:
    """Keeps what somebody thought of an answer; the last word counts."""
    call, body = Call.of(request), FeedbackBody.parse(await body_of(request))
    book = call.service.feedback
    if book is None:
        raise ApiError(404, "This service keeps no feedback", code="feedback_off")
    model = await asyncio.to_thread(_model, call.service, body.id)
    if model is None:
        raise ApiError(
            404, "No answer has this id, or it is too long ago: ids are remembered for a while, and with "
            "--log-requests as long as requests are", param="id", code="answer_not_found",
        )  # fmt: skip
    said = Feedback(
        answer_id=body.id, rating=body.rating, model=model, comment=body.comment, corrected=body.corrected,
        key_id=call.key.id if call.key else None,
    )  # fmt: skip
    await asyncio.to_thread(book.give, said)
    return JSONResponse({"id": body.id, "object": "feedback", "rating": body.rating, "model": model})


def _model(service: Service, answer_id: str) -> str | None:
    remembered = service.model_of(answer_id)
    if remembered is not None or service.journal is None:
        return remembered
    logged = service.journal.find(answer_id)
    return None if logged is None else logged.model
