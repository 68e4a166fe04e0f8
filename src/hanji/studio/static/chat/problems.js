// What is told when something went wrong: a sentence of ours, and the service's own with its figures.

import { element } from "../dom.js";
import { knows, language, say, translate } from "../language.js";

/** The element for a problem; `again`, if given, is offered: at once, or when the service said so. */
export function problemView(problem, again) {
  const key = `problem_${problem.code}`;
  const sentence = knows(key) ? key : problem.status >= 500 ? "problem_server" : "problem_other";
  const said = problem.said && !(knows(key) && language() === "en" && problem.said === say(key)) ? problem.said : null;
  const view = element("div", { class: "problem" }, element("p", { text: sentence }));
  if (said) view.append(element("p", { class: "small", lang: "en" }, said));
  if (again) view.append(retry(problem, again));
  return view;
}

function retry(problem, again) {
  const button = element("button", { type: "button", class: "plain", onclick: () => again() });
  const until = problem.at + (problem.seconds ?? 0) * 1000;
  const count = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    button.disabled = seconds > 0;
    button.dataset.text = seconds > 0 ? "again_in" : "again";
    button.dataset.values = JSON.stringify({ count: Math.max(seconds, 0) });
    translate(button);
    if (seconds > 0) setTimeout(() => button.isConnected && count(), 250);
  };
  queueMicrotask(count);
  return button;
}
