// Thumbs: what somebody thinks of an answer goes to the service with the answer's id.

import { rate } from "../api.js";
import { element, iconButton } from "../dom.js";
import { translate } from "../language.js";
import { problemOf } from "./asking.js";
import { problemView } from "./problems.js";

/** The thumbs of an answer, and what opens below them: a comment, or why it was not kept. */
export function thumbs(answer, changed) {
  const below = element("div", { class: "comment" });
  const buttons = ["up", "down"].map((rating) => iconButton(rating, rating, () => give(rating), { "data-rating": rating }));
  const group = element("span", { class: "thumbs", role: "group", label: "rating" }, ...buttons);

  const show = () => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.rating === answer.rating));
  };
  const give = async (rating, comment) => {
    try {
      await rate(answer.id, rating, comment);
    } catch (error) {
      below.replaceChildren(problemView(problemOf(error), () => give(rating, comment)));
      translate(below);
      return;
    }
    Object.assign(answer, { rating, comment: comment ?? null });
    show();
    changed();
    below.replaceChildren(comment ? thanks() : commentForm(rating, give));
    translate(below);
    if (comment) buttons.find((button) => button.dataset.rating === rating).focus();
  };
  show();
  return { group, below };
}

function thanks() {
  return element("p", { class: "small", text: "comment_kept", role: "status" });
}

function commentForm(rating, give) {
  const field = element("input", { type: "text", maxlength: 10000, "data-label": "comment", "data-hint": `comment_${rating}` });
  const form = element(
    "form",
    { class: "row" },
    element("span", { class: "small", text: "rating_kept", role: "status" }),
    field,
    element("button", { type: "submit", class: "plain", text: "comment_send" }),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) give(rating, field.value.trim());
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.isComposing) event.preventDefault();
  });
  return form;
}
