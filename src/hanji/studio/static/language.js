// What the page says, in the reader's language: one catalogue for each, `texts/LANGUAGE.json`.

import { keepChoice } from "./dom.js";

export const LANGUAGES = { en: "English", ko: "한국어" };
let texts = {};
let plurals = new Intl.PluralRules("en");

/** The language of the page. */
export function language() {
  return document.documentElement.lang;
}

/** Reads the catalogue of the page's language, and says everything in it. */
export async function speak(name = language()) {
  const answer = await fetch(new URL(`texts/${name}.json`, import.meta.url));
  texts = await answer.json();
  plurals = new Intl.PluralRules(name);
  document.documentElement.lang = name;
  document.title = say("title");
  translate(document);
}

/** Changes to the next language, for good. */
export async function changeLanguage() {
  const names = Object.keys(LANGUAGES);
  const next = names[(names.indexOf(language()) + 1) % names.length];
  keepChoice("language", next);
  await speak(next);
}

/** The text of a key, with `values` for its `{names}`; `count` chooses among forms where a language has some. */
export function say(key, values = {}) {
  const found = texts[key] ?? key;
  const form = typeof found === "string" ? found : (found[plurals.select(values.count ?? 0)] ?? found.other);
  return form.replace(/\{(\w+)\}/g, (whole, name) => shown(values[name]) ?? whole);
}

/** Whether the catalogue has a key. */
export function knows(key) {
  return key in texts;
}

function shown(value) {
  return typeof value === "number" ? value.toLocaleString(language()) : value;
}

/** Gives all elements below `root` that name a key what it says: `data-text`, `data-label`, `data-hint`. */
export function translate(root) {
  const all = root.querySelectorAll("[data-text], [data-label], [data-hint]");
  for (const one of root instanceof Element ? [root, ...all] : all) {
    const { text, label, hint, values } = one.dataset;
    const filled = values ? JSON.parse(values) : {};
    if (text) one.textContent = say(text, filled);
    if (label) {
      one.setAttribute("aria-label", say(label, filled));
      one.title = say(label, filled);
    }
    if (hint) one.placeholder = say(hint, filled);
  }
  return root;
}

/** Hangul is read, and its Hanja drawn, as Korean, whatever the language of the page. */
export function languageOf(text) {
  return /[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]/.test(text) ? "ko" : null;
}
