// Recent questions, on this device only: a row on the start page, where one click asks again.
//
// A record is {key, subject, at, search, names, bytes, thumbs}: `names` of the photos that are searched
// with, by id, and `thumbs`, small pictures of the visitor's own, by number.

import { $, announce, element, onPlainClick } from "./dom.js";
import { likesIn, nameOfExample, pictureOf } from "./examples.js";
import { onKept, resultOf, withStores } from "./kept.js";
import { alone, t } from "./text.js";
import { smallPicture } from "./thumbs.js";
import { restoreUpload, uploads } from "./uploads.js";
import { address, visit } from "./visits.js";

const MOST = 20;
const MOST_BYTES = 24 * 1024 * 1024; // of the visitor's photos together
const LARGEST_BYTES = 4 * 1024 * 1024; // of those of one question
const SHOWN = 3; // pictures of a question

/** Keep a question that was answered. */
export async function keepQuestion(search) {
  try {
    const record = await recordOf(search);
    if (record.bytes > LARGEST_BYTES) return;
    const photos = await Promise.all(ownOf(search).map(({ upload }) => photoOf(upload)));
    await withStores(["questions", "photos"], "readwrite", async (questions, kept) => {
      for (const photo of photos) kept.put(photo);
      const before = await sorted(questions);
      // A question that only narrows the one before takes its place.
      if (before[0]?.subject === record.subject) questions.delete(before[0].key);
      questions.put(record);
      await trim(questions, kept);
    });
    if (!$("start").hidden) await showRecent(); // the visitor was faster
  } catch {
    // A browser that keeps nothing, or has no room: the search is as good without.
  }
}

const ownOf = ({ examples }) => examples.filter(({ upload }) => upload);

async function recordOf({ examples, words, where, show, plate }) {
  const own = ownOf({ examples });
  const nameOf = ({ upload }) => upload && `${uploads.get(upload).name} ${uploads.get(upload).blob.size}`;
  const about = (one) => [one.id, one.url, nameOf(one), one.unlike];
  const subject = JSON.stringify([examples.map(about), words]);
  const known = examples.filter(({ id }) => id).map((one) => [one.id, nameOfExample(one)]);
  const thumbs = await Promise.all(own.map(async ({ upload }) => [upload, await smallPicture(uploads.get(upload).blob)]));
  return {
    key: JSON.stringify([subject, examples.map(({ box }) => box), where, show, ...(plate ? ["plate"] : [])]),
    subject,
    at: Date.now(),
    search: { examples, words, where, show, ...(plate && { plate }) },
    names: Object.fromEntries(known),
    bytes: own.reduce((sum, { upload }) => sum + uploads.get(upload).blob.size, 0),
    thumbs: Object.fromEntries(thumbs),
  };
}

async function photoOf(number) {
  const { name, blob } = uploads.get(number);
  return { number, name, type: blob.type, bytes: await blob.arrayBuffer() };
}

/** All records, the newest first. */
const sorted = async (questions) => (await resultOf(questions.getAll())).sort((a, b) => b.at - a.at);

/** Let the oldest go where there are too many, and photos that no question has any more. */
async function trim(questions, kept) {
  const all = await sorted(questions);
  let bytes = 0;
  const stay = all.filter((one, at) => (bytes += one.bytes) <= MOST_BYTES && at < MOST);
  for (const { key } of all.filter((one) => !stay.includes(one))) questions.delete(key);
  const needed = new Set(stay.flatMap(({ search }) => ownOf(search).map(({ upload }) => upload)));
  for (const number of await resultOf(kept.getAllKeys())) if (!needed.has(number)) kept.delete(number);
}

/** Draw the row, which is hidden where there is none. */
export async function showRecent() {
  const all = await withStores(["questions"], "readonly", sorted).catch(() => []);
  const within = [...$("recent-list").children].findIndex((item) => item.contains(document.activeElement));
  $("recent").hidden = all.length === 0;
  $("recent-list").replaceChildren(...all.map(item));
  if (within < 0) return;
  const { children } = $("recent-list"); // the focus stays where it was in the row
  (children[Math.min(within, children.length - 1)]?.querySelector("a") ?? $("start-title")).focus();
}

function item(record) {
  const made = $("recent-item").content.cloneNode(true).firstElementChild;
  const [link, forget] = made.children;
  const { search } = record;
  const name = nameOf(record);
  link.href = address(search);
  link.querySelector(".pictures").append(...search.examples.slice(0, SHOWN).map((one) => pictureIn(one, record)));
  link.querySelector(".name").textContent = name;
  link.querySelector(".label").textContent = [search.plate && t("plate.find"), search.where, orderOf(search)].filter(Boolean).map(alone).join(" · ");
  forget.lastElementChild.textContent = t("recent.forget", { name });
  onPlainClick(link, (event) => {
    event.preventDefault();
    again(record);
  });
  forget.addEventListener("click", async () => {
    await forgetQuestions((questions) => questions.delete(record.key));
    announce(t("chip.taken-out", { name }));
  });
  return made;
}

/** The words, or what the first photo is called. */
function nameOf({ search: { examples, words }, names }) {
  if (words) return t("recent.words", { words });
  const [first] = likesIn(examples);
  return names[first.id] ?? nameOfExample(first);
}

const orderOf = ({ show }) => show && [...$("show").options].find(({ value }) => value === show)?.text;

function pictureIn(example, { thumbs }) {
  const frame = element("span", "");
  const image = element("img", "");
  frame.className = "frame";
  frame.classList.toggle("unlike", Boolean(example.unlike));
  image.alt = "";
  image.loading = "lazy";
  const source = example.upload ? thumbs[example.upload] : pictureOf(example);
  frame.classList.toggle("broken", !source);
  if (source) image.src = source;
  frame.append(image);
  return frame;
}

/** Ask a question again. */
async function again(record) {
  const { search } = record;
  const numbers = ownOf(search).map(({ upload }) => upload);
  const photos = await withStores(["photos"], "readonly", (kept) =>
    Promise.all(numbers.map((number) => resultOf(kept.get(number)))),
  ).catch(() => []);
  for (const photo of photos) if (photo) restoreUpload(photo.number, photo);
  visit(search);
}

/** Take questions out, and draw what is left. */
async function forgetQuestions(act) {
  await withStores(["questions", "photos"], "readwrite", async (questions, kept) => {
    act(questions);
    await trim(questions, kept);
  }).catch(() => {});
  await showRecent();
}

$("recent-clear").addEventListener("click", async () => {
  $("start-title").focus({ preventScroll: true }); // the button goes
  await forgetQuestions((questions) => questions.clear());
  announce(t("recent.cleared"));
});
onKept("questions", () => !$("start").hidden && showRecent());
