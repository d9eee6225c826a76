// The form that asks for the key, and checks it before anything is changed with it.

import { problemOf } from "./ask.js";
import { checkKey } from "./changes.js";
import { $, announce, tell } from "./dom.js";
import { forgetKey, keepKey } from "./key.js";
import { parts, t } from "./text.js";

const CAN_BE_SENT = /^[\x21-\x7e]+$/; // in a header

let again = async () => {};

/** `show(focus)` draws the view anew when there is a key, or none any more. */
export const onKey = (show) => (again = show);

/** Ask for the key again, where the server no longer takes it. */
export async function askAgain() {
  forgetKey();
  await again(false);
  sayFault(problemOf(parts("key.wrong")));
}

function sayFault(problem) {
  $("key-fault").hidden = !problem;
  $("key").toggleAttribute("aria-invalid", Boolean(problem));
  if (!problem) return;
  tell($("key-fault"), problem);
  $("key").focus();
}

async function use(key) {
  if (!key) return $("key").focus();
  if (!CAN_BE_SENT.test(key)) return sayFault(problemOf(parts("key.unlike")));
  sayFault(null);
  $("key-use").disabled = true;
  try {
    await checkKey(key);
    keepKey(key);
    $("key").value = "";
    return await again(true);
  } catch (problem) {
    return sayFault(problem.status === 401 ? problemOf(parts("key.wrong")) : problem);
  } finally {
    $("key-use").disabled = false;
  }
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  use($("key").value.trim());
});
$("key-forget").addEventListener("click", async () => {
  forgetKey();
  await again(true);
  announce(t("key.forgotten"));
});
