"""`self1e web`: a page to show a picture, say what to find, and see it."""

from __future__ import annotations

import asyncio
import os
import warnings
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from self1e.cli.options import MODEL_HELP, load_segmenter, with_load_options
from self1e.cli.segment_server import connected
from self1e.cli.serve import keys_of, listening
from self1e.cli.terminal import CliError, show
from self1e.segment.options import LoadOptions

if TYPE_CHECKING:
    import socket

    import uvicorn

    from self1e.web.models import Model

NAME = "web"
EXAMPLES = """[dim]Examples:[/]

  self1e web

  self1e web --model OWNER/NAME

  self1e web --server http://gpu-machine:8000

docs/web.md shows what is on the page."""

BUNDLED = ("mini", "nano")


@with_load_options
def command(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            show_default=False,
            help=f"{MODEL_HELP} Repeatable: the page lets choose. Default: mini and nano.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", show_default=False, help="Ask a server of `self1e serve`; key: SELF1E_API_KEY."),
    ] = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen; 0.0.0.0 is all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = False,
    *,
    loading: LoadOptions,
    api_keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Passwords, one a line, one of which the browser asks for; or in SELF1E_API_KEYS, joined by commas.",
        ),
    ] = None,
    open_to_all: Annotated[bool, typer.Option("--open", help="Listen on a network without passwords.")] = False,
    max_mb: Annotated[float, typer.Option(min=0.01, metavar="MB", help="Of a picture's file.")] = 20.0,
    max_pixels: Annotated[int, typer.Option(min=1, metavar="N", help="Of a picture.")] = 50_000_000,
) -> None:
    """Show a page in the browser: pictures, prompts, masks, and how they come to be.

    Listens on this machine only, unless told otherwise, and needs no network. Ctrl-C ends it.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
    try:
        import uvicorn

        from self1e.serve.limits import Limits
        from self1e.web.app import make_app
    except ImportError as error:
        raise CliError(f"the page needs more packages ({error.name} is missing): pip install 'self1e[web]'") from None
    if server is not None and model:
        raise CliError("--server has a model of its own: leave out --model, or --server")
    keys = keys_of(api_keys, host, open_to_all)
    limits = Limits(body_bytes=int(max_mb * 1e6), pixels=max_pixels)
    with listening(host, port) as listener:
        models = _models(model or list(BUNDLED), server, loading)
        warnings.simplefilter("ignore")  # they may hold prompts, which belong into no log: the page has them
        app = make_app(models, limits=limits, keys=keys, host=host)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
        )
        asyncio.run(_serve(uvicorn.Server(config), listener, browser))


def _models(names: list[str], server: str | None, loading: LoadOptions) -> list[Model]:
    """What there is to ask."""
    from self1e.web.models import LocalModel, ServedModel

    if server is None:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # or waiting threads take the cores from the page
        return [LocalModel(load_segmenter(name, loading)) for name in dict.fromkeys(names)]
    from self1e.client import ServerError

    try:
        return [ServedModel(connected(server))]
    except ServerError as error:
        raise CliError(str(error)) from None


async def _serve(server: uvicorn.Server, listener: socket.socket, browser: bool) -> None:
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    show(f"the page is at {address}  (Ctrl-C ends it)")
    if browser:
        webbrowser.open(address)
    await server.serve(sockets=[listener])
