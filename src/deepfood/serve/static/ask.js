// Requests to the server.

import { capital, plural } from "./dom.js";

/** Fetch JSON. Throws an Error with a sentence for the visitor; `passing` if it may work later; with
 *  the answer's `status`, and where it says so the `field` and the `position` in it that are at fault. */
export async function ask(address, options) {
  return (await answerTo(address, options)).body;
}

/** As `ask`, with the headers of the answer: {body, headers}; no body where it has none. */
export async function answerTo(address, options) {
  let answer;
  let body;
  try {
    answer = await fetch(address, options);
    body = answer.status === 204 ? undefined : await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (answer) {
      body = null; // not JSON: something between here and the server answered
    } else {
      throw unreachable();
    }
  }
  if (answer.ok && body !== null) return { body, headers: answer.headers };
  throw refusal(answer, body);
}

/** The Error of a request that got no answer. */
export function unreachable() {
  const why = navigator.onLine ? "The server cannot be reached." : "You seem to be offline.";
  return Object.assign(new Error(`${why} Please try again in a moment.`), { passing: true });
}

/** The Error of an answer {ok, status, headers} that is a refusal, or that is not as it should be. */
export function refusal(answer, body) {
  const detail = body?.detail ?? `the server answered with status ${answer.status}`;
  const { field, position } = body ?? {};
  const { status } = answer;
  const passing = answer.ok || status >= 500 || status === 429;
  return Object.assign(new Error(capital(detail) + wayOut(answer)), { passing, status, field, position });
}

/** What a visitor can do about a refusal, where it says it too briefly for them. */
function wayOut({ status, headers }) {
  if (status === 413) return ". Please choose a smaller photo, or a smaller copy of it.";
  if (status !== 429) return "";
  const seconds = Number(headers.get("Retry-After"));
  return seconds ? `. It will work again in ${plural(seconds, "second")}.` : "";
}

/** The body of a POST of JSON, for `ask`. */
export const json = (value) => ({
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(value),
});
