// What was said: turns, each a message and the answers to it, one for each model that was asked.

import { kept } from "../dom.js";

/** An answer on its way; see `asking.js` for how it is filled. */
export function newAnswer({ id, tasks }) {
  return { model: id, isChat: tasks.includes("chat"), text: "", state: "waiting" };
}

/** The conversation of this tab, which survives a reload. */
export class Conversation {
  constructor() {
    this.turns = kept.read("turns") ?? [];
    for (const answer of this.turns.flatMap(({ answers }) => answers)) {
      if (answer.state === "waiting" || answer.state === "coming") answer.state = "stopped";
    }
  }

  save() {
    kept.write("turns", this.turns.length ? this.turns : null);
  }

  /** Begins a turn in place of the one at `index` and of what came after it; by default after the last. */
  add(text, answers, index = this.turns.length) {
    const turn = { text, answers };
    this.turns.splice(index, Infinity, turn);
    return turn;
  }

  clear() {
    this.turns = [];
    this.save();
  }

  /**
   * The messages that a model is given for a turn. A model reads its own earlier answers, and where it has
   * none the other's; a turn that nobody answered is left out, for no template can write it.
   */
  messages(turn, side, system) {
    const messages = system ? [{ role: "system", content: system }] : [];
    for (const { text, answers } of this.turns.slice(0, this.turns.indexOf(turn))) {
      const answer = [answers[side], ...answers].find((one) => one?.text);
      if (answer) messages.push({ role: "user", content: text }, { role: "assistant", content: answer.text });
    }
    return [...messages, { role: "user", content: turn.text }];
  }
}
