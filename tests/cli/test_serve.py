"""`self1e serve` as a process, and what it refuses to start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
from command_line import Cli, assert_one_sentence

from self1e.cli.serve import listening

CAT = Path(__file__).parents[2] / "examples" / "pictures" / "cat.jpg"


def test_what_is_not_started(cli: Cli, tmp_path: Path) -> None:
    assert_one_sentence(cli("serve", "--host", "0.0.0.0"), "0.0.0.0 is open to a network", "--api-keys")
    keys = tmp_path / "keys.txt"
    keys.write_text("short")
    assert_one_sentence(cli("serve", "--api-keys", keys), "shorter than 16 characters")
    assert_one_sentence(cli("serve", "--model", tmp_path / "none"), "none")
    for address in ("127.0.0.1:8080", "http://me:secret@127.0.0.1:8080", "http://127.0.0.1:8080/projects/1"):
        assert_one_sentence(cli("serve", "--label-studio", address), "an address like http://127.0.0.1:8080", address)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_sentence(cli("serve", "--port", port), f"cannot listen at 127.0.0.1, port {port}")


@pytest.mark.slow
def test_it_finishes_what_it_took_and_keeps_prompts_to_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "self1e", "serve", "--port", "0", "--queue", "1"]
    environment = os.environ | {"SELF1E_API_KEYS": "k" * 24, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, env=environment, text=True, start_new_session=True
        )
    assert server.stdout is not None
    said = server.stdout.readline()
    address = re.search(r"mini answers at (http://127\.0\.0\.1:\d+)", said)
    assert address, (said, log.read_text())
    with httpx2.Client(base_url=address[1], timeout=60, headers={"Token": "k" * 24}) as client:
        assert httpx2.get(f"{address[1]}/api/v1/models").status_code == 401
        answers: list[httpx2.Response] = []

        def ask(prompt: str) -> None:
            data = {"prompt": [prompt] * 20}
            answers.append(client.post("/api/v1/segment", files={"image": CAT.read_bytes()}, data=data))

        asking = [threading.Thread(target=ask, args=(f"the secret-zebra {number}",)) for number in range(8)]
        for thread in asking:
            thread.start()
        while "self1e_in_work 8" not in client.get("/metrics").text and not answers:
            pass
        os.killpg(server.pid, signal.SIGTERM)  # all of its processes are told, as systemd does
        for thread in asking:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 8
        assert server.wait(60) == -signal.SIGTERM
        with pytest.raises(httpx2.ConnectError):
            client.get("/healthz")
    assert "zebra" not in log.read_text() + server.stdout.read()


def test_answers_leave_at_once() -> None:
    """asyncio sees to that only for sockets that name their protocol, and the one it is given does not."""
    with listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
