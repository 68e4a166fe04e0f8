// Markdown as a model writes it, made of elements and text: no HTML is ever parsed, so that none can do harm.
//
// Blocks: headings, paragraphs (a line's end is kept), lists, quotes, tables, fenced code, rules.

import { element } from "./dom.js";
import { inline } from "./inline.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const QUOTE = /^ {0,3}>/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(?:\s+|$)/;
const DELIMITERS = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const NESTED = 2; // spaces that make an item one of a list inside
const DEEPEST = 8; // of quotes and lists in each other: what is deeper is text

/** Shows `text` in `place`. Blocks that have not changed since the last call keep their elements. */
export function render(text, place, code = plainCode) {
  const found = blocks(text.split("\n"), 0);
  found.forEach((block, index) => {
    const source = block.lines.join("\n");
    const before = place.children[index];
    if (before?.source === source) return;
    const made = draw(block, 0, code);
    made.source = source;
    if (before) before.replaceWith(made);
    else place.append(made);
  });
  while (place.children.length > found.length) place.lastElementChild.remove();
}

function plainCode(text) {
  return element("pre", {}, element("code", {}, text));
}

/** The blocks of lines: a kind, and the lines it is made of. */
function blocks(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [kind, end] = extent(lines, at, depth);
    found.push({ kind, lines: lines.slice(at, end) });
    at = end;
  }
  return found;
}

/** The kind of the block that begins at a line, and where it ends. */
function extent(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return ["code", endOfFence(lines, at, fence[1])];
  if (HEADING.test(line)) return ["heading", at + 1];
  if (RULE.test(line)) return ["rule", at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return ["quote", endWhile(lines, at, (one) => QUOTE.test(one))];
  if (depth < DEEPEST && itemAt(line, 0)) return ["list", endOfList(lines, at)];
  if (line.includes("|") && DELIMITERS.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) {
    return ["table", endWhile(lines, at, (one) => one.includes("|"))];
  }
  return ["text", endWhile(lines, at, (one, index) => index === at || !begins(one, depth))];
}

function begins(line, depth) {
  const nested = depth < DEEPEST && (QUOTE.test(line) || /^ {0,3}(?:[-*+]|1[.)])\s+\S/.test(line));
  return !line.trim() || nested || FENCE.test(line) || HEADING.test(line) || RULE.test(line);
}

function endWhile(lines, at, holds) {
  let end = at;
  while (end < lines.length && holds(lines[end], end)) end += 1;
  return end;
}

function endOfFence(lines, at, mark) {
  const closes = (line) => line.trim().startsWith(mark) && !line.trim().replaceAll(mark[0], "");
  let end = at + 1;
  while (end < lines.length && !closes(lines[end])) end += 1;
  return Math.min(end + 1, lines.length);
}

/** The item that begins at a line, in a list that is indented by `indent`; deeper ones are of lists inside. */
function itemAt(line, indent) {
  const found = ITEM.exec(line);
  return found && found[1].length < indent + NESTED ? found : null;
}

function endOfList(lines, at) {
  const first = ITEM.exec(lines[at]);
  const isOrdered = /\d/.test(first[2]);
  let end = at + 1;
  for (let look = end; look < lines.length; look += 1) {
    const item = itemAt(lines[look], first[1].length);
    const goesOn = item ? /\d/.test(item[2]) === isOrdered && !RULE.test(lines[look]) : /^\s{2,}\S/.test(lines[look]);
    const isLazy = look === end && lines[look].trim() && !begins(lines[look], 0);
    if (goesOn || isLazy) end = look + 1;
    else if (lines[look].trim()) break;
  }
  return end;
}

function draw({ kind, lines }, depth, code) {
  const below = (part) => blocks(part, depth + 1).map((block) => draw(block, depth + 1, code));
  switch (kind) {
    case "code":
      return drawCode(lines, code);
    case "heading": {
      const [, marks, text] = HEADING.exec(lines[0]);
      return element(`h${Math.min(marks.length + 2, 6)}`, {}, ...inline(text)); // below the page's own headings
    }
    case "rule":
      return element("hr");
    case "quote":
      return element("blockquote", {}, ...below(lines.map((line) => line.replace(/^ {0,3}> ?/, ""))));
    case "list":
      return drawList(lines, below);
    case "table":
      return drawTable(lines);
    default:
      return element("p", {}, ...inline(lines.map((line) => line.trim()).join("\n")));
  }
}

function drawCode(lines, code) {
  const [, mark, name] = FENCE.exec(lines[0]);
  const last = lines.at(-1).trim();
  const isClosed = lines.length > 1 && last.startsWith(mark) && !last.replaceAll(mark[0], "");
  return code(lines.slice(1, isClosed ? -1 : undefined).join("\n"), name);
}

function drawList(lines, below) {
  const first = ITEM.exec(lines[0]);
  const isOrdered = /\d/.test(first[2]);
  const items = [];
  for (const line of lines) {
    const item = itemAt(line, first[1].length);
    if (item) items.push({ width: item[0].length, lines: [line.slice(item[0].length)] });
    else items.at(-1).lines.push(line.replace(new RegExp(`^\\s{0,${Math.max(items.at(-1).width, 2)}}`), ""));
  }
  const start = isOrdered && parseInt(first[2], 10) !== 1 ? { start: parseInt(first[2], 10) } : {};
  return element(isOrdered ? "ol" : "ul", start, ...items.map((item) => element("li", {}, ...tight(item.lines, below))));
}

/** An item of one paragraph needs no paragraph around it. */
function tight(lines, below) {
  const made = below(lines);
  return made[0]?.tagName === "P" ? [...made[0].childNodes, ...made.slice(1)] : made;
}

function drawTable(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
  const [head, , ...rows] = lines.map(cells);
  const right = cells(lines[1]).map((mark) => mark.endsWith(":"));
  const cell = (tag, text, column) => element(tag, { class: right[column] ? "right" : null }, ...inline(text));
  const row = (tag, found) => element("tr", {}, ...head.map((_, column) => cell(tag, found[column] ?? "", column)));
  const table = element("table", {}, element("thead", {}, row("th", head)), element("tbody", {}, ...rows.map((one) => row("td", one))));
  return element("div", { class: "wide" }, table);
}
