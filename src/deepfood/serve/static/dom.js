// Small parts that the rest of the page is made of.

export const $ = (id) => document.getElementById(id);

export function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** Have screen readers read a text out. */
export function announce(text) {
  $("status").textContent = text;
}

/** Tell on the answer's page what was not done as it was asked for, until the next step. */
export function say(text) {
  $("said").textContent = text;
  $("said").hidden = !text;
  if (text) announce(text);
}

/** Put the sentence of a problem (ask.js) into a part of the page. */
export function tell(place, { pieces }) {
  place.replaceChildren(...pieces.map((one) => one.cloneNode?.(true) ?? one)); // it may be told elsewhere too
}

/** Name the page in the browser's tab and history. */
export function entitle(text) {
  document.title = `${text} · deepfood`;
}

/** Plain clicks on our own links are searches; with Ctrl, Shift or the middle button, links. */
export function onPlainClick(element, action) {
  element.addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    action(event);
  });
}

const SEEN = 4; // photos of a list that even a small screen shows, or nearly

/** Have one of the first photos of a list loaded at once. `place` counts from 0. */
export function loadEarly(image, place) {
  if (place < SEEN) image.loading = "eager";
  if (place === 0) image.fetchPriority = "high";
}
