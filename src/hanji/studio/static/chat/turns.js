// The conversation on the page.

import { element, iconButton } from "../dom.js";
import { languageOf, translate } from "../language.js";
import { AnswerView } from "./answer.js";
import { chosen } from "./conversation.js";

const NEAR = 80; // pixels from the end: somebody who is there wants to see what comes

/** The views of all turns. `on`: `again(turn, side)`, `choose(turn, side)`, `edit(index)`, `changed()`. */
export class Turns {
  constructor(place, sheet, on) {
    this.place = place;
    this.sheet = sheet;
    this.on = on;
    this.views = new Map();
  }

  /** Shows the turns; those that are there already stay. */
  show(turns) {
    for (const [turn, view] of this.views) {
      if (turns.includes(turn)) continue;
      view.element.remove();
      this.views.delete(turn);
    }
    for (const [index, turn] of turns.entries()) {
      if (this.views.has(turn)) continue;
      const view = this.draw(turn, index);
      this.views.set(turn, view);
      this.place.append(view.element);
    }
    this.allow(turns);
  }

  /** Shows what can be done in the last turn, and from which answers the conversation goes on. */
  allow(turns) {
    for (const [turn, { answers, note }] of this.views) {
      const isLast = turn === turns.at(-1);
      const from = chosen(turn);
      for (const view of answers) view.allow(isLast, view.answer === from);
      note.hidden = answers.length === 1 || !(isLast || from);
      note.dataset.text = from ? "goes_on_from" : "goes_on";
      note.dataset.values = JSON.stringify({ model: from?.model });
      translate(note);
    }
  }

  update(turn, side) {
    const follows = this.isAtEnd;
    this.views.get(turn)?.answers[side].update();
    if (follows) requestAnimationFrame(() => this.toEnd());
  }

  /** Marks the turns that go when the message at `index` is sent again; none by null. */
  fade(turns, index) {
    for (const [turn, view] of this.views) view.element.classList.toggle("faded", index !== null && turns.indexOf(turn) >= index);
  }

  get isAtEnd() {
    return this.sheet.scrollHeight - this.sheet.scrollTop - this.sheet.clientHeight < NEAR;
  }

  toEnd() {
    this.sheet.scrollTop = this.sheet.scrollHeight;
  }

  draw(turn, index) {
    const { again, choose, changed } = this.on;
    const answers = turn.sides.map(
      (side, index) =>
        new AnswerView(side, {
          again: () => again(turn, index),
          changed,
          choose: turn.sides.length > 1 ? () => choose(turn, index) : null,
        }),
    );
    const message = element(
      "div",
      { class: "message" },
      element("p", { lang: languageOf(turn.text), label: "your_message" }, turn.text),
      iconButton("edit", "edit", () => this.on.edit(index)),
    );
    const beside = element("div", { class: answers.length > 1 ? "answers two" : "answers" }, ...answers.map((one) => one.element));
    const note = element("p", { class: "small note" });
    return { element: translate(element("section", { class: "turn" }, message, beside, note)), answers, note };
  }
}
