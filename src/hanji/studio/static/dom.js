// Making elements. Text only ever becomes text: nothing in these pages parses a string as HTML.

import { icon } from "./icons.js";

/**
 * An element. `on*` attributes are listeners; `text`, `label` and `values` are for `language.js`:
 * a key of the catalogue for what it says, for what it is called, and what is put into them.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "text" || name === "label") made.dataset[name] = value;
    else if (name === "values") made.dataset.values = JSON.stringify(value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A button that shows an icon and is called by a key of the catalogue. */
export function iconButton(name, label, onclick, attributes = {}) {
  return element("button", { type: "button", class: "quiet", label, onclick, ...attributes }, icon(name));
}

/** What the browser keeps for this tab; nothing where storage is forbidden. */
export const kept = {
  read(name) {
    try {
      return JSON.parse(sessionStorage.getItem(`hanji.${name}`) ?? "null");
    } catch {
      return null;
    }
  },
  write(name, value) {
    try {
      if (value === null) sessionStorage.removeItem(`hanji.${name}`);
      else sessionStorage.setItem(`hanji.${name}`, JSON.stringify(value));
    } catch {
      // full or forbidden: the page goes on, and forgets
    }
  },
};

/** Keeps a choice of this browser for good; see `early.js`, which reads it before anything is painted. */
export function keepChoice(name, value) {
  try {
    localStorage.setItem(`hanji.${name}`, value);
  } catch {
    // forbidden: until the page is left
  }
}
