"""The server as an ASGI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from self1e.serve import label_studio, native, xanylabeling
from self1e.serve.engine import Engine
from self1e.serve.fetch import Fetcher
from self1e.serve.guard import Guard, Keys
from self1e.serve.metrics import Metrics
from self1e.serve.pictures import KeptPictures
from self1e.serve.problems import Problem, answer_with_problems
from self1e.serve.state import State, state_of
from self1e.version import __version__

DESCRIPTION = "Segments pictures by text: a multimodal language model points at what you name."


def make_app(
    engine: Engine,
    *,
    keys: Keys | None = None,
    host: str = "127.0.0.1",
    fetcher: Fetcher | None = None,
    metrics: Metrics | None = None,
    model: str = "",
) -> FastAPI:
    """The app of a server, which starts and stops its engine.

    Args:
        engine: Answers.
        keys: Who may ask; None: all who reach it.
        host: Where it will listen, see `Guard`.
        fetcher: Of pictures at addresses; None: none are fetched.
        metrics: To which the engine tells what happens.
        model: Name of what it serves.
    """
    limits, metrics = engine.limits, metrics or Metrics()
    state = State(engine, limits, KeptPictures(limits), metrics, fetcher or Fetcher(limits=limits), model)
    metrics.watch("self1e_waiting", "Requests that no process has yet", lambda: len(engine.waiting))
    metrics.watch("self1e_in_work", "Requests that processes have", lambda: engine.in_work)
    metrics.watch("self1e_images", "Pictures that are kept", lambda: len(state.kept))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await engine.start()
        yield
        await engine.stop()

    # Its pages for people would load code from elsewhere.
    app = FastAPI(
        title="self1e", version=__version__, description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.of_server = state
    app.add_middleware(Guard, keys=keys or Keys([]), limits=limits, host=host, metrics=metrics)
    answer_with_problems(app)
    for router in (native.router, xanylabeling.router, label_studio.router, _well_being()):
        app.include_router(router)
    return app


def _well_being() -> APIRouter:
    router = APIRouter(tags=["well-being"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the server runs."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz(request: Request) -> dict[str, str]:
        """Whether it can answer now."""
        engine = state_of(request).engine
        if engine.stopping or not engine.is_ready:
            raise Problem(503, engine.failed or ("the server stops" if engine.stopping else "the model is loading"))
        return {"status": "ready"}

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Figures for Prometheus."""
        return Response(state_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
