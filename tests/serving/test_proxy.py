"""deploy/nginx.conf in front of a service: answers come event by event, and a replica may be missing."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import DefaultHttpxClient, OpenAI

from serving.running import KNOWN, Running

pytestmark = pytest.mark.slow
CONFIG = Path(__file__).parents[2] / "deploy" / "nginx.conf"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def get(url: str) -> str:
    unsure = ssl.create_default_context()
    unsure.check_hostname, unsure.verify_mode = False, ssl.CERT_NONE
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=unsure))
    with urllib.request.build_opener(*handlers).open(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


@pytest.fixture(scope="module")
def proxied(tiny: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx with our file but for addresses and certificate: one replica is there, and one is not."""
    nginx, openssl = shutil.which("nginx"), shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx and openssl are not installed here")
    folder = tmp_path_factory.mktemp("nginx")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", folder / "own.key", "-out", folder / "own.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    port, missing = free_port(), free_port()
    alive = tiny.url.rpartition(":")[2]
    text = CONFIG.read_text()
    for pattern, instead in (
        (r"listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        (r"server_name [^;]+;", "server_name localhost;"),
        (r"/etc/ssl/[^;]+\.(pem|key);", rf"{folder}/own.\1;"),
        (
            r"server 127\.0\.0\.1:8000 ([^;]+);",
            rf"server 127.0.0.1:{missing} \1; server 127.0.0.1:{alive} \1;",
        ),
    ):
        text, count = re.subn(pattern, instead, text)
        assert count, pattern
    around = (
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};\n"
        f"fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n{text}\n}}\n"
    )
    (folder / "nginx.conf").write_text(around)
    process = subprocess.Popen([nginx, "-e", folder / "error.log", "-c", folder / "nginx.conf"])
    try:
        url = f"https://127.0.0.1:{port}"
        for _ in range(100):
            try:
                get(f"{url}/ready")
                break
            except OSError:
                assert process.poll() is None, (folder / "error.log").read_text()
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def client(proxied: str) -> OpenAI:
    return OpenAI(
        base_url=f"{proxied}/v1", api_key="none", max_retries=0,
        http_client=DefaultHttpxClient(verify=False, trust_env=False),
    )  # fmt: skip


def test_answers_come_event_by_event(client: OpenAI) -> None:
    came, text = [], ""
    stream = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "What is hanji?"}], temperature=0, stream=True,
        max_tokens=400, extra_body={"ignore_eos": True},
    )  # fmt: skip
    began = time.monotonic()
    for chunk in stream:
        came.append(time.monotonic() - began)
        text += chunk.choices[0].delta.content or ""
    assert text.startswith(KNOWN["What is hanji?"])
    assert len(came) > 200
    assert came[20] < came[-1] / 4, "events were held back"


def test_a_replica_that_is_missing_is_passed_by(client: OpenAI) -> None:
    for _ in range(6):
        told = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Count."}], temperature=0
        )
        assert told.choices[0].message.content == KNOWN["Count."]


def test_figures_are_for_this_machine(proxied: str) -> None:
    assert "hanji_requests_total" in get(f"{proxied}/metrics")
