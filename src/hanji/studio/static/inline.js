// What stands in a line: code, strong, emphasis, struck out, links.
//
// A closing mark is found wherever it is, also before a Korean particle (**한지**는), where CommonMark's rules, made for
// languages with spaces, miss it. Images become links: nothing is fetched because a model wrote an address.

import { element } from "./dom.js";

const SPECIAL = /[\\`*_~[!\n]|https?:\/\//g;
const LINK = /!?\[([^\]\n]*)\]\(\s*<?([^\s<>()]+(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:\s+"[^"\n]*")?\s*\)/y;
const ADDRESS = /https?:\/\/[^\s<>"'`가-힣ㄱ-ㅣ]+/y;
const SAFE = new Set(["http:", "https:", "mailto:"]);
const PAIRS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];
const LONGEST = 20_000; // characters: a longer line is no prose
const DEEPEST = 6;

/** The nodes of a text. */
export function inline(text, depth = 0) {
  if (text.length > LONGEST || depth > DEEPEST) return [text];
  const nodes = [];
  let from = 0;
  SPECIAL.lastIndex = 0;
  for (let found = SPECIAL.exec(text); found; found = SPECIAL.exec(text)) {
    const taken = take(text, found.index, depth);
    if (!taken) continue;
    const [node, end] = taken;
    if (found.index > from) nodes.push(text.slice(from, found.index));
    nodes.push(node);
    from = SPECIAL.lastIndex = end;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
}

/** What begins at a special character and where it ends, or null: then the character is itself. */
function take(text, at, depth) {
  switch (text[at]) {
    case "\n":
      return [element("br"), at + 1];
    case "\\":
      return /[!-/:-@[-`{-~]/.test(text[at + 1] ?? "") ? [text[at + 1], at + 2] : null;
    case "`":
      return takeCode(text, at);
    case "[":
    case "!":
      return takeLink(text, at, depth);
    case "h":
      return takeAddress(text, at);
    default:
      return takePair(text, at, depth);
  }
}

function takeCode(text, at) {
  const mark = /^`+/.exec(text.slice(at, at + 64))[0];
  let end = text.indexOf(mark, at + mark.length);
  while (end >= 0 && (text[end + mark.length] === "`" || text[end - 1] === "`")) end = text.indexOf(mark, end + mark.length + 1);
  if (end < 0) return [mark, at + mark.length];
  const inside = text.slice(at + mark.length, end).replaceAll("\n", " ");
  return [element("code", {}, /^ .*\S.* $/.test(inside) ? inside.slice(1, -1) : inside), end + mark.length];
}

function takeLink(text, at, depth) {
  LINK.lastIndex = at;
  const found = LINK.exec(text);
  if (!found) return null;
  const [whole, label, address] = found;
  return [link(address, label ? inline(label, depth + 1) : [address]), at + whole.length];
}

function takeAddress(text, at) {
  ADDRESS.lastIndex = at;
  const address = ADDRESS.exec(text)?.[0].replace(/[.,;:!?)\]*_~]+$/, "");
  return address && address.length > 8 ? [link(address, [address]), at + address.length] : null;
}

/** A link that a person may follow, or its words where it leads to a script or nowhere. */
function link(address, words) {
  const target = URL.canParse(address) ? new URL(address) : null;
  if (!target || !SAFE.has(target.protocol)) return element("span", {}, ...words);
  return element("a", { href: target.href, target: "_blank", rel: "noopener noreferrer nofollow" }, ...words);
}

function takePair(text, at, depth) {
  for (const [mark, tag] of PAIRS) {
    if (!text.startsWith(mark, at)) continue;
    const end = closing(text, at, mark);
    if (end < 0) continue;
    return [element(tag, {}, ...inline(text.slice(at + mark.length, end), depth + 1)), end + mark.length];
  }
  return null;
}

function closing(text, at, mark) {
  const first = at + mark.length;
  const isWordly = mark[0] === "_"; // snake_case is no emphasis
  if (/\s|^$/.test(text[first] ?? "") || (isWordly && /\w/.test(text[at - 1] ?? ""))) return -1;
  for (let end = text.indexOf(mark, first + 1); end >= 0; end = text.indexOf(mark, end + 1)) {
    const isLonger = mark.length === 1 && (text[end + 1] === mark || text[end - 1] === mark);
    const isInWord = isWordly && /\w/.test(text[end + mark.length] ?? "");
    if (!isLonger && !isInWord && !/\s/.test(text[end - 1])) return end;
    if (isLonger && text[end + 1] === mark) end += 1;
  }
  return -1;
}
