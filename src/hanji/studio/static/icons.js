// Icons, drawn here: 24 × 24, one stroke in the colour of the text.

const PATHS = {
  send: ["M12 19V5", "M5.5 11.5 12 5l6.5 6.5"],
  stop: ["M7 7h10v10H7z"],
  copy: ["M9 9h10v11H9z", "M5 15V4h10"],
  done: ["M5 12.5 10 17 19 7"],
  again: ["M19.5 12a7.5 7.5 0 1 1-2.2-5.3", "M19.5 3.5v4h-4"],
  edit: ["M4 20h4L19 9l-4-4L4 16z", "M13 7l4 4"],
  up: ["M8 20H5V10h3z", "M8 10l3.5-7c1.5 0 2.5 1 2.5 2.5L13.5 9H19l-1.6 9.4A2 2 0 0 1 15.4 20H8"],
  down: ["M8 4H5v10h3z", "M8 14l3.5 7c1.5 0 2.5-1 2.5-2.5L13.5 15H19l-1.6-9.4A2 2 0 0 0 15.4 4H8"],
  compare: ["M4 5h7v14H4z", "M13 5h7v14h-7z"],
  settings: ["M4 7h9", "M17 7h3", "M15 5v4", "M4 17h3", "M11 17h9", "M9 15v4", "M4 12h11", "M19 12h1", "M17 10v4"],
  fresh: ["M12 5v14", "M5 12h14"],
  back: ["M14.5 6 8.5 12l6 6"],
  forth: ["M9.5 6l6 6-6 6"],
  close: ["M6 6l12 12", "M18 6 6 18"],
  sun: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z", "M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M18.4 5.6 17 7M7 17l-1.4 1.4"],
  moon: ["M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z"],
  language: ["M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z", "M4 12h16", "M12 4c5 5 5 11 0 16", "M12 4c-5 5-5 11 0 16"],
};
const SVG = "http://www.w3.org/2000/svg";

/** The icon called so; it is decoration, its button has the name. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  for (const path of PATHS[name]) {
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", path);
    drawing.append(line);
  }
  return drawing;
}

/** Draws the icons that the page's HTML names. */
export function drawIcons(root = document) {
  for (const place of root.querySelectorAll("[data-icon]")) place.replaceChildren(icon(place.dataset.icon));
}
