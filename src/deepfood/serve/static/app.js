// The web page: a photo or words go to POST /api/v1/search, and what comes back is shown.
//
// visits.js knows where the visitor is. Everything that changes it ends in show(), and show() draws
// what is there. search.js asks the server, answer.js draws what it answers.

import { drawAnswer, drawProblem, startAnswer } from "./answer.js";
import { browseList, showBrowse } from "./browse.js";
import { cardsIn, closeDetail, detailIsOpen, openDetail, overDrawn } from "./detail.js";
import { $, announce, onPlainClick } from "./dom.js";
import { leadOf, likesIn } from "./examples.js";
import { gallery, nameOf, photos } from "./gallery.js";
import { onGiven } from "./give.js";
import "./pictures.js";
import { drawQuery } from "./query.js";
import { offerColumns, onRefined, sayFault } from "./refine.js";
import { explain, findAnswer, sameSearch } from "./search.js";
import { showGallery, showNotice, showStart } from "./start.js";
import { hasUpload, newUpload, uploads } from "./uploads.js";
import { browsed, looked, visitPhoto } from "./views.js";
import { FIRST, askedExamples, keepOnly, onVisit, refined, setCount, visit, visitSearch, visitStart, wanted } from "./visits.js";
import { closeWhy, openWhy } from "./why.js";
import { onWords, showWords } from "./words.js";

const MORE = 18; // what "Show more" adds

let running = new AbortController(); // the search under way; a newer one aborts it
let shown = null; // the search on the page
let behind = ""; // what is on the page, or lies behind the detail view

/** Draw what history says: a view, and over it the detail view of a photo. */
async function show({ focus = false } = {}) {
  announce(""); // what was said of another view
  closeWhy();
  const over = looked();
  const asked = JSON.stringify(browsed() ?? wanted());
  const stays = asked === behind && (over || detailIsOpen());
  if (!over) closeDetail(stays);
  behind = asked;
  const drawn = stays || showBehind(focus && !over);
  if (over) openDetail(over, browsed() ? browseList : cardsIn($("main")), focus);
  await drawn;
  if (behind === asked) overDrawn();
}

async function showBehind(focus) {
  restart();
  history.scrollRestoration = browsed() ? "manual" : "auto";
  if (browsed()) {
    shown = null;
    showWords({});
    return showBrowse(browsed(), running.signal, focus);
  }
  const kept = askedExamples().filter(({ upload }) => !upload || hasUpload(upload));
  const lost = kept.length < askedExamples().length;
  if (lost) keepOnly(kept);
  const search = wanted();
  if (lost && !search) {
    start(focus);
    showNotice("Your photo is too large to be kept when the page is loaded again. Please choose it once more.");
  } else if (search) {
    return showSearch(search, running.signal, focus);
  } else {
    start(focus);
    const { where, show } = refined();
    if (where) showNotice(`A link cannot carry a photo. Choose one: it is searched with the filter ${where}`);
    else if (show) showNotice("A link cannot carry a photo. Choose one to search with.");
  }
  return undefined;
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
  showWords(search);
  if (focus && !fewer) $("title").focus({ preventScroll: true });
  try {
    const answer = await findAnswer(search, signal, () => {
      drawQuery(search);
      showWords(search);
    });
    await loaded;
    if (!signal.aborted) drawAnswer(search, answer, fewer);
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

$("retry").addEventListener("click", () => show({ focus: true }));
$("more").addEventListener("click", () => {
  setCount($("hits").children.length + MORE);
  show();
});

$("query-look").addEventListener("click", () => {
  const { id, upload } = leadOf(shown);
  visitPhoto({ id, own: upload });
});

onGiven(take);
onRefined(refineSearch);
onWords(searchWords);
onVisit(show);

navigator.serviceWorker?.register("sw.js").catch(() => {}); // some browsers and settings have none
const loaded = (gallery.loaded = showGallery()).then(() => offerColumns(gallery.columns));
show();
