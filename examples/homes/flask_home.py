"""The text model behind Flask and gunicorn, which runs workers with threads, or with gevent.

usage: TEXT_MODEL=folder gunicorn flask_home:app --bind 127.0.0.1:8000 --workers 2 --threads 4
       TEXT_MODEL=folder gunicorn flask_home:app --bind 127.0.0.1:8000 --workers 2 --worker-class gevent
"""

from __future__ import annotations

from flask import Flask, Response, request
from text_service import TextService, refusal

from persia.errors import InvalidInput

service = TextService.of_environment()
app = Flask(__name__)


@app.post("/predictions/text")
def predictions() -> Response:
    return Response(service.answer(request.get_data()), mimetype="application/json")


@app.errorhandler(InvalidInput)
def refuse(error: InvalidInput) -> tuple[dict[str, str | int], int]:
    return refusal(error), 400
