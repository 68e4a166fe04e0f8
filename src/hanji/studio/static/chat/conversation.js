// What was said: turns, each a message and its sides, one for each model that was asked. A side has the answers
// that its model gave, and which of them is shown: from that one the conversation goes on.

import { kept } from "../dom.js";

/** The side of a model, with an answer on its way; see `asking.js` for how it is filled. */
export function newSide({ id, tasks }) {
  return { answers: [newAnswer(id, tasks.includes("chat"))], shown: 0 };
}

/** Begins another answer of a side, and shows it. */
export function addAnswer(side) {
  const { model, isChat } = shown(side);
  side.shown = side.answers.push(newAnswer(model, isChat)) - 1;
}

function newAnswer(model, isChat) {
  return { model, isChat, text: "", state: "waiting" };
}

/** The answer of a side that is shown. */
export function shown(side) {
  return side.answers[side.shown];
}

/** Whether more of an answer may come. */
export function isOpen({ state }) {
  return state === "waiting" || state === "coming";
}

/** The answer of a turn that somebody chose to go on from, where it has a text; else null. */
export function chosen({ sides, choice }) {
  const answer = choice === null ? null : shown(sides[choice]);
  return answer?.text ? answer : null;
}

/** The conversation of this tab, which survives a reload. */
export class Conversation {
  constructor() {
    this.turns = kept.read("conversation") ?? [];
    const sides = this.turns.flatMap((turn) => turn.sides);
    for (const answer of sides.flatMap(({ answers }) => answers)) {
      if (isOpen(answer)) answer.state = "stopped";
    }
  }

  save() {
    kept.write("conversation", this.turns.length ? this.turns : null);
  }

  /** Begins a turn in place of the one at `index` and of what came after it; by default after the last. */
  add(text, sides, index = this.turns.length) {
    const turn = { text, sides, choice: null };
    this.turns.splice(index, Infinity, turn);
    return turn;
  }

  clear() {
    this.turns = [];
    this.save();
  }

  /**
   * The messages that a model is given for a turn. Of each turn before, it reads the answer that was chosen; else
   * its own, and where it has none the first. A turn that nobody answered is left out, for no template can write it.
   */
  messages(turn, index, system) {
    const messages = system ? [{ role: "system", content: system }] : [];
    const { model } = shown(turn.sides[index]);
    for (const before of this.turns.slice(0, this.turns.indexOf(turn))) {
      const all = before.sides.map(shown);
      const own = [all[index], ...all].filter((one) => one?.model === model);
      const answer = [chosen(before), ...own, ...all].find((one) => one?.text);
      if (answer) messages.push({ role: "user", content: before.text }, { role: "assistant", content: answer.text });
    }
    return [...messages, { role: "user", content: turn.text }];
  }
}
