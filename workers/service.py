"""The worker's HTTP service: takes a push delivery, performs one stage, and answers with who retries.

    POST /         a task from Pub/Sub      204 done, or never to be retried; 429, 500, 503: redeliver;
                                            waits for a slot, and gets 429 only if too many wait already, or too long;
                                            401, 403: not an allowed caller, redeliver as well
    GET  /healthz  is the process alive     200, whatever the model does
    GET  /readyz   is it ready for work     200 once the model is loaded and warmed up, else 503 and a reason
    GET  /device   what it runs on          200

Starlette on uvicorn, in one process with a thread for each delivery, whose rows share the model's batches (`batcher`).
Not functions-framework, which forks after loading and so breaks CUDA. The server listens immediately and loads the
model in the background, so that a probe sees "loading" rather than nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from google.auth.exceptions import TransportError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from speechpipe.backends.gcp import oidc
from speechpipe.backends.ports import Analyse, Backend
from speechpipe.contract import Stage, Task
from speechpipe.contract.errors import Busy, Unreadable, Untrusted
from speechpipe.contract.resources import ALIVE_PATH, READY_PATH
from speechpipe.contract.wire import task_from_push
from speechpipe.observe import instrumented
from speechpipe.observe.log import bound_fields
from speechpipe.observe.spans import OFF, Tracing, record_failure
from speechpipe.pipeline.interruptible import Interruptible
from speechpipe.pipeline.perform import perform
from speechpipe.pipeline.world import WorkerWorld, World, utc_now
from speechpipe.settings import EngineSettings, Limits, WorkerSettings
from workers.audio.reader import length_of
from workers.models.device import NoSuchDevice, device_report
from workers.models.hub import ModelMissing
from workers.slots import Slots

log = logging.getLogger(__name__)

Load = Callable[[Stage, EngineSettings], Analyse]

#: The largest push request: Pub/Sub's 10 MB in base64, and attributes.
MAX_BODY_BYTES = 15 * 1024**2
#: How long an analysis may continue after SIGTERM; its lease must be free well before the process is killed.
DRAIN_SECONDS = 4.0
#: An attempt may outlive its request: its thread goes on, and the next delivery finds its partial. After the time of
#: this many requests it counts as hung, and another attempt may take its lease (decision 26).
LONGEST_REQUESTS = 2
_RETRY_AFTER = {"Retry-After": "10"}  # seconds


class Worker:
    """One stage's engine with its slots, from loading to shutdown."""

    def __init__(self, settings: WorkerSettings, backend: Backend, load: Load, tracing: Tracing = OFF) -> None:
        self.settings = settings
        backend = instrumented.instrument(backend, tracing, instrumented.GOOGLE)
        limits = Limits(
            max_bytes=settings.max_bytes,
            prices=settings.prices,
            part_seconds=settings.part_seconds,
            parts_in_flight=settings.parts_in_flight,
        )
        self._world = World.over(backend, limits, utc_now)
        self._load = load
        self._tracing = tracing
        self._engine: Analyse | None = None
        self.failure: str | None = None  #: why the model could not be loaded
        self._leaving, self._stopping = threading.Event(), threading.Event()
        self.slots = Slots(settings.concurrency, room=settings.waiting_room, seconds=settings.waiting_seconds)
        # Not the event loop's threads: an analysis takes minutes.
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="analysis")

    @property
    def unready(self) -> str | None:
        """Why this worker cannot take work now; None when it is ready."""
        if self._leaving.is_set():
            return "the worker is shutting down"
        if self.failure is not None:
            return f"the model could not be loaded: {self.failure}"
        return "the model is loading" if self._engine is None else None

    def start(self, failed: Callable[[], None]) -> None:
        """Load the model in the background; call `failed` if that fails."""

        def work() -> None:
            try:
                self._engine = self._load(self.settings.stage, self.settings)
                log.info("the model is ready", extra={"action": "ready", "stage": self.settings.stage.value})
            except BaseException as error:
                self.failure = f"{type(error).__name__}: {error}"
                explained = isinstance(error, (ModelMissing, NoSuchDevice))  # their messages need no traceback
                log.critical("the model could not be loaded", exc_info=not explained, extra={"action": "load_failed"})
                failed()

        threading.Thread(target=work, name="load", daemon=True).start()

    def stop(self) -> None:
        """Take no more work. Analyses may finish within DRAIN_SECONDS; then they stop and free their leases."""
        self._leaving.set()
        self.slots.close()
        interrupt = threading.Timer(DRAIN_SECONDS, self._stopping.set)
        interrupt.daemon = True
        interrupt.start()

    async def deliver(self, body: bytes, delivery: str | None = None) -> Response:
        """Perform what a push request asks for; the status says who retries. `delivery`: the request's traceparent."""
        if (reason := self.unready) is not None:
            return _unavailable(reason)
        if not await self.slots.take():
            if (reason := self.unready) is not None:
                return _unavailable(reason)
            log.info("no slot for a delivery", extra={"action": "full", "stage": self.settings.stage.value})
            return JSONResponse({"error": "every slot is in use"}, status_code=429, headers=_RETRY_AFTER)
        try:
            # Shielded: the slot is freed when the thread ends, not when the client goes away.
            loop = asyncio.get_running_loop()
            return await asyncio.shield(loop.run_in_executor(self._threads, self._handle, body, delivery))
        except RuntimeError:  # the executor is shut down
            self.slots.free()
            return _unavailable("the worker is shutting down")

    def _handle(self, body: bytes, delivery: str | None) -> Response:
        try:
            with bound_fields(stage=self.settings.stage.value):
                return self._answer(body, delivery)
        finally:
            self.slots.free()

    def _answer(self, body: bytes, delivery: str | None) -> Response:
        try:
            task = task_from_push(body)
            if task.stage is not self.settings.stage:
                raise Unreadable(f"a task for {task.stage.value} came to a worker for {self.settings.stage.value}")
        except Unreadable as error:
            log.error("acknowledged, not performed: %s", error, extra={"action": "unreadable"})
            return Response(status_code=204)
        holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"  # another one for each delivery
        with self._tracing.perform(task, holder, delivery=delivery):
            return self._perform(task, holder)

    def _attempt(self, holder: str) -> WorkerWorld:
        """The world of one delivery."""
        assert self._engine
        return self._world.attempt(
            Interruptible(self._engine, self._stopping),
            holder=holder,
            lease_seconds=self.settings.lease_seconds,
            longest_seconds=LONGEST_REQUESTS * self.settings.request_seconds,
            length=length_of,
        )

    def _perform(self, task: Task, holder: str) -> Response:
        try:
            perform(task, self._attempt(holder))
        except Unreadable as error:
            log.error("acknowledged, not performed: %s", error, extra={"action": "unreadable"})
        except Busy as error:
            record_failure(error)
            log.info("busy: %s", error, extra={"action": "busy"})
            return JSONResponse({"error": "busy"}, status_code=429, headers=_RETRY_AFTER)
        except Exception as error:
            record_failure(error)
            log.exception("the analysis failed", extra={"action": "failed"})
            return JSONResponse({"error": "the analysis failed; see the log"}, status_code=500)
        return Response(status_code=204)

    def close(self) -> None:
        """Abandon the threads without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def create_app(
    settings: WorkerSettings,
    backend: Backend,
    load: Load,
    *,
    failed: Callable[[], None] = lambda: None,
    tracing: Tracing = OFF,
) -> Starlette:
    """Make the service, which loads the model when it starts; `app.state.worker` is the Worker.

    `failed` is called, in another thread, if the model cannot be loaded.
    """
    worker = Worker(settings, backend, load, tracing)
    callers = oidc.callers(settings)

    async def push(request: Request) -> Response:
        if callers is not None:  # in a thread, since certificates may have to be fetched
            refused = await asyncio.to_thread(_refusal, callers, request.headers)
            if refused is not None:
                return refused
        body = await _read(request)
        if body is None:
            return JSONResponse({"error": "the request is too large"}, status_code=413)
        return await worker.deliver(body, request.headers.get("traceparent"))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(_: Request) -> Response:
        reason = worker.unready
        body = {"ready": reason is None, "stage": settings.stage.value, "reason": reason}
        return JSONResponse(body, status_code=200 if reason is None else 503)

    async def device(_: Request) -> Response:
        report = await asyncio.to_thread(device_report, settings.stage, settings)
        return JSONResponse({**report, "ready": worker.unready is None})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        worker.start(failed)
        try:
            yield
        finally:
            worker.stop()
            worker.close()

    app = Starlette(
        routes=[
            Route("/", push, methods=["POST"]),
            Route(ALIVE_PATH, healthz),
            Route(READY_PATH, readyz),
            Route("/device", device),
        ],
        lifespan=lifespan,
    )
    app.state.worker = worker
    return app


def _unavailable(reason: str) -> Response:
    return JSONResponse({"error": reason}, status_code=503, headers=_RETRY_AFTER)


def _refusal(callers: oidc.Callers, headers: oidc.Headers) -> Response | None:
    """The response to anyone but an allowed caller; None for an allowed one."""
    try:
        callers.check(headers)
    except Untrusted as error:
        log.warning("refused: %s", error, extra={"action": "refused"})
        challenge = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse({"error": str(error)}, status_code=error.status, headers=challenge)
    except TransportError:
        log.exception("Google's certificates could not be fetched", extra={"action": "unverified"})
        return JSONResponse({"error": "callers cannot be verified now"}, status_code=503, headers=_RETRY_AFTER)
    return None


async def _read(request: Request) -> bytes | None:
    """The body; None if it is larger than any push request. Counted as it arrives, because a header may lie."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)
