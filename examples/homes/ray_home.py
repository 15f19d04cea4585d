"""The text model behind Ray Serve, which spreads replicas over machines.

usage: TEXT_MODEL=folder python ray_home.py --port 8000 [--replicas 2]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import threading
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from text_service import MODEL_VARIABLE, TextService, refusal

from persia.errors import InvalidInput


@serve.deployment(max_ongoing_requests=16)
class Text:
    def __init__(self) -> None:
        self.service = TextService.of_environment()

    async def __call__(self, request: Request) -> Response:
        """The model runs in a thread, so that the replica takes other requests meanwhile."""
        body = await request.body()
        try:
            answer = await asyncio.to_thread(self.service.answer, body)
        except InvalidInput as error:
            return JSONResponse(refusal(error), status_code=400)
        return Response(answer, media_type="application/json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--replicas", type=int, default=1)
    arguments = parser.parse_args()
    options = {"num_cpus": 0.5, "runtime_env": {"env_vars": {MODEL_VARIABLE: os.environ[MODEL_VARIABLE]}}}
    text: Any = Text.options(  # type: ignore[attr-defined]  # what the decorator makes of the class
        num_replicas=arguments.replicas, ray_actor_options=options
    )
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port})
    serve.run(text.bind(), route_prefix="/predictions/text")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()


if __name__ == "__main__":
    main()
