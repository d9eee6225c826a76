// The web page: a photo or words go to POST /api/v1/search, and what comes back is shown.
//
// visits.js knows where the visitor is. Everything that changes it ends in show(), and show() draws
// what is there. search.js asks the server, answer.js draws what it answers.

import { drawAnswer, drawProblem, startAnswer } from "./answer.js";
import { $, onPlainClick } from "./dom.js";
import { offerDropping } from "./dropped.js";
import { leadOf, likesIn } from "./examples.js";
import { showFacets } from "./facets.js";
import { gallery, nameOf, photos } from "./gallery.js";
import { drawQuery } from "./query.js";
import { onRefined, sayFault } from "./refine.js";
import { explain, findAnswer, sameSearch } from "./search.js";
import { isListed, showListed, withDetail } from "./stage.js";
import { showGallery, showNotice, showStart } from "./start.js";
import { hasUpload, newUpload, uploads } from "./uploads.js";
import { visitPhoto } from "./views.js";
import { FIRST, askedExamples, keepOnly, onVisit, refined, setCount, visit, visitSearch, visitStart, wanted } from "./visits.js";
import { closeWhy, openWhy } from "./why.js";
import { onWords, showWords } from "./words.js";

const MORE = 18; // what "Show more" adds

let running = new AbortController(); // the search under way; a newer one aborts it
let shown = null; // the search on the page

/** Draw the view that history says. */
async function show({ focus = false } = {}) {
  restart();
  closeWhy();
  const kept = askedExamples().filter(({ upload }) => !upload || hasUpload(upload));
  const lost = kept.length < askedExamples().length;
  if (lost) keepOnly(kept);
  const search = wanted();
  if (isListed()) {
    shown = null;
    showWords({});
    await showListed(running.signal, focus);
    return;
  }
  if (lost && !search) {
    start(focus);
    showNotice("Your photo is too large to be kept when the page is loaded again. Please choose it once more.");
  } else if (search) {
    await showSearch(search, running.signal, focus);
  } else {
    start(focus);
    const { where, show } = refined();
    if (where) showNotice(`A link cannot carry a photo. Choose one: it is searched with the filter ${where}`);
    else if (show) showNotice("A link cannot carry a photo. Choose one to search with.");
  }
}

function restart() {
  running.abort();
  running = new AbortController();
}

function start(focus) {
  shown = null;
  showWords({});
  showStart(focus);
}

async function showSearch(search, signal, focus) {
  const fewer = shown && sameSearch(shown, search) && shown.k < search.k ? shown : null;
  shown = search;
  startAnswer(search, fewer);
  if (!fewer) showFacets({ rail: $("answer-facets"), opener: $("answer-filter") }, search.where, refineBy);
  showWords(search);
  if (focus && !fewer) $("title").focus({ preventScroll: true });
  try {
    const answer = await findAnswer(search, signal, () => {
      drawQuery(search);
      showWords(search);
    });
    await loaded;
    if (!signal.aborted) drawAnswer(search, answer, fewer);
    if (!signal.aborted && !answer.hits.length) offerDropping(search, refineBy, signal);
  } catch (problem) {
    if (signal.aborted) return; // a newer search has the page
    drawProblem(problem);
    if (fewer) backToFewer(fewer);
  }
}

/** "Show more" failed: the page and the history stay as they were, and it can be pressed again. */
function backToFewer(fewer) {
  shown = fewer;
  setCount(fewer.k);
  $("retry").hidden = true;
  $("more").hidden = false;
  $("title").focus();
}

const refineBy = (where) => refineSearch({ where });

/** The same search under another filter or in another order. What is wrong with it changes nothing. */
async function refineSearch(said) {
  const search = { ...shown, ...said, k: FIRST };
  if (sameSearch(search, shown)) return;
  restart();
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

/** Search with these words, and with the photo on the page unless it was taken away. */
function searchWords({ words, withoutPhoto }) {
  const examples = withoutPhoto ? [] : (shown?.examples ?? []);
  if (words || likesIn(examples).length) visitSearch({ examples, words });
  else if (shown) visitStart();
  else $("words").focus();
}

/** Show which regions make a hit and the photo searched with alike. */
function askWhy(hit) {
  const example = leadOf(shown);
  const query = example.upload
    ? { name: "Your photo", url: uploads.get(example.upload).url }
    : { name: nameOf(photos.get(example.id)), url: `thumbnails/${example.id}` };
  const found = { name: nameOf(photos.get(hit)), url: `thumbnails/${hit}` };
  openWhy({ query, hit: found }, (signal) => explain(example, hit, signal));
}

// ----------------------------------------------------------------------------- what visitors do

/** Search with the first photo among files given in any way, and with what is in the words box. */
function take(files) {
  const given = [...(files ?? [])];
  const file = given.find((one) => one.type.startsWith("image/")) ?? given[0];
  if (file) visitSearch({ examples: [{ upload: newUpload(file) }], words: $("words").value.trim() });
  return Boolean(file);
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

for (const id of ["sample-list", "hits", "detail"]) {
  onPlainClick($(id), (event) => {
    const link = event.target.closest(".like, .twin, .more-like");
    if (!link) return;
    event.preventDefault();
    visitSearch({ examples: [{ id: link.dataset.id }] });
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

$("retry").addEventListener("click", () => show({ focus: true }));
$("more").addEventListener("click", () => {
  setCount($("hits").children.length + MORE);
  show();
});

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

const visited = withDetail(show);

onRefined(refineSearch);
onWords(searchWords);
onVisit(visited);
$("query-look").addEventListener("click", () => visitPhoto(leadOf(shown)));

const loaded = (gallery.loaded = showGallery());
visited();
