// The web page: a photo goes to POST /api/v1/search, and what comes back is shown.
//
// A search is either {upload: number}, a photo that the visitor gave, or {like: id}, a photo of the
// gallery. Where the visitor is lives in the browser's history: `?like=<id>` in the address, the
// rest in history.state. Everything that changes it ends in show(), and show() draws what is there.

import { closeWhy, openWhy } from "./why.js";

const FIRST = 9; // photos in an answer, and in those that "Show more" leads to
const STEPS = [FIRST, 27, 45]; // whole rows of 3; and of 2 below a first one on its own
const LONGEST = 1024; // pixels: larger photos are shrunk before they are sent
const SMALL_BYTES = 300 * 1024;
const KEPT_UPLOADS = 20;

const $ = (id) => document.getElementById(id);
const START_TITLE = document.title;

const uploads = new Map(); // number -> {file, blob, url}; gone after a reload
const photos = new Map(); // id -> what the gallery says of it
const answers = new Map(); // search and k -> answer, so that back and forward are instant
let running = new AbortController(); // the search under way; a newer one aborts it
let shown = null; // the search and k on the page

// ---------------------------------------------------------------------------------------- history

/** What the address and history say that we look at: null is the start page. */
function wanted() {
  const k = history.state?.k ?? FIRST;
  const like = new URLSearchParams(location.search).get("like");
  if (like) return { like, k };
  if (history.state?.upload) return { upload: history.state.upload, k };
  return null;
}

function visit(state, address) {
  history.pushState(state, "", address);
  show({ focus: true });
  scrollTo(0, 0);
}

const visitStart = () => visit(null, location.pathname);
const visitLike = (id) => visit({ k: FIRST }, `?like=${encodeURIComponent(id)}`);

function visitUpload(file) {
  const number = Date.now();
  uploads.set(number, { file });
  if (uploads.size > KEPT_UPLOADS) {
    const [oldest, { url }] = uploads.entries().next().value;
    if (url) URL.revokeObjectURL(url);
    uploads.delete(oldest);
  }
  visit({ upload: number, k: FIRST }, location.pathname);
}

/** Draw what history says. `focus`: the visitor asked for it, so the heading is read out. */
async function show({ focus = false } = {}) {
  running.abort();
  running = new AbortController();
  closeWhy();
  const search = wanted();
  if (search?.upload && !uploads.has(search.upload)) {
    history.replaceState(null, "", location.pathname);
    showStart(focus);
    showNotice("Your photo was not kept when the page was loaded again. Please choose it once more.");
  } else if (search) {
    await showSearch(search, running.signal, focus);
  } else {
    showStart(focus);
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
    const samples = await ask("api/v1/samples?count=12");
    $("sample-list").replaceChildren(...samples.map((photo) => card(photo)));
    $("samples").hidden = samples.length === 0;
  } catch (problem) {
    showNotice(problem.message);
  }
}

async function loadCounts() {
  try {
    const { photos: count, labels } = await ask("api/v1/gallery");
    const parts = [plural(count, "photo"), ...(labels ? [plural(labels, "label")] : [])];
    $("counts").replaceChildren(...parts.map((text) => element("span", text)));
    if (count === 0) showNotice("There are no photos in this gallery yet.");
  } catch {
    // Only an ornament; where the server is gone, the search itself says so.
  }
}

// ----------------------------------------------------------------------------------------- search

async function showSearch(search, signal, focus) {
  const fewer = shown && sameSearch(shown, search) && shown.k < search.k ? shown : null;
  shown = search;
  startAnswer(search, fewer);
  if (focus && !fewer) $("title").focus({ preventScroll: true });
  try {
    drawAnswer(search, await findAnswer(search, signal));
    if (fewer) $("hits").querySelectorAll(".like")[fewer.k]?.focus();
  } catch (problem) {
    if (signal.aborted) return; // a newer search has the page
    drawProblem(problem);
    if (fewer) backToFewer(fewer);
  }
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
    drawQuery(search);
  }
  if (answers.has(key(search))) return;
  $("hits").setAttribute("aria-busy", "true");
  $("summary").textContent = "Looking…";
  const missing = search.k - $("hits").children.length;
  for (let i = 0; i < missing; i++) $("hits").append($("blank").content.cloneNode(true));
}

async function findAnswer(search, signal) {
  const known = answers.get(key(search));
  if (known) return known;
  const body = search.like ? await likeQuery(search, signal) : await uploadQuery(search, signal);
  const answer = await ask("api/v1/search", { method: "POST", signal, ...body });
  answers.set(key(search), answer);
  return answer;
}

async function likeQuery({ like, k }, signal) {
  if (!photos.has(like)) {
    photos.set(like, await ask(`api/v1/photos/${encodeURIComponent(like)}`, { signal }));
    drawQuery({ like });
  }
  return {
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ id: like, k }),
  };
}

async function uploadQuery({ upload, k }, signal) {
  const one = uploads.get(upload);
  if (!one.blob) {
    one.blob = await shrink(one.file);
    one.url = URL.createObjectURL(one.blob);
    signal.throwIfAborted();
    drawQuery({ upload });
  }
  const body = new FormData();
  body.append("photo", one.blob, one.file.name || "photo");
  body.append("k", k);
  return { body };
}

function drawQuery({ like, upload }) {
  const photo = photos.get(like);
  const image = $("query-photo");
  const source = upload ? uploads.get(upload).url : photo && `thumbnails/${photo.id}`;
  $("query").classList.toggle("without-photo", !source);
  if (source) image.src = source;
  else image.removeAttribute("src");
  $("query-name").textContent = upload ? "Your photo" : photo ? nameOf(photo) : "";
  $("query-label").textContent = (upload ? uploads.get(upload).file.name : labelOf(photo)) ?? "";
  const title = upload ? "Photos like yours" : photo ? `Photos like ${nameOf(photo)}` : "Photos alike";
  $("title").textContent = title;
  document.title = `${title} · deepfood`;
}

function drawAnswer(search, { hits, verdict, label }) {
  $("hits").removeAttribute("aria-busy");
  // Where nothing is like it, how likely a photo is the same dish would contradict that.
  $("hits").replaceChildren(...hits.map((hit) => card(hit, verdict !== "none")));
  drawVerdict(search, verdict, label);
  const like = search.upload ? "your photo" : nameOf(photos.get(search.like));
  $("summary").textContent = hits.length
    ? `${plural(hits.length, "photo")}, the most alike first`
    : "There are no photos to compare it with";
  $("more").hidden = hits.length < search.k || search.k >= STEPS.at(-1);
  const said = verdict ? `${$("verdict").textContent} ` : "";
  announce(`${said}${plural(hits.length, "photo")} like ${like}`);
}

/** In words, what the gallery thinks of the photo; nothing where it is not calibrated. */
function drawVerdict(search, verdict, label) {
  $("verdict").hidden = !verdict;
  if (!verdict) return;
  if (verdict === "none") {
    const nothing = `Probably nothing ${search.like ? "else " : ""}like it in this gallery`;
    $("verdict").textContent = `${nothing}: the nearest photos are shown anyway.`;
    return;
  }
  const name = element("strong", readable(label.label));
  name.dir = "auto";
  const opening = verdict === "match" ? "Looks like " : "Perhaps ";
  $("verdict").replaceChildren(opening, name, ` (about ${percent(label.probability)} sure).`);
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
  const { like, upload } = shown;
  const query = upload
    ? { name: "Your photo", url: uploads.get(upload).url }
    : { name: nameOf(photos.get(like)), url: `thumbnails/${like}` };
  const found = { name: nameOf(photos.get(hit)), url: `thumbnails/${hit}` };
  openWhy({ query, hit: found }, (signal) => {
    const body = new FormData();
    body.append("hit", hit);
    if (upload) body.append("photo", uploads.get(upload).blob, "photo");
    else body.append("id", like);
    return ask("api/v1/explain", { method: "POST", signal, body });
  });
}

// ------------------------------------------------------------------------------------ small parts

/** A photo of the gallery as a list item; `score` and the original only where it is a hit.
 *  `likely`: say how likely it is the same dish, where that is known, and not how much alike. */
function card(photo, likely) {
  const item = $("card").content.cloneNode(true).firstElementChild;
  const part = (name) => item.querySelector(`.${name}`);
  photos.set(photo.id, photo);
  part("like").href = `?like=${encodeURIComponent(photo.id)}`;
  part("like").dataset.id = photo.id;
  // Not thumbnail_url: behind a `public_url` that names another host, it still is this server.
  part("frame").firstElementChild.src = `thumbnails/${photo.id}`;
  part("name").textContent = nameOf(photo);
  part("name").title = nameOf(photo);
  part("label").textContent = labelOf(photo) ?? "";
  if (photo.score === undefined) {
    part("similarity").remove();
    part("original").remove();
    part("ask").remove();
  } else {
    const alike = `${Math.max(0, Math.round(photo.score * 100))}%`;
    const known = likely && photo.probability !== null;
    const shown = known ? percent(photo.probability) : alike;
    part("percent").textContent = shown;
    part("bar").style.setProperty("--filled", shown);
    if (known) {
      part("means").textContent = "likely same dish";
      part("similarity").title = `${alike} alike`;
    }
    part("original").href = `photos/${photo.id}`;
    part("original").lastElementChild.textContent = `The original of ${nameOf(photo)}, in a new tab`;
    part("ask").dataset.id = photo.id;
    part("ask").lastElementChild.textContent = ` ${nameOf(photo)}`;
  }
  return item;
}

const readable = (label) => label?.replaceAll("_", " "); // folders are named apple_pie
const nameOf = (photo) => photo.name ?? readable(photo.label) ?? `Photo ${photo.id.slice(0, 6)}`;
const labelOf = (photo) => (photo?.name ? readable(photo.label) : null);
// Nothing is quite sure, and nothing quite out of the question.
const percent = (probability) => `${Math.min(99, Math.max(1, Math.round(probability * 100)))}%`;
const key = ({ like, upload, k }) => `${like ?? upload} ${k}`;
const sameSearch = (a, b) => a.like === b.like && a.upload === b.upload;
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function announce(text) {
  $("status").textContent = text;
}

/** Fetch JSON. Throws an Error with a sentence for the visitor; `passing` if it may work later. */
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
  const sentence = detail.charAt(0).toUpperCase() + detail.slice(1);
  throw Object.assign(new Error(sentence), { passing: answer.ok || answer.status >= 500 });
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
    const link = event.target.closest(".like");
    if (!link) return;
    event.preventDefault();
    visitLike(link.dataset.id);
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
  const k = STEPS.find((step) => step > shown.k);
  history.replaceState({ ...history.state, k }, "");
  show();
});

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

loadCounts();
show();
