// The web page: a photo goes to POST /api/v1/search, and what comes back is shown.
//
// A search is either {upload: number}, a photo that the visitor gave, or {id}, a photo of the gallery;
// with `where` and `show` of refine.js, and `k`, how many hits are wanted. Where the visitor is lives in
// the browser's history: `?id=…&where=…&group_duplicates=…&diversity=…` in the address, the API's own
// names; the rest in history.state, an uploaded photo too: this tab keeps it, and a link of it does not.
// Everything that changes it ends in show(), and show() draws what is there.

import { offerColumns, onRefined, sayFault, showRefined } from "./refine.js";
import { closeWhy, openWhy } from "./why.js";

const FIRST = 9; // photos in an answer: whole rows of 3; and of 2 below a first one on its own
const MORE = 18; // and what "Show more" adds
const LARGEST = 45; // asked for at once, after a reload or where an answer has no pages
const ORDERS = { varied: { group_duplicates: true, diversity: 0.4 }, grouped: { group_duplicates: true } };
const TWINS = 3; // near-duplicates shown with a hit
const LONGEST = 1024; // pixels: larger photos are shrunk before they are sent
const SMALL_BYTES = 300 * 1024;
const KEPT_UPLOADS = 20;
const MOST_OF_IT = 0.7; // of a photo's area; a square photo has 0.77 in the Model that ships
const KEPT_BYTES = 1024 * 1024; // of a photo in the history: browsers bound what they keep there
/** How likely a hit is the same dish, in words; the only number on a card is its similarity. */
const SAME_DISH = {
  likely: "likely the same dish",
  perhaps: "perhaps the same dish",
  unlikely: "probably another dish",
};

const $ = (id) => document.getElementById(id);
const START_TITLE = document.title;

const uploads = new Map(); // number -> {name, file, blob, url, kept}: `kept` goes into the history
const photos = new Map(); // id -> what the gallery says of it
const answers = new Map(); // search -> answer as far as it was shown, so that back and forward are instant
let running = new AbortController(); // the search under way; a newer one aborts it
let shown = null; // the search on the page
let columns = []; // the gallery's attributes
let fit = null; // what the Model sees of a photo, `crop` of which side, once it is known

// ---------------------------------------------------------------------------------------- history

/** What the address and history say that we look at: null is the start page. */
function wanted() {
  const { upload, k = FIRST } = history.state ?? {};
  const id = new URLSearchParams(location.search).get("id");
  if (id) return { id, k, ...refined() };
  if (upload) return { upload, k, ...refined() };
  return null;
}

/** The filter and the order that the address asks for, whatever photo is searched with. */
function refined() {
  const said = new URLSearchParams(location.search);
  const says = ([name, value]) => said.get(name) === String(value);
  const show = Object.keys(ORDERS).find((order) => Object.entries(ORDERS[order]).every(says));
  return { where: said.get("where") ?? "", show: show ?? "" };
}

/** The address of a search; of an upload, only the server's visitor knows the photo. */
function address({ id, where, show }) {
  const said = Object.entries({ id, where, ...ORDERS[show] }).filter(([, value]) => value);
  return said.length ? `?${new URLSearchParams(said)}` : location.pathname;
}

function visit(search, focus = true) {
  const { upload } = search ?? {};
  const photo = uploads.get(upload)?.kept;
  history.pushState(search && { upload, photo, k: FIRST }, "", address(search ?? {}));
  show({ focus });
  if (focus) scrollTo(0, 0);
}

const visitStart = () => visit(null);
/** Another photo, under the filter and in the order of the page. */
const visitPhoto = (photo) => visit({ ...refined(), ...photo });

function visitUpload(file) {
  const number = Date.now();
  uploads.set(number, { name: file.name, file });
  if (uploads.size > KEPT_UPLOADS) {
    const [oldest, { url }] = uploads.entries().next().value;
    if (url) URL.revokeObjectURL(url);
    uploads.delete(oldest);
  }
  visitPhoto({ upload: number });
}

/** Keep an upload with its place in this tab's history, for when the page is loaded again. */
async function keepUpload(number) {
  const one = uploads.get(number);
  if (one.blob.size > KEPT_BYTES) return;
  one.kept = { name: one.name, type: one.blob.type, bytes: await one.blob.arrayBuffer() };
  if (history.state?.upload === number) history.replaceState({ ...history.state, photo: one.kept }, "");
}

/** Whether the page has an upload, or could take it from the history. */
function hasUpload(number) {
  const { photo } = history.state;
  if (!uploads.has(number) && photo) {
    const blob = new Blob([photo.bytes], { type: photo.type });
    uploads.set(number, { name: photo.name, blob, url: URL.createObjectURL(blob), kept: photo });
  }
  return uploads.has(number);
}

/** Draw what history says. `focus`: the visitor asked for it, so the heading is read out. */
async function show({ focus = false } = {}) {
  running.abort();
  running = new AbortController();
  closeWhy();
  const search = wanted();
  if (search?.upload && !hasUpload(search.upload)) {
    history.replaceState(null, "", address(refined()));
    showStart(focus);
    showNotice("Your photo is too large to be kept when the page is loaded again. Please choose it once more.");
  } else if (search) {
    await showSearch(search, running.signal, focus);
  } else {
    showStart(focus);
    const { where, show } = refined();
    if (where) showNotice(`A link cannot carry a photo. Choose one: it is searched with the filter ${where}`);
    else if (show) showNotice("A link cannot carry a photo. Choose one to search with.");
  }
}

// ------------------------------------------------------------------------------------- start page

function showStart(focus) {
  shown = null;
  $("answer").hidden = true;
  $("start").hidden = false;
  $("notice").hidden = true;
  document.title = START_TITLE;
  if (focus) $("start-title").focus({ preventScroll: true });
  if (!$("sample-list").children.length) loadSamples();
}

function showNotice(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
  announce(text);
}

async function loadSamples() {
  try {
    const samples = await ask("api/v1/samples?k=12");
    $("sample-list").replaceChildren(...samples.map((photo) => card(photo)));
    $("samples").hidden = samples.length === 0;
  } catch (problem) {
    showNotice(problem.message);
  }
}

async function loadGallery() {
  try {
    const gallery = await ask("api/v1/gallery");
    const { photos: count, labels } = gallery;
    const parts = [plural(count, "photo"), ...(labels ? [plural(labels, "label")] : [])];
    $("counts").replaceChildren(...parts.map((text) => element("span", text)));
    columns = gallery.attributes;
    fit = { resize: gallery.resize, crop: gallery.crop };
    drawSeen();
    if (count === 0) showNotice("There are no photos in this gallery yet.");
  } catch {
    // Counts are an ornament; where the server is gone, the search itself says so.
  }
  offerColumns(columns);
}

// ----------------------------------------------------------------------------------------- search

async function showSearch(search, signal, focus) {
  const fewer = shown && sameSearch(shown, search) && shown.k < search.k ? shown : null;
  shown = search;
  startAnswer(search, fewer);
  if (focus && !fewer) $("title").focus({ preventScroll: true });
  try {
    const answer = await findAnswer(search, signal);
    await loaded;
    if (!signal.aborted) drawAnswer(search, answer, fewer);
  } catch (problem) {
    if (signal.aborted) return; // a newer search has the page
    drawProblem(problem);
    if (fewer) backToFewer(fewer);
  }
}

/** The same search under another filter or in another order. What is wrong with it changes nothing. */
async function refineSearch(said) {
  const search = { ...shown, ...said, k: FIRST };
  if (sameSearch(search, shown)) return;
  running.abort();
  running = new AbortController();
  const { signal } = running;
  $("hits").setAttribute("aria-busy", "true");
  try {
    await findAnswer(search, signal);
  } catch (problem) {
    if (signal.aborted) return;
    $("hits").removeAttribute("aria-busy");
    if (problem.field === "where") return sayFault(problem);
  }
  if (!signal.aborted) visit(search, false); // the answer is known, or fails again to be told
}

/** The answer's page before the answer: heading, the photo searched with, blanks for the hits. */
function startAnswer(search, fewer) {
  $("start").hidden = true;
  $("answer").hidden = false;
  $("problem").hidden = true;
  $("more").hidden = true;
  if (!fewer) {
    $("hits").replaceChildren();
    $("verdict").hidden = true;
    $("notes").hidden = true;
    showRefined(search);
    drawQuery(search);
  }
  if (isKnown(search)) return;
  $("hits").setAttribute("aria-busy", "true");
  $("summary").textContent = "Looking…";
  const missing = search.k - $("hits").children.length;
  for (let i = 0; i < missing; i++) $("hits").append($("blank").content.cloneNode(true));
}

const isKnown = (search) => {
  const known = answers.get(key(search));
  return known && (known.hits.length >= search.k || !known.more);
};

/** At least `k` hits of a search if there are as many: known ones, the next page, or all anew. */
async function findAnswer(search, signal) {
  if (isKnown(search)) return answers.get(key(search));
  const known = answers.get(key(search));
  let answer = known?.next && (await nextPage(search, known, signal));
  answer ??= await request(search, { k: Math.min(search.k, LARGEST) }, signal);
  const { hits, next } = answer;
  // An answer in another order has no pages: a longer one is asked for.
  answer.more = Boolean(next) || (search.show && hits.length >= search.k && search.k < LARGEST);
  answers.set(key(search), answer);
  return answer;
}

/** What is known and one more page; null where the gallery was made anew since. */
async function nextPage(search, known, signal) {
  try {
    const page = await request(search, { k: search.k - known.hits.length, cursor: known.next }, signal);
    return { ...known, ...page, hits: [...known.hits, ...page.hits] };
  } catch (problem) {
    if (signal.aborted || problem.status !== 422) throw problem;
    return null;
  }
}

async function request(search, page, signal) {
  const said = { ...ORDERS[search.show], ...(search.where && { where: search.where }), ...page };
  const body = search.id ? await idQuery(search, said, signal) : await uploadQuery(search, said, signal);
  return ask("api/v1/search", { method: "POST", signal, ...body });
}

async function idQuery({ id }, said, signal) {
  if (!photos.has(id)) {
    photos.set(id, await ask(`api/v1/photos/${encodeURIComponent(id)}`, { signal }));
    drawQuery({ id });
  }
  return {
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ id, ...said }),
  };
}

async function uploadQuery({ upload }, said, signal) {
  const one = uploads.get(upload);
  if (!one.blob) {
    one.blob = await shrink(one.file);
    one.url = URL.createObjectURL(one.blob);
    await keepUpload(upload);
    signal.throwIfAborted();
    drawQuery({ upload });
  }
  const body = new FormData();
  body.append("photo", one.blob, one.name || "photo");
  for (const [name, value] of Object.entries(said)) body.append(name, value);
  return { body };
}

function drawQuery({ id, upload }) {
  const photo = photos.get(id);
  const image = $("query-photo");
  const source = upload ? uploads.get(upload).url : photo && `thumbnails/${photo.id}`;
  $("query").classList.toggle("without-photo", !source);
  if (source) image.src = source;
  else image.removeAttribute("src");
  $("query-seen").hidden = $("query-part").hidden = true; // until it is loaded
  $("query-name").textContent = upload ? "Your photo" : photo ? nameOf(photo) : "";
  $("query-label").textContent = (upload ? uploads.get(upload).name : labelOf(photo)) ?? "";
  const title = upload ? "Photos like yours" : photo ? `Photos like ${nameOf(photo)}` : "Photos alike";
  $("title").textContent = title;
  document.title = `${title} · deepfood`;
}

/** How wide and high the middle is that the Model sees of a photo; nothing lies beyond a padded one. */
function seenOf(width, height) {
  const { resize, crop } = fit;
  if (resize === "squash") return [crop * width, crop * height];
  const side = crop * (resize === "pad" ? Math.max(width, height) : Math.min(width, height));
  return [Math.min(side, width), Math.min(side, height)];
}

/** Draw the part of the photo that the Model sees, and say so where that is not most of it. */
function drawSeen() {
  const { naturalWidth: width, naturalHeight: height, parentElement: frame } = $("query-photo");
  const known = Boolean(fit && width && $("query-photo").hasAttribute("src"));
  const [wide, high] = known ? seenOf(width, height) : [0, 0];
  $("query-seen").hidden = !known;
  $("query-part").hidden = !known || wide * high > MOST_OF_IT * width * height;
  const shape = frame.clientWidth / frame.clientHeight;
  const scale = Math.min(shape / width, 1 / height); // the whole photo in the frame, whose height is 1
  $("query-seen").style.setProperty("--wide", `${(100 * wide * scale) / shape}%`);
  $("query-seen").style.setProperty("--high", `${100 * high * scale}%`);
}

function drawAnswer(search, { hits, verdict, label, total, notes, more }, fewer) {
  $("hits").removeAttribute("aria-busy");
  const before = new Set(Array.from($("hits").querySelectorAll(".like"), (link) => link.dataset.id));
  for (const blank of $("hits").querySelectorAll(".blank")) blank.remove();
  if (search.show) $("hits").replaceChildren(); // more of them may be other ones
  const missing = hits.slice($("hits").children.length);
  $("hits").append(...missing.map((hit) => card(hit)));
  const added = hits.filter((hit) => !before.has(hit.id));
  drawVerdict(search, verdict, label);
  const passing = search.where ? " that pass the filter" : "";
  const none = passing ? "No photo passes the filter" : "There are no photos to compare it with";
  const count = hits.reduce((sum, hit) => sum + 1 + hit.alike.length, 0);
  const counted = `${count < total ? `${count.toLocaleString("en")} of ` : ""}${plural(total, "photo")}${passing}`;
  $("summary").textContent = hits.length ? `${counted}, the most alike first` : none;
  $("notes").textContent = notes.map((note) => `${capital(note)}.`).join(" ");
  $("notes").hidden = notes.length === 0;
  $("more").hidden = !more;
  const like = search.upload ? "your photo" : nameOf(photos.get(search.id));
  const parts = [
    verdict && $("verdict").textContent,
    fewer && `${added.length} more.`,
    hits.length ? `${counted}, those most like ${like}.` : `${none}.`,
    $("notes").textContent,
  ];
  announce(parts.filter(Boolean).join(" "));
  if (fewer && added.length) $("hits").querySelector(`.like[data-id="${added[0].id}"]`).focus();
}

/** In words, what the gallery thinks of the photo; nothing where it cannot tell, or knows. */
function drawVerdict(search, verdict, label) {
  $("verdict").hidden = !verdict;
  if (!verdict) return;
  if (verdict === "none") {
    const nothing = `Probably nothing ${search.id ? "else " : ""}like it in this gallery`;
    $("verdict").textContent = `${nothing}: the nearest photos are shown anyway.`;
    return;
  }
  const name = element("strong", readable(label.label));
  name.dir = "auto";
  const opening = verdict === "match" ? "Looks like " : "Perhaps ";
  $("verdict").replaceChildren(opening, name, ".");
}

function drawProblem(problem) {
  // What was there before "Show more" stays; only the blanks go.
  for (const blank of $("hits").querySelectorAll(".blank")) blank.remove();
  $("hits").removeAttribute("aria-busy");
  if (!$("hits").children.length) {
    $("title").textContent = "That did not work";
    document.title = "That did not work · deepfood";
  }
  $("summary").textContent = "";
  if (problem.field === "where") {
    sayFault(problem);
    return;
  }
  $("problem-text").textContent = problem.message;
  $("retry").hidden = !problem.passing;
  $("problem").hidden = false;
  announce(problem.message);
}

/** "Show more" failed: the page and the history stay as they were, and it can be pressed again. */
function backToFewer(fewer) {
  shown = fewer;
  history.replaceState({ ...history.state, k: fewer.k }, "");
  $("retry").hidden = true;
  $("more").hidden = false;
  $("title").focus();
}

/** Show which regions make a hit and the photo searched with alike. */
function askWhy(hit) {
  const { id, upload } = shown;
  const query = upload
    ? { name: "Your photo", url: uploads.get(upload).url }
    : { name: nameOf(photos.get(id)), url: `thumbnails/${id}` };
  const found = { name: nameOf(photos.get(hit)), url: `thumbnails/${hit}` };
  openWhy({ query, hit: found }, (signal) => {
    const body = new FormData();
    body.append("hit", hit);
    if (upload) body.append("photo", uploads.get(upload).blob, "photo");
    else body.append("id", id);
    return ask("api/v1/explain", { method: "POST", signal, body });
  });
}

// ------------------------------------------------------------------------------------ small parts

/** A photo of the gallery as a list item; how much alike it is, and the original, where it is a hit. */
function card(photo) {
  const item = $("card").content.cloneNode(true).firstElementChild;
  const part = (name) => item.querySelector(`.${name}`);
  photos.set(photo.id, photo);
  part("like").href = address({ ...refined(), id: photo.id });
  part("like").dataset.id = photo.id;
  // Not thumbnail_url: behind a `public_url` that names another host, it still is this server.
  part("frame").firstElementChild.src = `thumbnails/${photo.id}`;
  part("name").textContent = nameOf(photo);
  part("name").title = nameOf(photo);
  part("label").textContent = labelOf(photo) ?? "";
  if (photo.score === undefined) {
    for (const empty of item.querySelectorAll(".facts, .twins, .same-dish")) empty.remove();
    part("similarity").remove();
    part("original").remove();
    part("ask").remove();
  } else {
    const alike = `${Math.max(0, Math.round(photo.score * 100))}%`;
    part("percent").textContent = alike;
    part("bar").style.setProperty("--filled", alike);
    part("same-dish").textContent = SAME_DISH[photo.same_dish] ?? "";
    part("original").href = `photos/${photo.id}`;
    part("original").lastElementChild.textContent = `The original of ${nameOf(photo)}, in a new tab`;
    part("ask").dataset.id = photo.id;
    part("ask").lastElementChild.textContent = ` ${nameOf(photo)}`;
    const [about, safety] = item.querySelectorAll(".facts");
    about.textContent = facts(photo.attributes, columns.filter((one) => !one.safety));
    safety.textContent = facts(photo.attributes, columns.filter((one) => one.safety));
    for (const twin of photo.alike.slice(0, TWINS)) part("twins").append(twinLink(twin));
    if (photo.alike.length > TWINS) part("twins").append(`and ${photo.alike.length - TWINS} more`);
    part("twins").hidden = photo.alike.length === 0;
  }
  return item;
}

/** What is known of a photo, in words. That nothing is known of a safety attribute is said too. */
function facts(values, among) {
  const said = among.map(({ name, safety }) => {
    const word = readable(name);
    const value = values[name];
    if (value === undefined) return safety && `${word}: not known`;
    if (/^https?:/.test(value)) return null; // too long for a card, and not for reading
    if (typeof value === "boolean") return value ? word : `not ${word}`;
    if (typeof value === "string") return value;
    return `${word}: ${Array.isArray(value) ? value.join(", ") || "none" : value}`;
  });
  return said.filter(Boolean).join(" · ");
}

function twinLink(photo) {
  photos.set(photo.id, photo);
  const link = element("a", "");
  const image = element("img", "");
  link.className = "twin";
  link.href = address({ ...refined(), id: photo.id });
  link.dataset.id = photo.id;
  image.src = `thumbnails/${photo.id}`;
  image.alt = `More like ${nameOf(photo)}`;
  link.append(image);
  return link;
}

const readable = (label) => label?.replaceAll("_", " "); // folders are named apple_pie
const nameOf = (photo) => photo.name ?? readable(photo.label) ?? `Photo ${photo.id.slice(0, 6)}`;
const labelOf = (photo) => (photo?.name ? readable(photo.label) : null);
const key = ({ id, upload, where, show }) => JSON.stringify([id, upload, where, show]);
const sameSearch = (a, b) => key(a) === key(b);
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function announce(text) {
  $("status").textContent = text;
}

/** Fetch JSON. Throws an Error with a sentence for the visitor; `passing` if it may work later; with
 *  the answer's `status`, and where it says so the `field` and the `position` in it that are at fault. */
async function ask(address, options) {
  let answer;
  let body;
  try {
    answer = await fetch(address, options);
    body = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (answer) {
      body = null; // not JSON: something between here and the server answered
    } else {
      const why = navigator.onLine ? "The server cannot be reached." : "You seem to be offline.";
      throw Object.assign(new Error(`${why} Please try again in a moment.`), { passing: true });
    }
  }
  if (answer.ok && body !== null) return body;
  const detail = body?.detail ?? `the server answered with status ${answer.status}`;
  const { field, position } = body ?? {};
  const passing = answer.ok || answer.status >= 500;
  throw Object.assign(new Error(capital(detail)), { passing, status: answer.status, field, position });
}

/** A large photo as a smaller upright JPEG of the same shape; what is small, or what the browser
 *  cannot read (HEIC in most), as it came. */
async function shrink(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return file;
  }
  const longest = Math.max(bitmap.width, bitmap.height);
  if (longest <= LONGEST && file.size < SMALL_BYTES) return file;
  const scale = Math.min(1, LONGEST / longest);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // beneath what is transparent, as the server does it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
  return blob ?? file;
}

// ----------------------------------------------------------------------------- what visitors do

/** The first photo among files given in any way. */
function take(files) {
  const given = [...(files ?? [])];
  const file = given.find((one) => one.type.startsWith("image/")) ?? given[0];
  if (file) visitUpload(file);
  return Boolean(file);
}

/** Plain clicks on our own links are searches; with Ctrl, Shift or the middle button, links. */
function onPlainClick(element, action) {
  element.addEventListener("click", (event) => {
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    action(event);
  });
}

onPlainClick($("skip"), (event) => {
  event.preventDefault(); // "#main" in the address would be one more step in the history
  $("main").focus();
});

for (const id of ["home", "restart"]) {
  onPlainClick($(id), (event) => {
    event.preventDefault();
    visitStart();
  });
}

for (const id of ["sample-list", "hits"]) {
  onPlainClick($(id), (event) => {
    const link = event.target.closest(".like, .twin");
    if (!link) return;
    event.preventDefault();
    visitPhoto({ id: link.dataset.id });
  });
}

$("hits").addEventListener("click", (event) => {
  const button = event.target.closest(".ask");
  if (button) askWhy(button.dataset.id);
});

for (const button of document.querySelectorAll("[data-picks]")) {
  button.addEventListener("click", () => $(button.dataset.picks).click());
}

for (const input of [$("file"), $("camera")]) {
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
}

$("shuffle").addEventListener("click", loadSamples);
$("retry").addEventListener("click", () => show({ focus: true }));
$("more").addEventListener("click", () => {
  const k = $("hits").children.length + MORE;
  history.replaceState({ ...history.state, k }, "");
  show();
});

$("query-photo").addEventListener("load", drawSeen);
$("query-photo").addEventListener("error", () => $("query").classList.add("without-photo"));

document.addEventListener("paste", (event) => {
  if (take(event.clipboardData?.files)) event.preventDefault();
});

// While something is dragged over the page, the veil lies over all of it and gets every event.
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

addEventListener("dragenter", (event) => {
  if (carriesFiles(event)) $("veil").hidden = false;
});
$("veil").addEventListener("dragleave", () => ($("veil").hidden = true));
addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  $("veil").hidden = true;
  take(event.dataTransfer.files);
});

addEventListener("popstate", () => show({ focus: true }));
onRefined(refineSearch);

const loaded = loadGallery();
show();
