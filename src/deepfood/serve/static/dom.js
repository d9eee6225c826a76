// Small parts that the rest of the page is made of.

export const $ = (id) => document.getElementById(id);

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

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

/** Plain clicks on our own links are searches; with Ctrl, Shift or the middle button, links. */
export function onPlainClick(element, action) {
  element.addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    action(event);
  });
}
