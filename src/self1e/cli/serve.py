"""`self1e serve`: the model over HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from self1e.cli.options import (
    DEFAULT_MODEL,
    ApiKeys,
    Host,
    MaxMegabytes,
    MaxPixels,
    Model,
    OpenToAll,
    Port,
    load_in_process,
    with_load_options,
)
from self1e.cli.terminal import CliError, notice, show
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from self1e.serve.engine import Engine
    from self1e.serve.guard import Keys
    from self1e.serve.label_studio import Access

NAME = "serve"
EXAMPLES = """[dim]Examples:[/]

  self1e serve

  self1e serve --model OWNER/NAME --host 0.0.0.0 --api-keys keys.txt

  curl -F image=@street.jpg -F prompt='the red car' http://127.0.0.1:8000/api/v1/segment

docs/serving.md has the rest: annotation tools, limits, safety."""

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"


@with_load_options
def command(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    model: Model = DEFAULT_MODEL,
    *,
    loading: LoadOptions,
    api_keys: ApiKeys = None,
    open_to_all: OpenToAll = False,
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="Processes with a model, or a GPU, each.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="For a request.")] = 60.0,
    queue: Annotated[int, typer.Option(min=1, metavar="N", help="Requests that may wait.")] = 256,
    max_mb: MaxMegabytes = 20.0,
    max_pixels: MaxPixels = 50_000_000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", show_default=False, help="Fetch pictures at https addresses of this host. Repeatable."
        ),
    ] = None,
    label_studio: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help=f"The Label Studio whose pictures are fetched, with its token in {TOKEN_VARIABLE}.",
        ),
    ] = None,
) -> None:
    """Answer over HTTP: for programs, annotation tools and curl.

    Listens on this machine only, unless told otherwise. Ctrl-C finishes what was taken.
    """
    try:
        from self1e.serve.app import make_app
        from self1e.serve.engine import Engine
        from self1e.serve.fetch import Fetcher
        from self1e.serve.limits import Limits
        from self1e.serve.metrics import Metrics
    except ImportError as error:
        raise CliError(f"serving needs more packages ({error.name} is missing): pip install 'self1e[serve]'") from None
    from self1e.segment.opened import open_model

    # Threads of the model that spin while they wait take the cores from the server, its clients and whatever else runs,
    # which then keep these threads waiting: passes took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keys, access = keys_of(api_keys, host, open_to_all), _access(label_studio)
    limits = Limits(seconds=timeout, waiting=queue, body_bytes=int(max_mb * 1e6), pixels=max_pixels)
    opened = open_model(model, loading)
    with listening(host, port) as listener:
        metrics = Metrics()
        engine = Engine(
            partial(load_in_process, opened, loading),
            processes=processes,
            device=str(loading.device),
            limits=limits,
            watch=metrics.event,
        )
        fetcher = Fetcher(allow_host or [], limits=limits, trusted=label_studio, authorization=access)
        app = make_app(engine, keys=keys, host=host, fetcher=fetcher, metrics=metrics, model=opened.name)
        asyncio.run(_serve(app, listener, engine, model))
        if not engine.stopped:
            raise CliError(engine.failed or "the server ended")


def keys_of(file: Path | None, host: str, open_to_all: bool) -> Keys:
    """Raises CliError if strangers could ask without one."""
    from self1e.serve.guard import KEYS_VARIABLE, Keys, is_loopback, read_keys

    keys = Keys(read_keys(file))
    if not keys and not is_loopback(host) and not open_to_all:
        raise CliError(
            f"{host} is open to a network: give --api-keys FILE or set {KEYS_VARIABLE}, or --open to let anybody ask"
        )
    return keys


def _access(label_studio: str | None) -> Access | None:
    """What opens the pictures of a Label Studio. Raises CliError if its address is none."""
    from self1e.serve.label_studio import Access

    if label_studio is None:
        return None
    if not re.fullmatch(r"https?://[^/@\s]+/?", label_studio):
        raise CliError(f"--label-studio takes an address like http://127.0.0.1:8080, not {label_studio!r}")
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        notice(f"pictures that are in Label Studio need its token in {TOKEN_VARIABLE}")
        return None
    return Access(label_studio, token)


def listening(host: str, port: int) -> socket.socket:
    """Raises CliError if that cannot be."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=1024)
    except OSError as error:
        raise CliError(f"cannot listen at {host}, port {port}: {error.strerror or error}; choose another") from None
    # Connections inherit it. Without, the body of each answer waits 40 ms until its head is acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return listener


def address_of(listener: socket.socket) -> str:
    """Where it listens, as a browser has it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def http_server(app: FastAPI, patience: float) -> uvicorn.Server:
    """What speaks HTTP for an app, and writes no log of who asks for what.

    Args:
        app: What answers.
        patience: Seconds that answers have to end when the server does.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",  # the other parser takes headers of any length, and is taken wherever it is installed
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=ceil(patience),
    )
    return uvicorn.Server(config)


async def _serve(app: FastAPI, listener: socket.socket, engine: Engine, model: str) -> None:
    """Serves until the server is told to stop, or the model is gone for good."""
    from self1e.serve.engine import EngineError

    server = http_server(app, engine.limits.seconds)

    async def report() -> None:
        notice(f"loading {model}")
        with suppress(EngineError):
            await engine.ready()
            show(f"{model} answers at {address_of(listener)}  (Ctrl-C ends it)")
            await engine.ended()
        server.should_exit = True

    reporting = asyncio.create_task(report())
    try:
        await server.serve(sockets=[listener])
    finally:
        reporting.cancel()
        engine.kill()  # a second Ctrl-C skips the end of the app
