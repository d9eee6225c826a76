// The web page: a photo or words go to POST /api/v1/search, and what comes back is shown.
//
// visits.js knows where the visitor is. Everything that changes it ends in show(), and show() draws
// what is there. search.js asks the server, answer.js draws what it answers.

import { unreachable } from "./ask.js";
import { drawAnswer, drawProblem, startAnswer } from "./answer.js";
import { showChips } from "./chips.js";
import { $, announce, onPlainClick, say } from "./dom.js";
import { offerDropping } from "./dropped.js";
import { likesIn, nameOfExample, pictureOf } from "./examples.js";
import { showFacets } from "./facets.js";
import { gallery, nameOf, photos } from "./gallery.js";
import "./pictures.js";
import { drawQuery, shownOf } from "./query.js";
import { onQuestions } from "./question.js";
import { onRefined, sayFault } from "./refine.js";
import { drawOffer, lookForPlate, onPlate } from "./plate-offer.js";
import { dishesOf, explain, findAnswer, sameSearch } from "./search.js";
import { keepQuestion } from "./recent.js";
import { offerAnswer } from "./save.js";
import { clearSharing } from "./share.js";
import { isListed, showListed, withDetail } from "./stage.js";
import { showGallery, showNotice, showStart } from "./start.js";
import { hasUpload } from "./uploads.js";
import { visitPhoto } from "./views.js";
import { FIRST, askedExamples, asksForPlate, keepOnly, onVisit, refined, setCount, visit, visitSearch, visitStart, wanted } from "./visits.js";
import { t } from "./text.js";
import { closeWhy, openWhy } from "./why.js";
import { showWords } from "./words.js";

const MORE = 18; // what "Show more" adds

let running = new AbortController(); // the search under way; a newer one aborts it
let shown = null; // the search on the page

/** Draw the view that history says. */
async function show({ focus = false } = {}) {
  restart();
  announce(""); // what was said of another view
  closeWhy();
  say("");
  if (isListed()) {
    shown = null;
    showField({ examples: [] });
    await showListed(running.signal, focus);
    return;
  }
  const kept = askedExamples().filter(({ upload }) => !upload || hasUpload(upload));
  const lost = kept.length < askedExamples().length;
  if (lost) keepOnly(kept);
  const search = wanted();
  if (lost && !search) {
    start(focus);
    showNotice(t("start.lost"));
  } else if (search) {
    if (lost) say(t("start.one-lost"));
    await showSearch(search, running.signal, focus);
  } else {
    start(focus);
    if (kept.length) return showNotice(t("start.only-unlike"));
    const { where, show } = refined();
    if (where) showNotice(t("start.link-with-filter", { where }));
    else if (show || asksForPlate()) showNotice(t("start.link"));
  }
}

function restart() {
  running.abort();
  running = new AbortController();
}

function start(focus) {
  shown = null;
  showField({ examples: askedExamples() });
  showStart(focus);
}

/** Show in the search field what is searched with. */
function showField(search, missing) {
  showWords(search);
  showChips(search.examples, missing);
}

async function showSearch(search, signal, focus) {
  const fewer = shown && sameSearch(shown, search) && shown.k < search.k ? shown : null;
  shown = search;
  startAnswer(search, fewer);
  if (!fewer) drawOffer(search, { busy: true });
  clearSharing();
  if (!fewer) showFacets({ rail: $("answer-facets"), opener: $("answer-filter") }, search.where, refineBy);
  showField(search);
  if (focus && !fewer) $("title").focus({ preventScroll: true });
  loaded.then(() => gallery.takesVotes && haveVotes()); // while the server searches
  try {
    const [answer, plate] = await Promise.all([
      findAnswer(search, signal, () => {
        drawQuery(search);
        showField(search);
      }),
      search.plate && havePlate(),
    ]);
    await loaded;
    const votes = answer.question && (await haveVotes());
    if (signal.aborted) return;
    if (dishesOf(answer).length) plate.drawPlate(search, answer, signal);
    else drawAnswer(search, answer, fewer);
    votes?.drawVotes(search, answer);
    drawOffer(search);
    offerAnswer(search, answer);
    lookForPlate(search, answer, signal);
    if (!fewer) keepQuestion(search);
    if (!answer.hits.length) offerDropping(search, refineBy, signal);
  } catch (problem) {
    if (signal.aborted) return; // a newer search has the page
    drawProblem(problem);
    drawOffer(search);
    if (problem.missing) showField(search, problem.missing);
    if (fewer) backToFewer(fewer);
  }
}

/** The module that draws plates, with its style sheet. */
async function havePlate() {
  const plate = await import("./plate.js").catch(() => Promise.reject(unreachable()));
  await plate.havePlateStyle();
  return plate;
}

/** The module that takes votes, with its style sheet; where it cannot be had, nobody votes. */
async function haveVotes() {
  const votes = await import("./votes.js").catch(() => null);
  await votes?.haveVoteStyle();
  return votes;
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

/** Show which regions make a hit and the photo searched with alike. */
function askWhy(hit, box) {
  const seen = shownOf(shown).url ? likesIn(shown.examples).find(({ url }) => !url) : shownOf(shown);
  const example = box ? { ...seen, box: box.split(",") } : seen;
  const query = { name: nameOfExample(example), url: pictureOf(example) };
  const found = { name: nameOf(photos.get(hit)), url: `thumbnails/${hit}` };
  openWhy({ query, hit: found }, (signal) => explain(example, hit, signal));
}

// ----------------------------------------------------------------------------- what visitors do

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

for (const id of ["sample-list", "hits", "plate", "detail"]) {
  onPlainClick($(id), (event) => {
    const link = event.target.closest(".like, .twin, .more-like");
    if (!link) return;
    event.preventDefault();
    visitSearch({ examples: [{ id: link.dataset.id }] });
  });
}

$("answer").addEventListener("click", (event) => {
  const button = event.target.closest(".ask");
  if (button) askWhy(button.dataset.id, button.closest("[data-box]")?.dataset.box);
});

$("retry").addEventListener("click", () => show({ focus: true }));
$("more").addEventListener("click", () => {
  setCount($("hits").children.length + MORE);
  show();
});

const visited = withDetail(show);

onRefined(refineSearch);
onQuestions();
onPlate((plate) => visit({ ...wanted(), plate }, false));
onVisit(visited);
$("query-look").addEventListener("click", () => visitPhoto(shownOf(shown)));

// After all that the visitor waits for; some browsers and settings have no service workers.
addEventListener("load", () => navigator.serviceWorker?.register("sw.js").catch(() => {}));
const loaded = (gallery.loaded = showGallery());
visited();
