// The chat page: joins what the modules below `chat/` do.

import { key, writers } from "./api.js";
import { drawIcons } from "./icons.js";
import { changeLanguage, say, speak, translate } from "./language.js";
import { themeToggle } from "./theme.js";
import { fill, problemOf } from "./chat/asking.js";
import { Composer } from "./chat/composer.js";
import { addAnswer, Conversation, isOpen, newSide, shown } from "./chat/conversation.js";
import { askForKey } from "./chat/keys.js";
import { Picker } from "./chat/picker.js";
import { problemView } from "./chat/problems.js";
import { Settings } from "./chat/settings.js";
import { Turns } from "./chat/turns.js";

const find = (id) => document.getElementById(id);
const conversation = new Conversation();
const settings = new Settings(find("settings"));
const turns = new Turns(find("turns"), find("sheet"), { again, choose, edit, changed });
const composer = new Composer(find("composer"), { send, stop });
const picker = new Picker({ first: find("model"), second: find("second"), toggle: find("compare") }, greet);
const running = new Set(); // an AbortController for each answer on its way
let editing = null; // the turn whose message is written anew

async function start() {
  drawIcons();
  themeToggle(find("theme"));
  await speak();
  document.addEventListener("translate", (event) => translate(event.target));
  find("language").addEventListener("click", async () => {
    await changeLanguage();
    greet();
  });
  find("settings-toggle").addEventListener("click", toggleSettings);
  find("fresh").addEventListener("click", begin);
  addEventListener("beforeunload", stop); // before the browser breaks the connection: nothing went wrong
  addEventListener("pagehide", () => conversation.save());
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing) leave();
  });
  turns.show(conversation.turns);
  composer.busy(false);
  turns.toEnd();
  await offerModels();
  composer.field.focus();
}

/** Asks which models there are; with a key where one is wanted, and again where nobody answers. */
async function offerModels() {
  const notice = find("notice");
  try {
    const models = await writers();
    picker.offer(models);
    notice.hidden = models.length > 0;
    notice.replaceChildren(...(models.length ? [] : [problemView({ code: "no_writers" })]));
  } catch (error) {
    if (error.status === 401 && (await askForKey(Boolean(key.get())))) return offerModels();
    notice.replaceChildren(problemView(problemOf(error), offerModels));
    notice.hidden = false;
  }
  composer.canSend = picker.models.length > 0;
  composer.fit();
  translate(notice);
}

function greet() {
  find("greeting").hidden = conversation.turns.length > 0 || !picker.models.length;
  find("about").replaceChildren(...picker.about().flatMap((line, index) => (index ? [document.createElement("br"), line] : [line])));
}

function send(text) {
  if (!settings.isValid) {
    composer.write(text);
    toggleSettings(true);
    settings.form.reportValidity();
    return;
  }
  const index = editing === null ? undefined : conversation.turns.indexOf(editing);
  const turn = conversation.add(text, picker.chosen.map(newSide), index);
  endEditing();
  turns.show(conversation.turns);
  greet();
  turns.toEnd();
  composer.field.focus();
  for (const side of turn.sides.keys()) answer(turn, side);
}

/** Has one answer of a turn written; the others of the turn come at the same time. */
async function answer(turn, side) {
  const control = new AbortController();
  running.add(control);
  composer.busy(true);
  const one = shown(turn.sides[side]);
  const { system, ...drawn } = settings.values;
  const messages = conversation.messages(turn, side, system);
  Object.assign(one, { state: "waiting", text: "" });
  turns.views.get(turn).answers[side].end();
  turns.allow(conversation.turns);
  await fill(one, messages, drawn, control.signal, () => turns.update(turn, side));
  running.delete(control);
  composer.busy(running.size > 0);
  changed();
  find("status").textContent = say(one.state === "failed" ? "status_failed" : "status_ended", { model: one.model });
  if (one.problem?.code === "model_not_found") offerModels();
  if (one.problem?.status === 401 && (await askForKey(Boolean(key.get())))) answer(turn, side);
}

/** Has another answer written, beside those that there are; one that failed is tried again. */
function again(turn, index) {
  const side = turn.sides[index];
  if (isOpen(shown(side))) return;
  if (shown(side).state !== "failed") addAnswer(side);
  answer(turn, index);
}

/** Goes on from one answer of a turn; from none in particular where it was chosen already. */
function choose(turn, index) {
  turn.choice = turn.choice === index ? null : index;
  changed();
}

function changed() {
  conversation.save();
  turns.allow(conversation.turns);
}

function stop() {
  for (const control of running) control.abort();
}

/** Writes a message anew: what followed it goes when it is sent. */
function edit(index) {
  stop();
  editing = conversation.turns[index];
  composer.write(editing.text);
  composer.field.focus();
  find("editing").hidden = false;
  turns.fade(conversation.turns, index);
}

function endEditing() {
  editing = null;
  find("editing").hidden = true;
  turns.fade(conversation.turns, null);
}

function leave() {
  if (running.size) stop();
  else if (editing !== null) {
    endEditing();
    composer.write("");
  }
}

function begin() {
  stop();
  endEditing();
  conversation.clear();
  turns.show(conversation.turns);
  greet();
  composer.field.focus();
}

function toggleSettings(isOpen) {
  const form = find("settings");
  form.hidden = isOpen === true ? false : !form.hidden;
  find("settings-toggle").setAttribute("aria-expanded", String(!form.hidden));
  if (!form.hidden) settings.system.focus();
}

start();
