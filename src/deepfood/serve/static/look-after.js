// Look after the gallery: the view of those who have a key. It adds photos, and lists what may be wrong.
//
// stage.js imports it when it is first opened. Each part has an address of its own, ?look-after=PART.

import { showAdding } from "./adding.js";
import { showCurated } from "./curated.js";
import { problemOf } from "./ask.js";
import { $, announce, entitle, tell } from "./dom.js";
import { doubtful } from "./doubtful.js";
import { gallery, loadGallery } from "./gallery.js";
import { keyNow } from "./key.js";
import { onKey } from "./key-form.js";
import { near } from "./near.js";
import { outliers } from "./outliers.js";
import { overlapping } from "./overlapping.js";
import { styled } from "./styled.js";
import { parts, t } from "./text.js";
import { toLabel } from "./to-label.js";
import { lookedAfter, showSection } from "./views.js";

const PARTS = {
  "": { id: "adding", title: () => t("look-after.adding"), show: showAdding },
  labels: curated(doubtful, () => t("look-after.labels")),
  overlapping: curated(overlapping, () => t("look-after.overlapping")),
  "to-label": curated(toLabel, () => t("look-after.to-label")),
  outliers: curated(outliers, () => t("look-after.outliers")),
  duplicates: curated(near, () => t("look-after.duplicates")),
};

function curated(kind, title) {
  return { id: "curated", title, show: (signal) => showCurated(kind, signal) };
}

/** Draw a part of it, or ask for the key. */
export async function showLookAfter(asked, signal, focus) {
  const part = PARTS[asked] ?? PARTS[""];
  await Promise.all([styled("css/look-after.css"), styled("css/curated.css")]);
  if (signal.aborted) return;
  showSection("look-after");
  const told = await cannot();
  if (signal.aborted) return;
  const ready = !told && Boolean(keyNow());
  const title = ready ? part.title() : t("look-after.title");
  $("look-after-title").textContent = title;
  entitle(title);
  for (const link of $("look-after-parts").querySelectorAll("a")) {
    if (PARTS[link.dataset.part] === part) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("look-after-problem").hidden = !told;
  if (told) tell($("look-after-problem-text"), told);
  $("look-after-retry").hidden = !told?.passing;
  $("key-form").hidden = Boolean(told) || ready;
  $("look-after-parts").hidden = !ready;
  for (const { id } of Object.values(PARTS)) $(id).hidden = !ready || id !== part.id;
  if (focus) $("look-after-title").focus({ preventScroll: true });
  announce([title, told?.message].filter(Boolean).join(". "));
  if (ready) await part.show(signal);
}

/** The problem with changing anything here, whatever the key; or null. */
async function cannot() {
  await gallery.loaded;
  try {
    if (gallery.changes === null) await loadGallery();
  } catch (problem) {
    return problem;
  }
  return gallery.changes ? null : problemOf(parts("look-after.never"), { passing: false });
}

const again = (focus) => showLookAfter(lookedAfter(), new AbortController().signal, focus);

onKey(again);
$("look-after-retry").addEventListener("click", () => again(true));
