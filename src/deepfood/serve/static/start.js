// Where a visit starts: some photos of the gallery to try, and what the visitor must know.

import { ask } from "./ask.js";
import { card } from "./cards.js";
import { $, announce, element, tell } from "./dom.js";
import { gallery, loadGallery } from "./gallery.js";
import { drawPart } from "./part.js";
import { showRecent } from "./recent.js";
import { t } from "./text.js";
import { showSection } from "./views.js";

const TITLE = document.title;
const FIRST_WAIT_MS = 2000;
const MOST_DOUBLINGS = 4; // then every half a minute

let retries = 0; // of the samples, since they last came

export function showStart(focus) {
  showSection("start");
  $("notice").hidden = true;
  document.title = TITLE;
  if (focus) $("start-title").focus({ preventScroll: true });
  if (!$("sample-list").children.length) loadSamples();
  showRecent();
}

export function showNotice(text) {
  showProblem({ message: text, pieces: [text] });
}

function showProblem(problem) {
  tell($("notice"), problem);
  $("notice").hidden = false;
  announce(problem.message);
}

async function loadSamples() {
  try {
    const samples = await ask("api/v1/samples?k=12");
    $("sample-list").replaceChildren(...samples.map((photo, place) => card(photo, place)));
    $("samples").hidden = samples.length === 0;
    if (retries) $("notice").hidden = true;
    retries = 0;
  } catch (problem) {
    if (!retries) showProblem(problem);
    if (problem.passing) setTimeout(tryAgain, FIRST_WAIT_MS * 2 ** Math.min(retries++, MOST_DOUBLINGS));
  }
}

/** Ask for samples again while the start page has none. */
function tryAgain() {
  if (!$("start").hidden && !$("sample-list").children.length) loadSamples();
  else retries = 0;
}

/** Say above every page what is searched. */
export async function showGallery() {
  try {
    const { count, labels } = await loadGallery();
    $("look-after-link").hidden = !gallery.changes;
    const parts = [t("photos", { count }), ...(labels ? [t("labels.count", { count: labels })] : [])];
    $("counts").replaceChildren(...parts.map((text) => element("span", text)));
    drawPart();
    $("hint-address").hidden = !gallery.takesUrls;
    if (count === 0) showNotice(t("start.empty"));
  } catch {
    // Counts are an ornament; where the server is gone, the search itself says so.
  }
}

$("shuffle").addEventListener("click", loadSamples);
