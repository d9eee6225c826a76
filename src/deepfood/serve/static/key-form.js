// The form that asks for the key, and checks it before anything is changed with it.

import { checkKey } from "./changes.js";
import { $, announce } from "./dom.js";
import { forgetKey, keepKey } from "./key.js";
import { t } from "./text.js";

const CAN_BE_SENT = /^[\x21-\x7e]+$/; // in a header

let again = async () => {};

/** `show(focus)` draws the view anew when there is a key, or none any more. */
export const onKey = (show) => (again = show);

/** Ask for the key again, where the server no longer takes it. */
export async function askAgain() {
  forgetKey();
  await again(false);
  sayFault(t("key.wrong"));
}

function sayFault(text) {
  $("key-fault").hidden = !text;
  $("key-fault").textContent = text;
  $("key").toggleAttribute("aria-invalid", Boolean(text));
  if (text) $("key").focus();
}

async function use(key) {
  if (!key) return $("key").focus();
  if (!CAN_BE_SENT.test(key)) return sayFault(t("key.unlike"));
  sayFault("");
  $("key-use").disabled = true;
  try {
    await checkKey(key);
    keepKey(key);
    $("key").value = "";
    return await again(true);
  } catch (problem) {
    return sayFault(problem.status === 401 ? t("key.wrong") : problem.message);
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
