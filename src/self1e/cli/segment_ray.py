"""What `self1e segment --ray` needs besides the pictures: a Ray cluster, and machines that see the same files.

Results are written where they are made: through one machine would go, picture by picture, the overlays of all. That
asks for folders that all machines share, as pictures do already. What needs none are forms without a file for each
picture, and lines of JSON on stdout: these come back and are written here, as are the lists of what is done and failed.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from self1e.cli.inputs import Picture
from self1e.cli.options import load_on_device
from self1e.cli.segment_plan import Plan
from self1e.cli.terminal import CliError
from self1e.data.forms.needs import package
from self1e.engines.artefact import is_artefact
from self1e.files import expand_user, locked
from self1e.processing.sources import Row
from self1e.segment.options import LoadOptions
from self1e.version import __version__

if TYPE_CHECKING:
    from self1e.segment.segmenter import Segmenter


#: What happens to its processes Ray would print on stdout, where results are expected; its files have it, too. And it
#: would tell its makers that it is used.
SETTINGS = {"RAY_DEDUP_LOGS_SKIP_REGEX": ".", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def on_cluster(
    address: str, plan: Plan, pictures: Sequence[Picture], model: str, loading: LoadOptions
) -> Iterator[Callable[..., Segmenter]]:
    """Connects with a Ray cluster, for as long as the block lasts.

    Args:
        address: As Ray has it: "auto" is the cluster that this machine is in.
        plan: Where results go.
        pictures: The first of them has to be seen everywhere.
        model: Its name.
        loading: How to load it.

    Yields:
        What loads the model on a machine of the cluster.

    Raises:
        MissingPackage: Without Ray.
        CliError: When there is no such cluster.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    package("ray", extra="ray", what="--ray")
    import ray

    try:
        check_reachable(address)
        with no_stderr():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CliError(
            f"cannot connect with a Ray cluster at {address!r} ({reason}): start one (`ray start --head`), and give "
            "auto on a machine of it, or HOST:PORT"
        ) from None
    try:
        source = pictures[0].source
        first = source.file if isinstance(source, Row) else source
        needed = [path for path in (first, expand_user(model)) if isinstance(path, Path) and path.exists()]
        with new_file(plan) as files:
            seen = [Path.cwd() / path for path in (*files, *needed)]
            yield partial(load_there, model, loading, Path.cwd(), seen, __version__)
    finally:
        ray.shutdown()


def device_there(model: str, loading: LoadOptions) -> str:
    """What to ask the cluster for: no GPU is kept for an exported model, which would not use it."""
    exported = loading.device == "auto" and is_artefact(model, loading.subfolder)
    return "cpu" if exported else str(loading.device)


@contextmanager
def no_stderr() -> Iterator[None]:
    """Keeps what Ray's core, which is not written in Python, says of `SETTINGS` off the terminal."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123  # which is no path everywhere
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def check_reachable(address: str) -> None:
    """Raises OSError if nobody answers at HOST:PORT, for which Ray would wait several minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def new_file(plan: Plan) -> Iterator[list[Path]]:
    """A file that is new in the folder of results, if pictures have files there: who sees it is in the same folder."""
    if plan.out is None or not any(form.file for form in plan.forms):
        yield []
        return
    path = plan.out / f".{os.urandom(8).hex()}.tmp"  # which `remove_leftovers` removes, unless it is held
    try:
        with path.open("xb") as file, locked(file):
            yield [path]
    finally:
        path.unlink(missing_ok=True)


def load_there(
    model: str, loading: LoadOptions, folder: Path, seen: Sequence[Path], version: str, device: str
) -> Segmenter:
    """Loads the model on another machine, once it is sure that this has what it needs.

    Args:
        model: Its name.
        loading: How to load it.
        folder: Where relative paths begin.
        seen: What has to be there.
        version: Of self1e.
        device: Where to.

    Raises:
        CliError: When it has not.
    """
    machine = socket.gethostname()
    if version != __version__:
        raise CliError(f"the machine {machine} has self1e {__version__}, this one {version}: install the same")
    for path in seen:
        if not path.exists():
            raise CliError(
                f"the machine {machine} does not see {path}: all machines of a Ray cluster need the same folders under "
                "the same paths; docs/big-jobs.md says which"
            )
    with suppress(OSError):  # nothing is relative to it, or something would not be seen
        os.chdir(folder)
    return load_on_device(model, loading, device)
