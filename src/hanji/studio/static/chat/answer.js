// A side of a turn on the page: one answer, its text while it comes, figures in small print, and what can be done.

import { element, iconButton } from "../dom.js";
import { icon } from "../icons.js";
import { languageOf, translate } from "../language.js";
import { render } from "../markdown.js";
import { isOpen, shown } from "./conversation.js";
import { thumbs } from "./feedback.js";
import { pager } from "./pager.js";
import { problemView } from "./problems.js";

/**
 * The view of a side. `again` asks anew, `changed` keeps what was said or is shown, `choose` goes on from it;
 * without `choose` there is nothing to choose from.
 */
export class AnswerView {
  constructor(side, { again, changed, choose }) {
    this.side = side;
    this.again = again;
    this.changed = changed;
    const { answer } = this;
    this.text = element("div", { class: answer.isChat ? "prose" : "prose verbatim" });
    this.foot = element("footer");
    this.pager = pager(side, () => {
      this.end();
      changed();
    });
    this.choice = choose && choiceButton(choose);
    this.element = element(
      "article",
      { class: "answer", label: "answer_of", values: { model: answer.model } },
      element("div", { class: "row" }, element("h2", { class: "small" }, answer.model), this.pager.group),
      answer.isChat ? null : element("p", { class: "small hint", text: "continues" }),
      this.text,
      this.foot,
      this.choice,
    );
    this.painting = false;
    this.end();
  }

  /** The answer that is shown. */
  get answer() {
    return shown(this.side);
  }

  /** Whether more may come. */
  get isOpen() {
    return isOpen(this.answer);
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
    else this.text.removeAttribute("lang");
    if (answer.isChat) render(answer.text, this.text, codeBlock);
    else this.text.textContent = answer.text;
    translate(this.text);
  }

  /** Shows what can be done: only in the last turn is there another answer, an earlier one, or a choice. */
  allow(isLast, isChosen) {
    const button = this.foot.querySelector("[data-again]");
    if (button) button.hidden = !isLast;
    this.pager.show(isLast && !this.isOpen);
    this.element.toggleAttribute("data-chosen", isChosen);
    if (!this.choice) return;
    this.choice.hidden = !isLast || this.isOpen || !this.answer.text;
    this.choice.setAttribute("aria-pressed", String(isChosen));
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

function choiceButton(choose) {
  return element("button", { type: "button", class: "plain choice", onclick: choose }, icon("done"), element("span", { text: "choose" }));
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
