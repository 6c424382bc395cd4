"""How the page `docs/try` loads its model, and what becomes of one that fails."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from page_in_node import in_node

import self1e

NANO = Path(self1e.__file__).parent / "assets" / "nano"
SETTINGS = {
    "format": 1,
    "model": "drawn",
    "programs": {"picture": "picture.onnx", "masks": "masks.onnx"},
    "image_size": 8,
    "max_tiles": 1,
    "mean": [0.5, 0.5, 0.5],
    "deviation": [0.5, 0.5, 0.5],
    "tokens_per_tile": 1,
    "map_side": 1,
    "context": 60,
    "packed": True,
    "prefix": [],
    "questions": {"phrase": "{phrase}?", "sentence": "{sentence}"},
    "calibration": None,
    "nouns": None,
}

ENGINE = """
export const env = { wasm: {} };
export class Tensor {}
const create = async (_, { executionProviders: [device] }) => ({
  inputNames: [],
  run: async () => ({ logits: { dims: [1, 1, 1], data: Float32Array.of(globalThis.computes(device)) } }),
});
export const InferenceSession = { create };
"""
"""In the place of onnxruntime-web."""

THREAD = """
const [posted, listeners] = [[], []];
const set = (name, value) => Object.defineProperty(globalThis, name, { value });
set("self", { addEventListener: (_, listener) => listeners.push(listener), postMessage: (each) => posted.push(each) });
set("navigator", { gpu: { requestAdapter: async () => ({ info: { isFallbackAdapter: false } }) } });
set("fetch", async (url) => new Response(given.contents[url.pathname.slice(1)]));
set("OffscreenCanvas", class {
  getContext() {
    const getImageData = (x, y, width, height) => ({ data: new Uint8ClampedArray(4 * width * height) });
    return { fillRect() {}, drawImage() {}, getImageData };
  }
});
globalThis.computes = () => 3;
await import("./worker.js");
const ask = async (call, asked) => {
  const number = posted.length;
  listeners[0]({ data: { call, number, given: asked } });
  const answer = () => posted.find((each) => each.number === number);
  while (!answer()) await new Promise(setImmediate);
  return answer();
};
const load = () => ask("load", { base: "http://here/", device: given.device });
const look = () => ask("look", { bitmap: { width: 8, height: 8, close() {} } });
"""
"""Runs `worker.js`; `computes` is what the engine gives."""


@pytest.mark.parametrize(
    ("content", "hashing", "says"),
    [
        ("right", True, None),
        ("wrong", True, "model/it is not what was built (its SHA-256 differs): reload the page."),
        ("wrong", False, None),
        ("cut", True, "model/it came with 3 bytes in place of 5: reload the page."),
    ],
)
def test_files_are_what_was_built(content: str, hashing: bool, says: str | None) -> None:
    """As far as browsers hash: they do so on https:// and on the machine itself."""
    found = in_node(
        'import { Download } from "./download.js";',
        """
        globalThis.fetch = async () => new Response(given.content);
        if (!given.hashing) Object.defineProperty(globalThis, "crypto", { value: {} });
        const download = new Download(new URL("http://here/"), () => {});
        const entry = { url: "model/it", bytes: 5, sha256: given.sha256 };
        return download.all({ it: entry }).then(() => null, (error) => error.message);
        """,
        {"content": content, "hashing": hashing, "sha256": hashlib.sha256(b"right").hexdigest()},
    )
    assert found == says


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    """A page whose engine is `ENGINE`."""
    (tmp_path / "engine.mjs").write_text(ENGINE, "utf-8")
    contents = {"artefact.json": json.dumps(SETTINGS), "tokenizer.json": (NANO / "tokenizer.json").read_text("utf-8")}
    contents |= {"picture.onnx": "p", "masks.onnx": "m", "engine.wasm": "e"}

    def entry(name: str) -> dict[str, Any]:
        content = contents[name].encode()
        return {"url": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    engine = {"script": (tmp_path / "engine.mjs").as_uri(), "binary": entry("engine.wasm")}
    files = {
        "name": "drawn",
        "nouns": None,
        "model": {name: entry(name) for name in contents if name != "engine.wasm"},
        "engines": {"wasm": engine, "webgpu": engine},
    }
    return {"contents": contents | {"files.json": json.dumps(files)}, "device": None}


@pytest.mark.parametrize(
    ("computes", "says"),
    [
        ("() => { throw new Error('Aborted()'); }", "Aborted()"),
        ("() => NaN", "overflow"),
        ("() => Infinity", "overflow"),
    ],
)
def test_an_engine_that_fails_is_not_asked_again(given: dict[str, Any], computes: str, says: str) -> None:
    """The page starts another thread after what is fatal."""
    body = f"""
    {THREAD}
    const before = [await load(), await look(), await ask("find", {{ prompts: ["the cat"] }})];
    globalThis.computes = {computes};
    return [...before, await ask("find", {{ prompts: ["the cat"] }})];
    """
    loaded, looked, found, failed = in_node("", body, given | {"device": "webgpu"})
    assert loaded["result"]["device"] == "webgpu"
    assert "error" not in looked
    assert found["result"][0]["map"]["logits"] == [3]
    assert failed["fatal"]
    assert failed["error"].startswith("The model failed (") and says in failed["error"]


def test_a_prompt_that_fails_is_not_fatal(given: dict[str, Any]) -> None:
    body = f'{THREAD} await load(); await look(); return ask("find", {{ prompts: ["the cat ".repeat(99)] }});'
    failed = in_node("", body, given)
    assert "tokens too long" in failed["error"]
    assert not failed["fatal"]


def test_a_gpu_that_gives_no_numbers_is_not_used(given: dict[str, Any]) -> None:
    body = f'{THREAD} globalThis.computes = (device) => (device === "webgpu" ? NaN : 3); return load();'
    assert in_node("", body, given)["result"]["device"] == "wasm"


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ("undefined", ["wasm"]),
        ("{ requestAdapter: async () => null }", ["wasm"]),
        ("{ requestAdapter: async () => { throw new Error(); } }", ["wasm"]),
        ("{ requestAdapter: async () => ({ info: { isFallbackAdapter: true } }) }", ["wasm"]),
        ("{ requestAdapter: async () => ({ info: {} }) }", ["webgpu", "wasm"]),
    ],
)
def test_what_there_is_to_compute_with(gpu: str, expected: list[str]) -> None:
    found = in_node(
        'import { devices } from "./devices.js";',
        f'Object.defineProperty(globalThis, "navigator", {{ value: {{ gpu: {gpu} }} }}); return devices();',
        None,
    )
    assert found == expected
