// Light or dark: the system's, until somebody chooses.

import { keepChoice } from "./dom.js";
import { icon } from "./icons.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Makes `button` change the theme for good; it shows the one that it leads to. */
export function themeToggle(button) {
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const draw = () => button.replaceChildren(icon(isDark() ? "sun" : "moon"));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keepChoice("theme", root.dataset.theme);
    draw();
  });
  dark.addEventListener("change", draw);
  draw();
}
