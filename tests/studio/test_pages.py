"""What the pages are made of, without a browser: files, headers, catalogues."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import hanji.studio
from hanji.studio.pages import add_pages, read_files

STATIC = Path(hanji.studio.__file__).parent / "static"
CATALOGUES = {name: json.loads((STATIC / f"texts/{name}.json").read_text("utf-8")) for name in ("en", "ko")}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = Starlette()
    add_pages(app)
    with TestClient(app, base_url="http://127.0.0.1") as one:
        yield one


def test_the_page_is_at_the_root_and_tells_the_browser_what_it_may(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405


def test_a_browser_that_has_a_file_is_told_so(client: TestClient) -> None:
    first = client.get("/pages/chat.js")
    assert first.headers["content-type"].startswith("text/javascript")
    again = client.get("/pages/chat.js", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/pages/chat.js", headers={"If-None-Match": '"other"'}).content == first.content


@pytest.mark.parametrize("name", ["nothing.js", "../pages.py", "..%2fpages.py", "/etc/passwd", "texts", ""])
def test_nothing_else_is_sent(client: TestClient, name: str) -> None:
    assert client.get(f"/pages/{name}").status_code == 404


def test_every_file_that_is_named_is_there() -> None:
    files = read_files()
    assert len(files) == sum(path.is_file() for path in STATIC.rglob("*")), "a file of an unknown kind"
    for name, file in files.items():
        text = file.content.decode()
        assert not re.search(r"""["'(`]/(?:pages|v1)""", text), (
            f"{name}: a proxy may have put us below a path"
        )
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, name
        for target in re.findall(r'(?:from|import) "(\.[^"]+)"', text):
            assert (STATIC / name).parent.joinpath(target).is_file(), f"{name} imports {target}"
        for target in re.findall(r'(?:src|href)="pages/([^"]+)"', text):
            assert target in files, f"{name} names {target}"


def test_a_script_never_parses_a_string_as_html() -> None:
    for path in STATIC.rglob("*.js"):
        forbidden = re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|DOMParser", path.read_text()
        )
        assert not forbidden, f"{path.name}: {forbidden}"


def test_both_languages_say_the_same_things() -> None:
    english, korean = CATALOGUES["en"], CATALOGUES["ko"]
    assert list(english) == list(korean)
    for key in english:
        both = [json.dumps(one[key], ensure_ascii=False) for one in (english, korean)]
        assert set(re.findall(r"\{\w+\}", both[0])) == set(re.findall(r"\{\w+\}", both[1])), key


def test_every_text_is_used_and_every_key_is_there() -> None:
    code = "\n".join(path.read_text("utf-8") for path in [*STATIC.rglob("*.js"), *STATIC.rglob("*.html")])
    named = set(re.findall(r'data-(?:text|label|hint)="(\w+)"', code))
    named |= set(re.findall(r'(?:text|label|"data-hint"): "(\w+)"', code))
    assert named
    assert not named - set(CATALOGUES["en"])
    made = re.compile(r"problem_\w+|\w+_why|\w+_hint|comment_\w+")
    unused = {key for key in CATALOGUES["en"] if not re.search(rf'"{key}"', code) and not made.fullmatch(key)}
    assert unused <= {"up", "down", "temperature", "top_p", "max_tokens", "seed"}


def test_the_pages_import_neither_torch_nor_the_service() -> None:
    script = "import sys, hanji.studio.pages; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "pydantic", "fastapi", "hanji.serving"}
    assert not heavy & set(done.stdout.split())
