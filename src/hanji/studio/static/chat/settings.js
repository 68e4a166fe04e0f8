// How answers are drawn: kept for this tab.

import { element, kept } from "../dom.js";

const FIELDS = {
  temperature: { usual: 0.7, min: 0, max: 2, step: 0.01 },
  top_p: { usual: 0.95, min: 0.01, max: 1, step: 0.01 },
  max_tokens: { usual: 512, min: 1, max: 100000, step: 1 },
  seed: { usual: null, min: 0, max: 4294967295, step: 1 },
};

/** The form of the settings. */
export class Settings {
  constructor(form) {
    this.form = form;
    this.system = element("textarea", { id: "system", rows: 3, "data-hint": "system_hint", spellcheck: "false" });
    this.inputs = Object.fromEntries(Object.entries(FIELDS).map(([name, field]) => [name, number(name, field)]));
    form.append(
      element("label", { class: "long", for: "system" }, element("span", { text: "system" }), this.system),
      ...Object.entries(this.inputs).map(([name, input]) =>
        element("label", { for: input.id }, element("span", { text: name }), input, element("small", { text: `${name}_why` })),
      ),
      element("button", { type: "button", class: "plain", text: "usual", onclick: () => this.reset() }),
    );
    form.addEventListener("input", () => this.save());
    form.addEventListener("submit", (event) => event.preventDefault());
    this.show(kept.read("settings") ?? {});
  }

  /** Whether every number is one that may be. */
  get isValid() {
    return this.form.checkValidity();
  }

  /** What is set. */
  get values() {
    const read = ([name, input]) => [name, input.value === "" ? FIELDS[name].usual : input.valueAsNumber];
    return { system: this.system.value.trim(), ...Object.fromEntries(Object.entries(this.inputs).map(read)) };
  }

  show({ system = "", ...numbers }) {
    this.system.value = system;
    for (const [name, input] of Object.entries(this.inputs)) input.value = numbers[name] ?? FIELDS[name].usual ?? "";
  }

  save() {
    if (this.isValid) kept.write("settings", this.values);
  }

  reset() {
    this.show({});
    this.save();
  }
}

function number(name, { min, max, step, usual }) {
  const attributes = { id: name, type: "number", min, max, step, inputmode: "decimal" };
  return element("input", { ...attributes, ...(usual === null ? { "data-hint": `${name}_hint` } : { placeholder: usual }) });
}
