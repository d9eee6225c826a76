// What a visitor has looked at and found right, so that lists of what may be wrong leave it out: on this device.

import { $, announce } from "./dom.js";
import { keep as store, restored } from "./stored.js";

const NAME = "deepfood.kept";
const MOST = 2000; // the oldest go

let kept = new Set(restored(NAME, "localStorage"));

function write() {
  kept = new Set([...kept].slice(-MOST));
  store(NAME, [...kept], "localStorage");
}

export const isKept = (key) => kept.has(key);

/** Leave something out of the lists, or have it there again. */
export function keep(key, isRight = true) {
  if (isRight) kept.add(key);
  else kept.delete(key);
  write();
}

/** Take an item out of its list from now on, and go to the one beside it. */
export function dismiss(item, key, said) {
  keep(key);
  announce(said);
  const next = item.nextElementSibling ?? item.previousElementSibling;
  (next?.querySelector("a") ?? $("look-after-title")).focus();
  item.remove();
}

/** Have all of it in the lists again. */
export function showKept() {
  kept.clear();
  write();
}
