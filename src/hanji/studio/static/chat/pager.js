// Paging between the answers that a model has given to one message.

import { element, iconButton } from "../dom.js";
import { translate } from "../language.js";

/**
 * "‹ 2/3 ›" for a side of a turn; `turned()` once another answer is to be shown. `show(isOffered)` brings it up to
 * date: its buttons stay the same elements, so that a keyboard does not lose its place.
 */
export function pager(side, turned) {
  const turn = (step) => {
    if (!side.answers[side.shown + step]) return;
    side.shown += step;
    turned();
  };
  const back = iconButton("back", "answer_before", () => turn(-1));
  const forth = iconButton("forth", "answer_after", () => turn(1));
  const place = element("span", { "aria-hidden": "true" });
  const said = element("span", { class: "unseen", role: "status", text: "answer_number" });
  const group = element("span", { class: "pager small", role: "group", label: "answers" }, back, place, forth, said);

  const show = (isOffered) => {
    const [number, count] = [side.shown + 1, side.answers.length];
    group.hidden = !isOffered || count < 2;
    place.textContent = `${number}/${count}`;
    said.dataset.values = JSON.stringify({ number, count });
    back.setAttribute("aria-disabled", String(number === 1));
    forth.setAttribute("aria-disabled", String(number === count));
    translate(group);
  };
  return { group, show };
}
