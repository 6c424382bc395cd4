"""Builds the page "try it in your browser": a folder of files that any web server can serve.

    python docs/try/build.py OUT                       the page with the bundled model `mini`
    python docs/try/build.py OUT --model nano          with another one
    python docs/try/build.py OUT --artefact DIR        with what `self1e export --to onnx` wrote
    python docs/try/build.py OUT --serve 8000          and then serves it on this machine

Needs `pip install 'self1e[export]'` to export a model, and npm to fetch onnxruntime-web, which is no part of this
repository.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from self1e.engines.artefact import SETTINGS, Artefact, open_artefact, sha256_of
from self1e.files import folder_when_complete
from self1e.segment.nouns import TaughtNouns

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[1] / "examples" / "pictures"
EXAMPLES = ("cat.jpg", "astronaut.jpg", "coffee.jpg")

ENGINE, ENGINE_VERSION = "onnxruntime-web", "1.30.0"
ENGINE_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of its package, in base64, as the registry has it."""

PROGRAMS = {
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded"),
    "webgpu": ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify"),
}
"""Where it computes -> its script, and the name of what that loads."""

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; "
    "img-src 'self' blob:; style-src 'self'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": POLICY,
}
"""What a server should say with each file. The first two allow threads; without them the page runs on one."""


def build(
    destination: Path,
    model: str = "mini",
    precision: str = "float16",
    artefact: Path | None = None,
    package: Path | None = None,
) -> None:
    """Makes the folder of the page.

    Args:
        destination: Folder to make.
        model: To export, as for `self1e export`.
        precision: That its weights are stored in.
        artefact: Folder of an exported model, of ONNX, in place of `model`.
        package: The unpacked npm package of onnxruntime-web. None: it is fetched.

    Raises:
        FileExistsError: If there is something in the folder already, or by the time the page is made.
        ValueError: If the model is damaged or of another kind, or the package of another version.
    """
    with folder_when_complete(destination, replace=False) as folder, tempfile.TemporaryDirectory() as scratch:
        fill(folder, artefact or exported(model, precision, Path(scratch) / "model"), package)


def fill(folder: Path, model: Path, package: Path | None) -> None:
    """Puts all that the page consists of into a folder; see `build`."""
    artefact = open_artefact(model)
    artefact.check_files()
    if artefact.kind != "onnx":
        raise ValueError(f"{model} was exported to {artefact.kind}: use `self1e export --to onnx`")
    for name in [*HERE.glob("*.html"), *HERE.glob("*.css"), *HERE.glob("*.js"), *HERE.glob("*.svg")]:
        shutil.copy(name, folder)
    copy_files(PICTURES, folder / "pictures", EXAMPLES)
    copy_files(model, folder / "model", [SETTINGS, *artefact.files])
    with tempfile.TemporaryDirectory() as scratch:
        copy_engine(package or fetch_engine(Path(scratch)), folder / "engine")
    (folder / "files.json").write_text(json.dumps(files_to_load(folder, artefact), indent=1), "utf-8")
    lines = ["/*", *(f"  {name}: {value}" for name, value in HEADERS.items())]
    (folder / "_headers").write_text("\n".join(lines) + "\n", "utf-8")


def copy_files(source: Path, destination: Path, names: Iterable[str]) -> None:
    """Copies files of a folder into a new one."""
    destination.mkdir()
    for name in names:
        shutil.copy(source / name, destination)


def files_to_load(folder: Path, artefact: Artefact) -> dict[str, Any]:
    """What the page loads when it is asked for a mask; its `model.js` explains the layout."""

    def entry(path: Path) -> dict[str, Any]:
        return {
            "url": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }

    return {
        "name": artefact.model,
        "nouns": artefact.nouns and TaughtNouns.from_dict(artefact.nouns).found,
        "model": {path.name: entry(path) for path in sorted((folder / "model").iterdir())},
        "engines": {
            device: {"script": f"engine/{script}", "binary": entry(folder / "engine" / f"{binary}.wasm")}
            for device, (script, binary) in PROGRAMS.items()
        },
    }


def fetch_engine(scratch: Path) -> Path:
    """Fetches the package of onnxruntime-web by npm, and unpacks it.

    Raises:
        ValueError: If there is no npm, it cannot be fetched, or it is not the one that this page was written for.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(f"npm is needed to fetch {ENGINE}: install Node.js, or give its package by --engine")
    wanted = f"{ENGINE}@{ENGINE_VERSION}"
    done = subprocess.run([npm, "pack", "--silent", wanted], cwd=scratch, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"npm cannot fetch {wanted}: {done.stderr.strip()[-500:]}")
    packed = scratch / f"{ENGINE}-{ENGINE_VERSION}.tgz"
    if base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() != ENGINE_SHA512:
        raise ValueError(f"{wanted} is not what it was (its SHA-512 differs): do not use it")
    with tarfile.open(packed) as archive:
        archive.extractall(scratch, filter="data")
    return scratch / "package"


def copy_engine(package: Path, destination: Path) -> None:
    """Copies what the page needs of onnxruntime-web."""
    version = json.loads((package / "package.json").read_text("utf-8"))["version"]
    if version != ENGINE_VERSION:
        raise ValueError(f"{package} is version {version} of {ENGINE}, and this page needs {ENGINE_VERSION}")
    names = {name for script, binary in PROGRAMS.values() for name in (script, f"{binary}.mjs", f"{binary}.wasm")}
    copy_files(package / "dist", destination, sorted(names))
    shutil.copy(HERE / "LICENSE-onnxruntime-web.txt", destination / "LICENSE.txt")


class Handler(SimpleHTTPRequestHandler):
    """Serves files with `HEADERS`."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }
    headers_sent: dict[str, str] = HEADERS

    def end_headers(self) -> None:
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")  # a page that was built again is loaded again
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def server(folder: Path, port: int, headers: dict[str, str] | None = None) -> ThreadingHTTPServer:
    """Serves a folder on this machine, to this machine only.

    Args:
        folder: That `build` made.
        port: 0 takes one that is free.
        headers: In place of `HEADERS`.
    """
    handler = type("Handler", (Handler,), {"headers_sent": HEADERS if headers is None else headers})
    return ThreadingHTTPServer(("127.0.0.1", port), partial(handler, directory=str(folder)))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--model", default="mini", help="to export, as for `self1e export` (mini)")
    parser.add_argument("--precision", default="float16", help="that its weights are stored in (float16)")
    parser.add_argument("--artefact", type=Path, metavar="DIR", help="an exported model, in place of --model")
    parser.add_argument("--engine", type=Path, metavar="DIR", help=f"unpacked npm package {ENGINE}, not to fetch it")
    parser.add_argument("--serve", type=int, metavar="PORT", help="then serve it on this machine")
    given = parser.parse_args()
    try:
        build(given.out, given.model, given.precision, given.artefact, given.engine)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{given.out}: {sum(path.stat().st_size for path in given.out.rglob('*') if path.is_file()) / 1e6:.1f} MB")
    if given.serve is not None:
        with server(given.out, given.serve) as serving:
            print(f"http://127.0.0.1:{serving.server_port}/  (Ctrl+C ends it)", flush=True)
            with suppress(KeyboardInterrupt):
                serving.serve_forever()


def exported(model: str, precision: str, folder: Path) -> Path:
    """Exports a model to ONNX."""
    from self1e.export.export import export_model

    print(f"exporting {model}", flush=True)
    export_model(model, "onnx", folder, precision)
    return folder


if __name__ == "__main__":
    main()
