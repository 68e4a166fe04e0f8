"""What a model writes becomes elements, and never does anything."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from hanji.serving.models import Models
from hanji.serving.service import Service
from serving.running import Running, Trained, starting
from studio.conftest import Open, with_pages

pytestmark = pytest.mark.slow

RENDER = """async (text) => {
    const { render } = await import("/pages/markdown.js");
    const place = document.createElement("div");
    render(text, place);
    return place.innerHTML;
}"""
CASES = {
    "a **bold** and *slanted* word": "<p>a <strong>bold</strong> and <em>slanted</em> word</p>",
    '**"한지"**는 종이다': '<p><strong>"한지"</strong>는 종이다</p>',
    "*a **b** c*": "<p><em>a <strong>b</strong> c</em></p>",
    "snake_case_name and __init__": "<p>snake_case_name and <strong>init</strong></p>",
    "2 * 3 * 4": "<p>2 * 3 * 4</p>",
    "~~old~~ `a*b*` ``x`y``": "<p><del>old</del> <code>a*b*</code> <code>x`y</code></p>",
    "one\ntwo": "<p>one<br>two</p>",
    r"\*plain\*": "<p>*plain*</p>",
    "# Title #\ntext": "<h3>Title</h3><p>text</p>",
    "- a\n  - b\n- c": "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>",
    "3. a\n4. b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "text\n- a": "<p>text</p><ul><li>a</li></ul>",
    "> a\n> b": "<blockquote><p>a<br>b</p></blockquote>",
    "```py\n<b>\n```\nend": "<pre><code>&lt;b&gt;</code></pre><p>end</p>",
    "~~~\nopen": "<pre><code>open</code></pre>",
    "---": "<hr>",
    "a | b\n--|--:\n1 | 2": '<div class="wide"><table><thead><tr><th>a</th><th class="right">b</th></tr>'
    '</thead><tbody><tr><td>1</td><td class="right">2</td></tr></tbody></table></div>',
}
LINK = ' target="_blank" rel="noopener noreferrer nofollow"'
LINKS = {
    "[a](https://x.org/y_(z))": f'<p><a href="https://x.org/y_(z)"{LINK}>a</a></p>',
    "see https://x.org/a.": f'<p>see <a href="https://x.org/a"{LINK}>https://x.org/a</a>.</p>',
    "https://x.org에서": f'<p><a href="https://x.org/"{LINK}>https://x.org</a>에서</p>',
    "![p](https://x.org/p.png)": f'<p><a href="https://x.org/p.png"{LINK}>p</a></p>',
    "[a](javascript:alert(1))": "<p><span>a</span></p>",
    "[a](JaVaScRiPt:alert(1))": "<p><span>a</span></p>",
    "[a](data:text/html,x)": "<p><span>a</span></p>",
    "[a](/v1/models)": "<p><span>a</span></p>",
}
NASTY = """<script>window.harmed = 1</script>
<img src=x onerror="window.harmed = 1"> <svg onload="window.harmed = 1">
[a](javascript:window.harmed=1) [b](vbscript:x) <a href="javascript:window.harmed=1">c</a>
![d](https://example.com/track.png) <iframe srcdoc="<script>parent.harmed = 1</script>"></iframe>
```html"onmouseover="window.harmed=1
<style>body { display: none }</style>
```
"""


@pytest.fixture(scope="module")
def page(chromium: Browser, quiet: Running) -> Iterator[Page]:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(quiet.url)
    yield page
    context.close()


@pytest.fixture(scope="module")
def quiet(trained: Trained) -> Iterator[Running]:
    with with_pages(Service(Models({"tiny": starting(trained.model, trained.tokenizer)}))) as one:
        yield one


@pytest.mark.parametrize("text", [*CASES, *LINKS])
def test_markdown(page: Page, text: str) -> None:
    assert page.evaluate(RENDER, text) == {**CASES, **LINKS}[text]


@pytest.mark.parametrize(
    "text", ["> " * 5000, "*" * 20_000, "[" * 20_000, "`" * 9999 + "a", "- " * 5000, "|-" * 9000]
)
def test_what_no_person_writes_takes_no_time(page: Page, text: str) -> None:
    timed = f"""async (text) => {{
        const from = performance.now();
        await ({RENDER})(text);
        return performance.now() - from;
    }}"""
    took = page.evaluate(timed, text)
    assert took < 2000


def test_a_stream_gives_what_the_whole_gives(page: Page) -> None:
    text = "\n\n".join(CASES)
    piecewise = """async (text) => {
        const { render } = await import("/pages/markdown.js");
        const place = document.createElement("div");
        for (let end = 1; end <= text.length; end += 1) render(text.slice(0, end), place);
        return place.innerHTML;
    }"""
    assert page.evaluate(piecewise, text) == page.evaluate(RENDER, text)


def test_what_a_model_writes_never_runs(quiet: Running, open_page: Open) -> None:
    page = open_page(quiet)
    events = [
        {"id": "x", "choices": [{"delta": {"content": NASTY[at : at + 9]}}]} for at in range(0, len(NASTY), 9)
    ]
    stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    page.route("**/v1/chat/**", lambda route: route.fulfill(body=stream, content_type="text/event-stream"))
    page.fill("#message", NASTY)
    page.press("#message", "Enter")
    expect(page.locator(".actions")).to_be_visible()
    page.wait_for_timeout(200)
    assert page.evaluate("window.harmed") is None
    inside = page.locator(".turn")
    assert inside.locator("script, img, iframe, style, [onmouseover], a[href^=javascript]").count() == 0
    assert "<script>window.harmed = 1</script>" in inside.locator(".prose").inner_text()
