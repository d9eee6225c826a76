// Requests to the server.

import { send } from "./send.js";
import { inEnglish, parts, textOf } from "./text.js";

/** A sentence for the visitor as an Error: as text in `message`, and in `pieces` as parts() gives them. */
export function problemOf(pieces, more = {}) {
  return Object.assign(new Error(textOf(pieces)), { ...more, pieces });
}

/** Fetch JSON. Throws an Error of problemOf(); `passing` if it may work later; with the answer's
 *  `status`, and where it says so the `field` and the `position` in it that are at fault,
 *  `detail`, what the server says, after how many seconds to `wait`, and the `location` it names.
 *  Beside fetch()'s options, `sent` may be a function that is told which share of the body is sent. */
export async function ask(address, options) {
  return (await answerTo(address, options)).body;
}

/** As `ask`, with the headers of the answer: {body, headers}; no body where it has none. */
export async function answerTo(address, options) {
  let answer;
  let body;
  try {
    answer = await (options?.sent ? send : fetch)(address, options);
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
  throw refusalOf(answer, body);
}

/** The Error of a request that got no answer. */
export function unreachable() {
  const pieces = navigator.onLine ? parts("problem.unreachable") : parts("problem.offline");
  return problemOf(pieces, { passing: true });
}

/** The Error of an answer that is a refusal, or that is not as it should be. */
function refusalOf({ ok, status, headers }, body) {
  const { field, position, detail } = body ?? {};
  const [wait, location] = [Number(headers.get("Retry-After")), headers.get("Location")];
  const passing = ok || status >= 500 || status === 429;
  return problemOf(refusal(status, wait, detail), { passing, status, wait, location, field, position, detail });
}

/** A refusal in the visitor's language, with what the server says of it, and the way out. */
function refusal(status, seconds, detail) {
  if (!detail) return parts("problem.status", { status: String(status) });
  const values = { detail: inEnglish(detail.charAt(0).toUpperCase() + detail.slice(1)) };
  if (status === 413) return parts("problem.413", values);
  if (status === 415) return parts("problem.415", values);
  if (status === 429 && seconds) return parts("problem.429", { ...values, count: seconds });
  if (status === 503) return parts("problem.503", values);
  if (status === 504) return parts("problem.504", values);
  return status >= 500 ? parts("problem.500", values) : parts("problem.other", values);
}

/** The body of a POST of JSON, for `ask`. */
export const json = (value) => ({
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(value),
});
