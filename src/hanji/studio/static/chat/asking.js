// Asking one model, and filling its answer while it comes.
//
// An answer has: text; state (waiting, coming, done, stopped, failed); id; finish (stop, length); prompt and
// completion (tokens); first and rest (seconds to the first piece, and from there to the last); problem.

import { events, Problem } from "../api.js";

/** Asks for `answer`; `changed` is called whenever there is more of it. Returns when it has ended, however. */
export async function fill(answer, messages, settings, signal, changed) {
  const started = performance.now();
  let first = null;
  let pieces = 0;
  Object.assign(answer, { text: "", state: "waiting", problem: null, id: null, rating: null, comment: null });
  try {
    for await (const event of events(path(answer), body(answer, messages, settings), signal)) {
      answer.id ??= event.id;
      const [choice] = event.choices;
      const piece = choice?.delta?.content ?? choice?.text ?? "";
      if (piece) {
        first ??= performance.now();
        pieces += 1;
        answer.state = "coming";
        answer.text += piece;
        answer.rest = (performance.now() - first) / 1000;
      }
      if (choice?.finish_reason) answer.finish = choice.finish_reason;
      if (event.usage) {
        answer.prompt = event.usage.prompt_tokens;
        answer.completion = event.usage.completion_tokens;
      }
      if (piece) changed();
    }
    answer.state = "done";
  } catch (error) {
    answer.state = error.name === "AbortError" ? "stopped" : "failed";
    if (answer.state === "failed") answer.problem = problemOf(error);
  }
  answer.first = first === null ? null : (first - started) / 1000;
  answer.completion ??= pieces; // stopped: a piece is a token, or a few
  changed();
  return answer;
}

/** What is told and kept of a problem. */
export function problemOf(error) {
  const { code, said, status, seconds } = error instanceof Problem ? error : new Problem("unexpected", String(error));
  return { code, said, status, seconds, at: Date.now() };
}

function path({ isChat }) {
  return isChat ? "chat/completions" : "completions";
}

function body(answer, messages, { temperature, top_p, max_tokens, seed }) {
  const drawn = { model: answer.model, temperature, top_p, max_tokens, ...(seed === null ? {} : { seed }) };
  // without a chat template there are no turns: the last message is continued
  return answer.isChat ? { ...drawn, messages } : { ...drawn, prompt: messages.at(-1).content };
}
