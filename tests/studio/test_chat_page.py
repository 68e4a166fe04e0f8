"""The chat page in Chromium, on a small model that is served for real."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from hanji.serving.limits import Limits
from hanji.serving.models import Models
from hanji.serving.service import Service
from hanji.storage.database import Database
from hanji.storage.feedback import FeedbackBook
from hanji.storage.keys import Keys
from serving.running import KNOWN, Running, Trained, starting
from studio.conftest import Open, with_pages

pytestmark = pytest.mark.slow
COUNT = KNOWN["Count."]


def served(trained: Trained, *names: str, **parts: Any) -> Service:
    settings = {name: parts.pop(name) for name in ("slots", "queue") if name in parts}
    starts = {name: starting(trained.model, trained.tokenizer, name=name, **settings) for name in names}
    return Service(Models(starts), **parts)


@pytest.fixture
def one(trained: Trained, database: Database) -> Iterator[Running]:
    """Two names for the model that knows a few answers by heart."""
    with with_pages(served(trained, "tiny", "twin", feedback=FeedbackBook(database))) as running:
        yield running


def slow(one: Running, seconds: float, name: str = "tiny") -> None:
    """Every step of the engine takes so much longer."""
    engine = one.backend(name).engine
    step = engine.step

    def waiting() -> Any:
        time.sleep(seconds)
        return step()

    engine.step = waiting


def settle(page: Page, **settings: str) -> None:
    """Fills in settings; the likeliest answer if nothing else is said."""
    page.click("#settings-toggle")
    for name, value in {"temperature": "0", **settings}.items():
        page.fill(f"#{name}", value)
    page.click("#settings-toggle")


def ask(page: Page, text: str) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")


def answers(page: Page) -> Any:
    return page.locator(".answer .prose")


def bodies(page: Page, path: str = "completions") -> list[Any]:
    """What is sent from now on."""
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request.post_data_json) if path in request.url else None)
    return sent


def test_an_answer_streams_and_outlives_a_reload(one: Running, open_page: Open) -> None:
    slow(one, 0.05)
    page = open_page(one)
    assert page.locator("#model option").all_inner_texts() == ["tiny", "twin"]
    expect(page.locator("#message")).to_be_focused()
    settle(page, system="", max_tokens="64", seed="7")
    sent = bodies(page)
    ask(page, "Count.")
    expect(page.locator(".answer[data-state=coming] .prose")).to_contain_text("one two")
    assert "seven" not in answers(page).inner_text()
    expect(answers(page)).to_have_text(COUNT)
    expect(page.locator(".figures")).to_contain_text(re.compile(r"\d+ tokens.*tokens/s.*first after"))
    (body,) = sent
    assert body["messages"] == [{"role": "user", "content": "Count."}]
    assert {name: body[name] for name in ("temperature", "top_p", "max_tokens", "seed")} == {
        "temperature": 0, "top_p": 0.95, "max_tokens": 64, "seed": 7,
    }  # fmt: skip
    page.reload()
    expect(answers(page)).to_have_text(COUNT)
    assert page.input_value("#seed") == "7"
    ask(page, "What is hanji?")
    expect(answers(page).nth(1)).to_have_text(re.compile(r"\S"))
    assert [message["content"] for message in sent[1]["messages"]] == ["Count.", COUNT, "What is hanji?"]
    page.click("#fresh")
    expect(answers(page)).to_have_count(0)
    page.reload()
    expect(page.locator("#greeting")).to_be_visible()


def test_stop_keeps_what_there_is_and_frees_the_model(one: Running, open_page: Open) -> None:
    slow(one, 0.2)
    page = open_page(one)
    settle(page)
    for stop in (lambda: page.click("#send"), lambda: page.keyboard.press("Escape")):
        ask(page, "Count.")
        expect(page.locator(".answer[data-state=coming] .prose").last).to_contain_text("one")
        stop()
        expect(page.locator(".figures").last).to_contain_text("stopped")
        assert "seven" not in answers(page).last.inner_text()
        end = time.monotonic() + 10
        while one.backend().engine.running:
            assert time.monotonic() < end, "the model still writes"
            time.sleep(0.02)
        page.click("#fresh")


def test_a_reload_keeps_as_much_as_there_is(one: Running, open_page: Open) -> None:
    slow(one, 0.2)
    page = open_page(one)
    settle(page)
    ask(page, "Count.")
    expect(page.locator(".answer[data-state=coming] .prose")).to_contain_text("one two")
    page.reload()
    expect(answers(page)).to_contain_text("one two")
    assert "seven" not in answers(page).inner_text()
    expect(page.locator(".figures")).to_contain_text("stopped")
    page.get_by_role("button", name="Answer again").click()
    expect(answers(page)).to_have_text(COUNT)


def test_answer_again(one: Running, open_page: Open) -> None:
    page = open_page(one)
    settle(page)
    sent = bodies(page)
    ask(page, "Count.")
    expect(answers(page)).to_have_text(COUNT)
    page.get_by_role("button", name="Answer again").click()
    expect(answers(page)).to_have_text(COUNT)
    expect(page.locator(".figures")).to_be_visible()
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert answers(page).count() == 1


def test_answers_are_paged_through_and_each_is_rated(
    one: Running, open_page: Open, database: Database
) -> None:
    page = open_page(one)
    settle(page, max_tokens="3")
    ask(page, "Count.")
    expect(page.locator(".figures")).to_be_visible()
    short = answers(page).inner_text()
    pager = page.get_by_role("group", name="Answers to this message")
    expect(pager).to_have_count(0)
    page.get_by_role("button", name="Bad answer").click()
    settle(page, max_tokens="64")
    page.get_by_role("button", name="Answer again").click()
    expect(answers(page)).to_have_text(COUNT)
    assert short != COUNT
    expect(pager.get_by_role("status")).to_have_text("Answer 2 of 2")
    expect(page.locator("[data-rating=down]")).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Good answer").click()
    expect(page.locator("[data-rating=up]")).to_have_attribute("aria-pressed", "true")

    before, after = (pager.get_by_role("button", name=name) for name in ("Previous answer", "Next answer"))
    expect(after).to_have_attribute("aria-disabled", "true")
    before.focus()
    for _ in range(2):  # the second time there is none before
        page.keyboard.press("Enter")
        expect(answers(page)).to_have_text(short)
        expect(before).to_be_focused()
    expect(before).to_have_attribute("aria-disabled", "true")
    expect(page.locator("[data-rating=down]")).to_have_attribute("aria-pressed", "true")
    assert sorted(said.rating for said in FeedbackBook(database).all()) == ["down", "up"]

    page.reload()
    expect(answers(page)).to_have_text(short)
    page.click("#language")
    expect(page.get_by_role("group", name="이 메시지의 답변들").get_by_role("status")).to_have_text(
        "답변 2개 중 1번째"
    )
    assert unnamed(page) == []
    sent = bodies(page)
    ask(page, "What is hanji?")
    expect(page.locator(".figures")).to_have_count(2)
    assert [message["content"] for message in sent[0]["messages"]] == ["Count.", short, "What is hanji?"]
    expect(page.locator(".pager:visible")).to_have_count(0)
    expect(page.locator("[data-again]:visible")).to_have_count(1)


def test_an_answer_that_fails_leaves_the_one_before(one: Running, open_page: Open) -> None:
    page = open_page(one)
    settle(page)
    ask(page, "Count.")
    expect(page.locator(".figures")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".problem")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Previous answer").click()
    expect(answers(page)).to_have_text(COUNT)
    expect(page.locator(".problem")).to_have_count(0)
    page.get_by_role("button", name="Next answer").click()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(answers(page)).to_have_text(COUNT)
    expect(page.locator(".pager")).to_contain_text("2/2")


def test_two_models_side_by_side(one: Running, open_page: Open) -> None:
    page = open_page(one)
    settle(page)
    page.click("#compare")
    expect(page.locator("#second")).to_have_value("twin")
    sent = bodies(page)
    ask(page, "Count.")
    expect(answers(page)).to_have_text([COUNT, COUNT])
    assert sorted(body["model"] for body in sent) == ["tiny", "twin"]
    boxes = [page.locator(".answer").nth(side).bounding_box() for side in (0, 1)]
    assert boxes[0] and boxes[1]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    page.set_viewport_size({"width": 360, "height": 720})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    boxes = [page.locator(".answer").nth(side).bounding_box() for side in (0, 1)]
    assert boxes[0] and boxes[1]
    assert boxes[0]["x"] == boxes[1]["x"]


def differing(page: Page) -> tuple[str, str]:
    """Asks both models, so that their answers are not the same; the two."""
    settle(page, max_tokens="3")
    ask(page, "Count.")
    expect(page.locator(".figures")).to_have_count(2)
    settle(page, max_tokens="64")
    page.get_by_role("article", name="Answer of twin").get_by_role("button", name="Answer again").click()
    expect(answers(page).nth(1)).to_have_text(COUNT)
    expect(page.locator(".figures")).to_have_count(2)
    short = answers(page).first.inner_text()
    assert short != COUNT
    return short, COUNT


def read_next(page: Page, sent: list[Any]) -> dict[str, str]:
    """The answer that each model that is asked next goes on from."""
    asked, ended = len(sent), page.locator(".figures").count()
    ask(page, "What is hanji?")
    models = page.locator(".models select:visible").count()
    expect(page.locator(".figures")).to_have_count(ended + models)
    return {body["model"]: body["messages"][1]["content"] for body in sent[asked:]}


def test_each_model_goes_on_from_its_own_answer_until_one_is_chosen(one: Running, open_page: Open) -> None:
    page = open_page(one)
    page.click("#compare")
    short, whole = differing(page)
    expect(page.locator(".note")).to_contain_text("each model goes on from its own answer")
    sent = bodies(page)
    assert read_next(page, sent) == {"tiny": short, "twin": whole}
    expect(page.locator(".note:visible")).to_have_count(1)
    page.click("#compare")
    assert read_next(page, sent) == {"tiny": short}
    page.select_option("#model", "twin")
    assert read_next(page, sent) == {"twin": whole}


@pytest.mark.parametrize(("side", "name"), [(0, "tiny"), (1, "twin")])
def test_both_models_go_on_from_the_answer_that_is_chosen(
    side: int, name: str, one: Running, open_page: Open
) -> None:
    page = open_page(one)
    page.click("#compare")
    texts = differing(page)
    choices = page.get_by_role("button", name="Continue with this")
    for pressed in ("true", "false"):  # a second time takes it back
        choices.nth(side).click()
        expect(choices.nth(side)).to_have_attribute("aria-pressed", pressed)
        expect(choices.nth(1 - side)).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".note")).to_contain_text("each model goes on from its own answer")
    choices.nth(1 - side).click()
    choices.nth(side).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".note")).to_contain_text(f"goes on from the answer of {name}")
    page.reload()
    expect(choices.nth(side)).to_have_attribute("aria-pressed", "true")
    page.click("#language")
    expect(page.get_by_role("button", name="이 답변으로 계속")).to_have_count(2)
    expect(page.locator(".note")).to_contain_text(f"{name}의 답변에서 이어 갑니다")
    sent = bodies(page)
    assert read_next(page, sent) == {"tiny": texts[side], "twin": texts[side]}
    expect(page.locator(".choice:visible")).to_have_count(2)
    page.click("#compare")
    assert read_next(page, sent) == {"tiny": texts[side]}


def test_a_message_is_written_anew(one: Running, open_page: Open) -> None:
    page = open_page(one)
    settle(page)
    for question in ("What is hanji?", "Count."):
        ask(page, question)
        expect(page.locator(".actions").last).to_be_visible()
    page.locator(".message").first.hover()
    page.get_by_role("button", name="Edit").first.click()
    assert page.input_value("#message") == "What is hanji?"
    page.keyboard.press("Escape")
    assert page.input_value("#message") == ""
    page.get_by_role("button", name="Edit").first.click()
    ask(page, "Count.")
    expect(answers(page)).to_have_text([COUNT])


def test_thumbs_reach_the_database(one: Running, open_page: Open, database: Database) -> None:
    page = open_page(one)
    settle(page)
    ask(page, "Count.")
    page.get_by_role("button", name="Bad answer").click()
    expect(page.locator("[data-rating=down]")).to_have_attribute("aria-pressed", "true")
    (said,) = FeedbackBook(database).all()
    assert (said.rating, said.model, said.comment) == ("down", "tiny", None)
    page.get_by_role("textbox", name="Comment").fill("여덟이 빠졌다")
    page.get_by_role("button", name="Add comment").click()
    expect(page.get_by_text("Kept, with your comment")).to_be_visible()
    assert FeedbackBook(database).all()[0].comment == "여덟이 빠졌다"
    page.reload()
    expect(page.locator("[data-rating=down]")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Good answer").click()
    expect(page.locator("[data-rating=down]")).to_have_attribute("aria-pressed", "false")
    (said,) = FeedbackBook(database).all()
    assert (said.rating, said.comment) == ("up", None)


def test_a_key_is_asked_for_and_stays_in_the_tab(
    trained: Trained, open_page: Open, database: Database
) -> None:
    keys = Keys(database)
    _, token = keys.create("team")
    with with_pages(served(trained, "tiny", keys=keys)) as guarded:
        page = open_page(guarded)
        expect(page.locator("#key-why")).to_contain_text("wants a key")
        page.fill("#key-value", "hanji-wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-why")).to_contain_text("wrong or revoked")
        page.fill("#key-value", token)
        page.get_by_role("button", name="Use key").click()
        settle(page)
        ask(page, "Count.")
        expect(answers(page)).to_have_text(COUNT)
        assert page.evaluate("Object.values(localStorage).join()").find(token) == -1
        other = open_page(guarded)
        expect(other.locator("#key[open]")).to_be_visible()
        keys.revoke("team")
        ask(page, "Count.")
        expect(page.locator("#key[open]")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".problem")).to_contain_text("wrong or revoked")


def test_too_many_requests_wait_as_long_as_the_service_says(trained: Trained, open_page: Open) -> None:
    with with_pages(served(trained, "tiny", slots=1, queue=0, limits=Limits(queue=0))) as one:
        slow(one, 0.1)
        page = open_page(one)
        settle(page)
        page.click("#compare")
        ask(page, "Count.")
        problem = page.locator(".problem")
        expect(problem.get_by_role("button")).to_have_text(re.compile("Again in 1 second"))
        expect(problem.get_by_role("button")).to_be_disabled()
        expect(page.locator(".figures")).to_have_count(1)
        problem.get_by_role("button", name="Try again").click()
        expect(answers(page)).to_have_text([COUNT, COUNT])


def test_a_chat_that_is_too_long_says_so(one: Running, open_page: Open) -> None:
    page = open_page(one)
    ask(page, "Count. " * 600)
    expect(page.locator(".problem")).to_contain_text("too long for this model")
    expect(page.locator(".problem")).to_contain_text("takes at most")
    page.click("#language")
    expect(page.locator(".problem")).to_contain_text("대화가 너무 깁니다")


def test_a_connection_that_is_lost(one: Running, open_page: Open) -> None:
    page = open_page(one)
    settle(page)
    piece = 'data: {"id": "x", "choices": [{"delta": {"content": "one two"}}]}\n\n'
    page.route("**/v1/chat/**", lambda route: route.fulfill(body=piece, content_type="text/event-stream"))
    ask(page, "Count.")
    expect(page.locator(".problem")).to_contain_text("connection broke")
    expect(answers(page)).to_have_text("one two")
    page.unroute("**/v1/chat/**")
    page.context.set_offline(True)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".problem")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(answers(page)).to_have_text(COUNT)


def test_a_model_without_a_chat_template_continues_text(
    trained: Trained, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = served(trained, "tiny")
    with with_pages(service) as one:
        monkeypatch.setattr(service.models.all[0].tokenizer.hf, "chat_template", None)
        page = open_page(one)
        expect(page.locator("#about")).to_contain_text("continue text, not to talk")
        settle(page, max_tokens="4")
        sent = bodies(page)
        ask(page, "one two")
        expect(page.locator(".figures")).to_contain_text("cut off")
        assert sent[0]["prompt"] == "one two"
        expect(page.locator(".answer")).to_contain_text("goes on from the message")


def test_a_service_where_no_model_writes(one: Running, open_page: Open) -> None:
    page = open_page(one)
    card = {"id": "reader", "tasks": ["embedding"], "context": 8}
    page.route("**/v1/models", lambda route: route.fulfill(json={"data": [card]}))
    page.reload()
    expect(page.locator("#notice")).to_contain_text("None of the models")
    expect(page.locator("#send")).to_be_disabled()


def test_enter_that_ends_a_syllable_does_not_send(one: Running, open_page: Open) -> None:
    """As Hangul is typed: the input method shows a syllable, and Enter ends it."""
    page = open_page(one)
    sent = bodies(page)
    page.click("#message")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Input.imeSetComposition", {"text": "한", "selectionStart": 1, "selectionEnd": 1})
    page.evaluate(
        "() => addEventListener('keydown', (event) => { window.composing = event.isComposing; }, true)"
    )
    for kind in ("rawKeyDown", "keyUp"):  # without the character: the input method takes it
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        devtools.send("Input.dispatchKeyEvent", {"type": kind, **enter})
    assert page.evaluate("window.composing"), "Chromium does not compose: the test shows nothing"
    devtools.send("Input.insertText", {"text": "한"})
    page.wait_for_timeout(200)
    assert not sent
    assert page.input_value("#message") == "한"
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("paper")
    assert page.input_value("#message") == "한\npaper"
    page.keyboard.press("Enter")
    expect(page.locator(".message p")).to_have_text("한\npaper")
    assert [body["messages"][0]["content"] for body in sent] == ["한\npaper"]


def test_both_languages(one: Running, open_page: Open) -> None:
    page = open_page(one, locale="ko-KR")
    assert page.evaluate("document.documentElement.lang") == "ko"
    expect(page.locator("#greeting")).to_contain_text("무엇을 적어")
    settle(page)
    ask(page, "Count.")
    expect(page.locator(".figures")).to_contain_text("토큰")
    assert unnamed(page) == []
    page.click("#language")
    expect(page.locator(".figures")).to_contain_text("tokens")
    expect(page).to_have_title("Chat · hanji")
    assert not re.search("[가-힣]", page.locator("main").inner_text())
    assert unnamed(page) == []
    page.reload()
    assert page.evaluate("document.documentElement.lang") == "en"


def unnamed(page: Page) -> list[str]:
    """Buttons and fields that say nothing to who cannot see them."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea")]
            .filter((one) => !one.closest("[hidden], dialog"))
            .filter((one) => !(one.ariaLabel || one.labels?.length || one.innerText?.trim()))
            .map((one) => one.outerHTML)"""
    )
    return found


def test_light_and_dark(one: Running, open_page: Open) -> None:
    def background(page: Page) -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert background(open_page(one, color_scheme="light")) > 600
    page = open_page(one, color_scheme="dark")
    assert background(page) < 150
    page.click("#theme")
    assert background(page) > 600
    page.reload()
    assert background(page) > 600
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        for name in ("--ink", "--faint", "--seal"):
            assert contrast(page, name) >= 4.5, f"{name} on {theme} paper"


def contrast(page: Page, name: str) -> float:
    """Between a colour and the paper, as WCAG counts it."""
    channels = page.evaluate(
        """(name) => [name, "--paper"].map((one) => {
            document.body.style.color = `var(${one})`;
            return getComputedStyle(document.body).color.match(/\\d+/g).slice(0, 3).map(Number);
        })""",
        name,
    )

    def luminance(rgb: list[int]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted(map(luminance, channels), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_keyboard_alone(one: Running, open_page: Open) -> None:
    page = open_page(one)
    ask(page, "Count.")
    expect(page.locator(".actions")).to_be_visible()
    names = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        names.add(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.id"))
    assert {"Copy", "Answer again", "Good answer", "Bad answer", "Settings", "New chat", "Message"} <= names
