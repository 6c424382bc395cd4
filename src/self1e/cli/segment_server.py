"""`self1e segment --server URL`: pictures are segmented by a server, and results written here."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from self1e.cli.inputs import Picture
from self1e.cli.segment_plan import Kept, Plan
from self1e.cli.terminal import CliError

if TYPE_CHECKING:
    from self1e.client import Client
    from self1e.segment.files import Done
    from self1e.segment.results import Segmentation

KEY_VARIABLE = "SELF1E_API_KEY"

AT_ONCE = 8
"""Pictures that are at the server, or on the way: it shares passes among what comes together."""

TRIES = 6
"""Of a picture, when the server has too much to do, each after the seconds that it asks for."""


def connected(url: str) -> Client:
    """A client, with the key that the environment has.

    Raises:
        CliError: Without the packages for that.
    """
    try:
        from self1e.client import Client
    except ModuleNotFoundError:  # of the client itself, which is no part of self1e-runtime: the shell says so
        raise
    except ImportError as error:
        raise CliError(str(error)) from None
    return Client(url, key=os.environ.get(KEY_VARIABLE))


def model_of(client: Client) -> dict[str, Any]:
    """What results depend on: the server's model.

    Raises:
        CliError: When there is no server, or it does not answer.
    """
    from self1e.client import ServerError

    try:
        facts = client.models()[0]
    except ServerError as error:
        hint = f" (the key is taken from {KEY_VARIABLE})" if error.status == 401 else ""
        raise CliError(f"{error}{hint}") from None
    return {name: facts[name] for name in ("name", "dtype", "quantization", "parameters")}


def outcomes_of_server(plan: Plan, client: Client) -> Generator[Done[Kept], None, None]:
    """What becomes of each picture, in order.

    Raises:
        CliError: When the server does not answer any more, or refuses all that comes.
    """
    from self1e.client import ServerError
    from self1e.processing.images import ImageError
    from self1e.segment.files import Done, ProcessError

    def work(picture: Picture) -> Kept:
        return plan.common.keep(picture, asked(client, picture, plan))

    waiting: deque[tuple[int, Future[Kept]]] = deque()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="self1e")
    try:
        todo = enumerate(plan.pictures)
        while True:
            while len(waiting) < 2 * AT_ONCE and (new := next(todo, None)) is not None:
                waiting.append((new[0], pool.submit(work, new[1])))
            if not waiting:
                return
            number, future = waiting.popleft()
            source = str(plan.pictures[number].source)
            try:
                yield Done(number, source, future.result())
            except ImageError as error:
                yield Done(number, source, error=error)
            except ServerError as error:
                if error.status not in (413, 414, 422, 500, 503):
                    raise CliError(f"{error}; the same command goes on from here") from None
                yield Done(number, source, error=ProcessError(f"{source}: {error}"))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def asked(client: Client, picture: Picture, plan: Plan) -> list[Segmentation]:
    """The results for a picture."""
    from self1e.client import ServerError

    source: Any = picture.source  # an address, or a picture of a table, is read like an open file
    template: Any = plan.wanted.template
    for tries in range(1, TRIES + 1):
        try:
            return client.segment(source, list(picture.prompts), template=template, logits=plan.wanted.instances)
        except ServerError as error:
            if error.retry_after is None or tries == TRIES:
                raise
            time.sleep(error.retry_after)
    raise AssertionError("the last try ends in a result or an error")
