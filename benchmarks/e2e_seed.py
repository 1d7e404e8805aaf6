"""The original project's shape: an HTTP orchestrator posts a file to two services and joins their answers in memory.

    python -m benchmarks.e2e_seed stt PORT
    python -m benchmarks.e2e_seed orchestrator PORT STT_URL SER_URL

`POST /in-turn` does what https://github.com/fentresspaul61B/STT-SER-GPU actually does: it calls `requests.post`, which
blocks, inside `asyncio.gather`, so it handles one service after the other and one file after the other.
`POST /in-parallel` does what that project intended. The services run speechpipe's engines, with as many files at a time
as a worker takes by default. Nothing is stored: a client that disconnects before the response gets no result, and
neither does any client when a process ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from speechpipe.contract import Options, Stage
from speechpipe.settings import EngineSettings, read

AT_A_TIME = 8  #: files in a service; the default of SPEECHPIPE_CONCURRENCY
PATIENCE_SECONDS = 600


def service(stage: Stage) -> Starlette:
    """A stage's service: audio in, analysis out."""
    from workers.models import choice

    engine = choice.load(stage, read(EngineSettings))
    threads = ThreadPoolExecutor(AT_A_TIME)

    def analyse(body: bytes) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "input"
            path.write_bytes(body)
            return engine(path, Options(), lambda share: None).model_dump_json()

    async def post(request: Request) -> Response:
        body = await request.body()
        answer = await asyncio.get_running_loop().run_in_executor(threads, analyse, body)
        return Response(answer, media_type="application/json")

    return Starlette(routes=[Route("/", post, methods=["POST"])])


def orchestrator(*services: str) -> Starlette:
    """The service that users call: audio in, both analyses out."""
    client = httpx.AsyncClient(timeout=PATIENCE_SECONDS, limits=httpx.Limits(max_connections=None))

    async def blocking(url: str, body: bytes) -> object:
        answer = requests.post(url, data=body, timeout=PATIENCE_SECONDS)
        answer.raise_for_status()
        return answer.json()

    async def asynchronous(url: str, body: bytes) -> object:
        answer = await client.post(url, content=body)
        return json.loads(answer.raise_for_status().content)

    async def in_turn(request: Request) -> Response:
        body = await request.body()
        return JSONResponse(await asyncio.gather(*(blocking(url, body) for url in services)))

    async def in_parallel(request: Request) -> Response:
        body = await request.body()
        return JSONResponse(await asyncio.gather(*(asynchronous(url, body) for url in services)))

    return Starlette(
        routes=[Route("/in-turn", in_turn, methods=["POST"]), Route("/in-parallel", in_parallel, methods=["POST"])]
    )


def main() -> None:
    """Serve until the process is killed."""
    what, port, *services = sys.argv[1:]
    logging.disable(logging.WARNING)
    app = orchestrator(*services) if what == "orchestrator" else service(Stage(what))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
