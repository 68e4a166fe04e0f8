// One answer on the page: its text while it comes, figures in small print, and what can be done with it.

import { element, iconButton } from "../dom.js";
import { icon } from "../icons.js";
import { languageOf, translate } from "../language.js";
import { render } from "../markdown.js";
import { thumbs } from "./feedback.js";
import { problemView } from "./problems.js";

/** The view of an answer. `again` asks anew and `changed` keeps what was said of it. */
export class AnswerView {
  constructor(answer, { again, changed }) {
    this.answer = answer;
    this.again = again;
    this.changed = changed;
    this.text = element("div", { class: answer.isChat ? "prose" : "prose verbatim" });
    this.foot = element("footer");
    this.element = element(
      "article",
      { class: "answer", label: "answer_of", values: { model: answer.model } },
      element("h2", { class: "small" }, answer.model),
      answer.isChat ? null : element("p", { class: "small hint", text: "continues" }),
      this.text,
      this.foot,
    );
    this.painting = false;
    this.end();
  }

  /** Whether more may come. */
  get isOpen() {
    return this.answer.state === "waiting" || this.answer.state === "coming";
  }

  /** Paints what there is before the next frame; at the end also what stands below it. */
  update() {
    if (!this.isOpen) this.end();
    else if (!this.painting) {
      this.painting = true;
      requestAnimationFrame(() => {
        this.painting = false;
        if (this.isOpen) this.paint();
      });
    }
  }

  paint() {
    const { answer } = this;
    this.element.dataset.state = answer.state;
    this.element.setAttribute("aria-busy", String(this.isOpen));
    const lang = languageOf(answer.text);
    if (lang) this.text.lang = lang;
    if (answer.isChat) render(answer.text, this.text, codeBlock);
    else this.text.textContent = answer.text;
    translate(this.text);
  }

  /** Shows whether it can be asked for anew. */
  allow(isLast) {
    const button = this.foot.querySelector("[data-again]");
    if (button) button.hidden = !isLast;
  }

  end() {
    this.paint();
    this.foot.replaceChildren();
    if (this.isOpen) return;
    const { answer } = this;
    if (answer.state === "failed" && answer.problem) this.foot.append(problemView(answer.problem, this.again));
    if (answer.state !== "failed") this.foot.append(this.actions());
    translate(this.element);
  }

  actions() {
    const { answer } = this;
    const row = element("div", { class: "row actions" });
    const again = iconButton("again", "regenerate", this.again, { "data-again": true });
    row.append(copyButton(() => answer.text), again);
    if (answer.id) {
      const { group, below } = thumbs(answer, this.changed);
      row.append(group, figures(answer));
      return element("div", {}, row, below);
    }
    row.append(figures(answer));
    return row;
  }
}

function figures({ completion, rest, first, finish, state }) {
  const parts = [];
  const add = (text, values) => parts.push(element("span", { text, values }));
  if (completion) add(state === "done" ? "tokens" : "tokens_about", { count: completion });
  if (completion > 1 && rest > 0.05) add("speed", { speed: Number(((completion - 1) / rest).toPrecision(3)) });
  if (first) add("first_after", { seconds: Number(first.toPrecision(2)) });
  if (state === "stopped") add("was_stopped");
  else if (finish === "length") add("ended_at_limit");
  return element("span", { class: "small figures" }, ...parts);
}

/** A button that copies; where the browser allows no clipboard (plain HTTP to another machine), by selection. */
export function copyButton(text) {
  const button = iconButton("copy", "copy", async () => {
    await copy(text());
    button.replaceChildren(icon("done"));
    button.dataset.label = "copied";
    translate(button);
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.dataset.label = "copy";
      translate(button);
    }, 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = element("textarea", { class: "unseen", readonly: true });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}

function codeBlock(text, name) {
  const head = element("div", { class: "row small" }, element("span", {}, name), copyButton(() => text));
  return element("div", { class: "code" }, head, element("pre", { tabindex: 0 }, element("code", {}, text)));
}
