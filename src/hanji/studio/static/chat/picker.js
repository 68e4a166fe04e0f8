// Which models are asked: one, or two side by side.

import { element, kept } from "../dom.js";
import { say } from "../language.js";

/** The two lists and the button between one and two. `changed()` after a choice. */
export class Picker {
  constructor({ first, second, toggle }, changed) {
    this.lists = [first, second];
    this.toggle = toggle;
    this.changed = changed;
    this.models = [];
    this.choice = kept.read("models") ?? [];
    this.isTwo = Boolean(kept.read("compare"));
    for (const [side, list] of this.lists.entries()) list.addEventListener("change", () => this.choose(side, list.value));
    toggle.addEventListener("click", () => this.compare(!this.isTwo));
  }

  /** Offers these models; what was chosen stays where it is still there. */
  offer(models) {
    this.models = models;
    for (const [side, list] of this.lists.entries()) {
      list.replaceChildren(...models.map(({ id }) => element("option", { value: id }, id)));
      const named = models.some(({ id }) => id === this.choice[side]);
      this.choice[side] = named ? this.choice[side] : models[Math.min(side, models.length - 1)]?.id;
      if (this.choice[side]) list.value = this.choice[side];
      list.disabled = !models.length;
    }
    this.show();
  }

  /** The models that the next message goes to. */
  get chosen() {
    return this.choice.slice(0, this.isTwo ? 2 : 1).map((name) => this.models.find(({ id }) => id === name)).filter(Boolean);
  }

  choose(side, name) {
    this.choice[side] = name;
    this.show();
  }

  compare(isTwo) {
    this.isTwo = isTwo;
    this.show();
  }

  show() {
    this.lists[1].hidden = !this.isTwo;
    this.toggle.setAttribute("aria-pressed", String(this.isTwo));
    kept.write("models", this.choice);
    kept.write("compare", this.isTwo);
    this.changed();
  }

  /** What there is to know of the models that are chosen, in a line. */
  about() {
    return this.chosen.map(({ id, context, tasks }) =>
      say(tasks.includes("chat") ? "about_chat" : "about_completion", { model: id, count: context }),
    );
  }
}
