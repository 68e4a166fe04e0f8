// Where a message is written. Enter sends, Shift+Enter begins a line; Enter that ends a syllable of an input
// method (Hangul, kana, pinyin) does neither.

import { icon } from "../icons.js";
import { translate } from "../language.js";

/** The field and its button. `send(text)`, `stop()`, `leave()` (Escape while nothing comes). */
export class Composer {
  constructor(form, { send, stop, leave }) {
    this.form = form;
    this.field = form.querySelector("textarea");
    this.button = form.querySelector("button[type=submit]");
    this.isBusy = false;
    this.canSend = false;
    this.on = { send, stop, leave };
    this.field.addEventListener("input", () => this.fit());
    this.field.addEventListener("keydown", (event) => this.press(event));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.isBusy) stop();
      else this.submit();
    });
  }

  press(event) {
    if (event.isComposing || event.keyCode === 229) return; // 229: Safari ends a syllable before it says Enter
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    if (!this.isBusy) this.submit();
  }

  submit() {
    const text = this.field.value.trim();
    if (!text || !this.canSend) return;
    this.write("");
    this.on.send(text);
  }

  write(text) {
    this.field.value = text;
    this.fit();
  }

  /** While an answer comes, the button stops it. */
  busy(isBusy) {
    this.isBusy = isBusy;
    this.button.replaceChildren(icon(isBusy ? "stop" : "send"));
    this.button.dataset.label = isBusy ? "stop" : "send";
    translate(this.button);
    this.fit();
  }

  fit() {
    this.button.disabled = !this.isBusy && (!this.canSend || !this.field.value.trim());
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(this.field.scrollHeight, innerHeight * 0.4)}px`;
  }
}
