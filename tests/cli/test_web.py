"""`self1e web` as a process, and what it refuses to start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from command_line import Cli, assert_one_sentence

pytest.importorskip("gradio", reason="needs gradio: pip install 'self1e[web]'")


def test_what_is_not_started(cli: Cli, tmp_path: Path) -> None:
    assert_one_sentence(cli("web", "--host", "0.0.0.0"), "0.0.0.0 is open to a network", "--api-keys")
    assert_one_sentence(cli("web", "--model", "nano", "--server", "http://127.0.0.1:9"), "leave out --model")
    assert_one_sentence(cli("web", "--dtype", "float16", "--server", "http://127.0.0.1:9"), "how to load it")
    assert_one_sentence(cli("web", "--server", "http://127.0.0.1:9", "--port", 0), "does not answer")
    assert_one_sentence(cli("web", "--model", tmp_path / "none", "--port", 0), "none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_sentence(cli("web", "--port", port), f"cannot listen at 127.0.0.1, port {port}")


def test_without_gradio(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("self1e.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert_one_sentence(cli("web"), "gradio", "pip install 'self1e[web]'")


@pytest.mark.slow
def test_it_keeps_pictures_and_prompts_to_itself(tmp_path: Path) -> None:
    log, temporary = tmp_path / "log", tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "self1e", "web", "--model", "nano", "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary), "HOME": str(tmp_path / "home")}
    with log.open("wb") as file:
        page = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, env=environment, text=True)
    assert page.stdout is not None
    address = re.search(r"the page is at (http://127\.0\.0\.1:\d+)", page.stdout.readline())
    assert address, log.read_text()
    with httpx2.Client(base_url=address[1], timeout=60) as client:
        config = client.get("/config").json()
        assert client.get("/").status_code == 200
        functions = {fn["targets"][0][1]: fn["id"] for fn in config["dependencies"]}
        session = call(client, functions["load"], [])
        key = re.search(r'data-key="([\w-]+)"', str(session))
        assert key
        client.post(f"/pictures/{key[1]}?name=secret-okapi.png", content=b"secret-okapi")
        assert "Secret-okapi.png is no picture" in str(call(client, functions["sent"], [None]))
        client.get(f"/pictures/{key[1]}/secret-okapi.jpg")
    page.send_signal(signal.SIGTERM)
    page.wait(60)
    said = log.read_text() + page.stdout.read()
    assert "okapi" not in said
    assert [path for path in temporary.rglob("*") if path.is_file()] == []


def call(client: httpx2.Client, function: int, data: list[object]) -> str:
    """What an event of the page gives, as Gradio's own pages ask for it."""
    asked = {"data": data, "fn_index": function, "session_hash": "visitor", "event_data": None}
    assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "visitor"}) as events:
        said = ""
        for line in events.iter_lines():
            said += line
            if "process_completed" in line:
                return said.encode().decode("unicode_escape")
    raise AssertionError("no answer")
