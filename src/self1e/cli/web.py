"""`self1e web`: a page to show a picture, say what to find, and see it."""

from __future__ import annotations

import asyncio
import os
import warnings
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from self1e.cli.options import (
    MODEL_HELP,
    ApiKeys,
    Host,
    MaxMegabytes,
    MaxPixels,
    OpenToAll,
    Port,
    load_segmenter,
    with_load_options,
)
from self1e.cli.segment_server import connected
from self1e.cli.serve import address_of, http_server, keys_of, listening
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
    host: Host = "127.0.0.1",
    port: Port = 7860,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = False,
    *,
    loading: LoadOptions,
    api_keys: ApiKeys = None,
    open_to_all: OpenToAll = False,
    max_mb: MaxMegabytes = 20.0,
    max_pixels: MaxPixels = 50_000_000,
) -> None:
    """Show a page in the browser: pictures, prompts, masks, and how they come to be.

    Listens on this machine only, unless told otherwise, and needs no network. Ctrl-C ends it.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
    try:
        from self1e.serve.limits import Limits
        from self1e.web.app import make_app
    except ImportError as error:
        raise CliError(f"the page needs more packages ({error.name} is missing): pip install 'self1e[web]'") from None
    if server is not None and (model or loading != LoadOptions()):
        raise CliError("--server has a model of its own: leave out --model and how to load it, or --server")
    keys = keys_of(api_keys, host, open_to_all)
    limits = Limits(body_bytes=int(max_mb * 1e6), pixels=max_pixels)
    with listening(host, port) as listener:
        models = _models(model or list(BUNDLED), server, loading)
        warnings.simplefilter("ignore")  # they may hold prompts, which belong into no log: the page has them
        app = make_app(models, limits=limits, keys=keys, host=host)
        asyncio.run(_serve(http_server(app, patience=2), listener, browser))


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
    show(f"the page is at {address_of(listener)}  (Ctrl-C ends it)")
    if browser:
        webbrowser.open(address_of(listener))
    await server.serve(sockets=[listener])
