// The service's public API, asked as any other client asks it.

import { kept } from "./dom.js";

const ROOT = new URL("../v1/", import.meta.url);

/**
 * Why something was not answered.
 *
 * code: the service's word for it, `offline` where nothing answered, `broken_off` where an answer ended early.
 * message: the service's own sentence, or "". seconds: when to try again, where it says so.
 */
export class Problem extends Error {
  constructor(code, message = "", status = 0, seconds = null) {
    super(message || code);
    this.code = code;
    this.said = message;
    this.status = status;
    this.seconds = seconds;
  }
}

/** The key that this tab sends; it is forgotten when the tab is closed. */
export const key = {
  get: () => kept.read("key"),
  set: (value) => kept.write("key", value || null),
};

async function ask(path, body, signal) {
  const headers = { Accept: "application/json, text/event-stream" };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    const method = body ? "POST" : "GET";
    const content = body ? JSON.stringify(body) : undefined;
    answer = await fetch(new URL(path, ROOT), { method, headers, body: content, signal, cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem("offline");
  }
  if (answer.ok) return answer;
  const told = (await answer.json().catch(() => null))?.error ?? {};
  const seconds = Number(answer.headers.get("Retry-After")) || null;
  throw new Problem(told.code ?? `http_${answer.status}`, told.message ?? "", answer.status, seconds);
}

/** The models that write text, in the order in which they are served. */
export async function writers() {
  const { data } = await (await ask("models")).json();
  return data.filter(({ tasks }) => tasks.includes("chat") || tasks.includes("completion"));
}

/** Keeps what somebody thinks of an answer: `up` or `down`, and a comment. */
export async function rate(id, rating, comment) {
  await ask("feedback", comment ? { id, rating, comment } : { id, rating });
}

/** What the service says about an answer on its way, event by event. Throws a Problem, or AbortError by `signal`. */
export async function* events(path, body, signal) {
  const answer = await ask(path, { ...body, stream: true, stream_options: { include_usage: true } }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  let isWhole = false;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (left + value).split("\n\n");
      left = parts.pop();
      for (const part of parts) {
        const data = part.replace(/^data: ?/, "");
        isWhole ||= data === "[DONE]";
        if (isWhole) continue;
        const event = JSON.parse(data);
        if (event.error) throw new Problem(event.error.code ?? "server_error", event.error.message);
        yield event;
      }
    }
  } catch (error) {
    throw error instanceof Problem || error.name === "AbortError" ? error : new Problem("broken_off");
  } finally {
    reader.cancel().catch(() => {});
  }
  if (!isWhole) throw new Problem("broken_off");
}
