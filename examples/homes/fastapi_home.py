"""The text model behind FastAPI.

usage: TEXT_MODEL=folder uvicorn fastapi_home:app --port 8000 --workers 2
"""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from text_service import TextService, refusal

from persia.errors import InvalidInput

service = TextService.of_environment()
app = FastAPI(title="A text model")


@app.post("/predictions/text")
async def predictions(request: Request) -> Response:
    """The model runs in a thread, so that the event loop takes other requests meanwhile."""
    answer = await run_in_threadpool(service.answer, await request.body())
    return Response(answer, media_type="application/json")


@app.exception_handler(InvalidInput)
async def refuse(request: Request, error: InvalidInput) -> JSONResponse:
    return JSONResponse(refusal(error), status_code=400)
