// Where a visit starts: some photos of the gallery to try, and what the visitor must know.

import { ask } from "./ask.js";
import { card } from "./cards.js";
import { $, announce, element, plural } from "./dom.js";
import { loadGallery } from "./gallery.js";
import { drawPart } from "./part.js";
import { showSection } from "./views.js";

const TITLE = document.title;

export function showStart(focus) {
  showSection("start");
  $("notice").hidden = true;
  document.title = TITLE;
  if (focus) $("start-title").focus({ preventScroll: true });
  if (!$("sample-list").children.length) loadSamples();
}

export function showNotice(text) {
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

/** Say above every page what is searched. */
export async function showGallery() {
  try {
    const { count, labels } = await loadGallery();
    const parts = [plural(count, "photo"), ...(labels ? [plural(labels, "label")] : [])];
    $("counts").replaceChildren(...parts.map((text) => element("span", text)));
    drawPart();
    if (count === 0) showNotice("There are no photos in this gallery yet.");
  } catch {
    // Counts are an ornament; where the server is gone, the search itself says so.
  }
}

$("shuffle").addEventListener("click", loadSamples);
