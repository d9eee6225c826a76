// Add photos: those that are chosen or dropped are shown first, and get a label; nothing is sent before
// "Add" is pressed. queue.js sends them.

import { combobox } from "./combobox.js";
import { labelsLike } from "./label-field.js";
import { $, announce, element } from "./dom.js";
import { giveTo } from "./given.js";
import { keyNow } from "./key.js";
import { drawQueue, enqueue } from "./queue.js";
import { t } from "./text.js";
import { lookedAfter } from "./views.js";
import { go } from "./visits.js";

const NUMBERED = /^((img|image|dsc[nf]?|pxl|mvimg|photo|picture|screenshot|signal|whatsapp)?\P{L}*|[\da-f-]{16,})$/iu;

let chosen = []; // {file, name, url}: to be added
let isNew = false; // some of it was just chosen
const suggestions = combobox($("adding-label"), $("adding-labels"), () => labelsLike($("adding-label").value), ({ text }) => {
  $("adding-label").value = text;
});

/** Draw what is to be added, and what is under way. */
export function showAdding() {
  draw();
  drawQueue();
  if (!isNew) return;
  isNew = false;
  announce($("adding-count").textContent);
  $("adding-label").focus();
}

/** What a photo is called by its file: nothing, where a camera or a program has numbered it. */
export function nameFrom(file) {
  const name = file.replace(/\.\w{1,5}$/, "").replaceAll(/[_\s]+/g, " ").trim();
  return NUMBERED.test(name) ? "" : name.slice(0, 1000);
}

function take(files) {
  const more = [...files].map((file) => ({ file, name: nameFrom(file.name), url: URL.createObjectURL(file) }));
  chosen = [...chosen, ...more];
  isNew = true;
  if (lookedAfter() === "") showAdding();
  else go(null, "?look-after", false); // which shows it
}

function draw() {
  $("adding-form").hidden = !chosen.length;
  $("adding-count").textContent = t("adding.count", { count: chosen.length });
  $("adding-go").textContent = t("adding.add", { count: chosen.length });
  $("adding-chosen").replaceChildren(...chosen.map(item));
}

function item(one) {
  const [made, frame, image, leave] = [element("li", ""), element("span", ""), element("img", ""), element("button", "")];
  frame.className = "frame";
  Object.assign(image, { src: one.url, alt: "", loading: "lazy", decoding: "async" });
  frame.append(image);
  const name = element("span", one.name || one.file.name);
  name.className = "name";
  name.dir = "auto";
  Object.assign(leave, { type: "button", className: "button quiet small", textContent: t("adding.leave") });
  const about = element("span", name.textContent);
  about.className = "unseen";
  leave.append(" ", about);
  leave.addEventListener("click", () => drop([one]));
  made.append(frame, name, leave);
  return made;
}

/** Leave some out again. */
function drop(some) {
  const at = chosen.indexOf(some[0]);
  for (const { url } of some) URL.revokeObjectURL(url);
  chosen = chosen.filter((one) => !some.includes(one));
  draw();
  announce(t("adding.count", { count: chosen.length }));
  const next = $("adding-chosen").children[Math.min(at, chosen.length - 1)];
  (next?.querySelector("button") ?? $("adding-choose")).focus();
}

$("adding-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (suggestions.choose()) return;
  suggestions.close();
  const label = $("adding-label").value.trim();
  enqueue(chosen.map((one) => ({ ...one, label })));
  chosen = [];
  draw();
  $("queue-title").focus();
});
$("adding-cancel").addEventListener("click", () => drop(chosen));
$("adding-choose").addEventListener("click", () => $("adding-files").click());
$("adding-files").addEventListener("change", () => {
  const files = [...$("adding-files").files];
  $("adding-files").value = ""; // so that the same file can be chosen again
  if (files.length) take(files);
});
giveTo({ take, says: t("adding.veil"), wants: () => lookedAfter() !== null && Boolean(keyNow()) && !$("detail").open });
