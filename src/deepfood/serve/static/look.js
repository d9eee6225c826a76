// What the detail view shows of a photo: of the gallery, or of the visitor's own.

import { ask } from "./ask.js";
import { $, tell } from "./dom.js";
import { columnsOf, drawList, heading, pixels } from "./facts.js";
import { gallery, labelOf, nameOf, photos, readable } from "./gallery.js";
import { keyNow } from "./key.js";
import { heartWith } from "./hearts.js";
import { copyLink } from "./share.js";
import { listed, t } from "./text.js";
import { pickWith } from "./tray.js";
import { uploads } from "./uploads.js";
import { browseAddress } from "./views.js";

const image = $("detail-photo");
let asking = new AbortController();
let again = () => {};

/** Draw the photo as it is now. */
export const drawAgain = () => again();

/** Nothing that is under way may still be drawn. */
export function forgetDrawn() {
  asking.abort();
  asking = new AbortController();
}

/** Draw what is known of a photo of the gallery, then what the server says; `named` after its name. */
export async function drawPhoto(id, named) {
  forgetDrawn();
  const { signal } = asking;
  again = () => drawPhoto(id, named);
  const known = photos.get(id) ?? { id, name: null, label: null };
  clear();
  drawKnown(known);
  drawPicture(id, signal);
  try {
    const photo = await ask(`api/v1/photos/${encodeURIComponent(id)}`, { signal });
    await gallery.loaded;
    signal.throwIfAborted();
    photos.set(id, { ...photos.get(id), ...photo });
    drawKnown(photo);
    drawFacts(photo);
    named();
  } catch (problem) {
    if (signal.aborted) return;
    complain(problem);
    named();
  }
}

/** Draw a photo that the visitor has given. */
export function drawOwn(number, named) {
  forgetDrawn();
  clear();
  const { name, url, file, blob } = uploads.get(number);
  $("detail-name").textContent = t("photo.own");
  $("detail-own").hidden = false;
  image.alt = t("photo.own");
  image.onload = () => {
    drawList($("detail-known"), ownRows({ name, bytes: (file ?? blob).size }));
    named();
  };
  image.onerror = () => say(t("detail.cannot-show"));
  image.src = url;
  named();
}

const ownRows = ({ name, bytes }) => [
  [t("detail.file"), name],
  [t("detail.size"), t("detail.searched-as", { width: String(image.naturalWidth), height: String(image.naturalHeight) })],
  [t("detail.file-size"), t("detail.kilobytes", { size: Math.ceil(bytes / 1024) })],
];

function clear() {
  for (const id of ["label", "own", "problem", "hint", "actions", "known", "unknown", "safety-part", "link"]) {
    $(`detail-${id}`).hidden = true;
  }
  $("detail-editing").replaceChildren();
  $("detail").classList.remove("editing");
  image.onload = image.onerror = null;
  image.removeAttribute("src");
}

function drawKnown(photo) {
  $("detail-name").textContent = nameOf(photo);
  const label = labelOf(photo) ?? readable(photo.label);
  $("detail-label").hidden = !label;
  $("detail-label").firstElementChild.textContent = label ?? "";
  $("detail-label").firstElementChild.href = photo.label
    ? browseAddress({ sort: "newest", label: photo.label })
    : "";
  image.alt = nameOf(photo);
  if (photo.width) $("detail-stage").style.setProperty("--shape", photo.width / photo.height);
}

/** The small picture at once, and the photo itself as soon as it is here. */
function drawPicture(id, signal) {
  image.onerror = () => (image.onerror = null);
  image.src = `thumbnails/${id}`;
  const whole = new Image();
  whole.src = `photos/${id}`;
  whole.decode().then(
    () => {
      if (!signal.aborted) image.src = whole.src;
    },
    () => {
      if (!signal.aborted) say(t("detail.small-copy"));
    },
  );
}

function drawFacts(photo) {
  const { id, attributes, width, height } = photo;
  const columns = columnsOf(photo);
  const rows = (some) => some.map(({ name }) => [heading(name), attributes[name]]);
  const plain = columns.filter(({ safety }) => !safety);
  const isKnown = ({ name }) => attributes[name] !== undefined;
  const missing = plain.filter((one) => !isKnown(one)).map(({ name }) => heading(name));
  drawList($("detail-known"), [...rows(plain.filter(isKnown)), [t("detail.size"), pixels(width, height)]]);
  $("detail-unknown").hidden = missing.length === 0;
  $("detail-unknown").textContent = t("detail.unknown", { names: listed(missing) });
  const safety = columns.filter((one) => one.safety);
  drawList($("detail-safety"), rows(safety));
  $("detail-safety-part").hidden = safety.length === 0;
  $("detail-safety-hint").hidden = safety.every(isKnown);
  $("detail-actions").hidden = false;
  $("detail-like").href = `?id=${id}`;
  $("detail-like").dataset.id = id;
  $("detail-why").hidden = !whyButton(id);
  pickWith($("detail-pick"), photo);
  heartWith($("detail-heart"), photo);
  $("detail-original").href = $("detail-download").href = `photos/${id}`;
  $("detail-download").download = nameOf(photo);
  for (const button of [$("detail-edit"), $("detail-delete")]) {
    button.hidden = !keyNow();
    button.dataset.id = id;
  }
}

/** The button of the card that explains why a photo was found, where it was found by a photo. */
const whyButton = (id) => $("answer").hidden ? null : $("answer").querySelector(`.ask[data-id="${CSS.escape(id)}"]`);

function complain(problem) {
  const gone = problem.status === 404;
  image.removeAttribute("src");
  $("detail-hint").hidden = true;
  if (gone) $("detail-name").textContent = t("detail.gone");
  $("detail-problem").hidden = false;
  if (gone) $("detail-problem-text").textContent = t("detail.gone-why");
  else tell($("detail-problem-text"), problem);
  $("detail-retry").hidden = gone;
}

function say(text) {
  $("detail-hint").textContent = text;
  $("detail-hint").hidden = false;
}

async function copy() {
  const said = await copyLink(new URL(`?photo=${$("detail-like").dataset.id}`, location.href).href, $("detail-link"));
  say(said);
  $("detail-status").textContent = said;
}

// What visitors with a key can do is imported when they do it.
$("detail-edit").addEventListener("click", async ({ currentTarget }) => {
  const { id } = currentTarget.dataset;
  const { edit } = await import("./edit.js");
  await edit(id);
});
$("detail-delete").addEventListener("click", async ({ currentTarget }) => {
  const photo = photos.get(currentTarget.dataset.id);
  const { remove } = await import("./deleting.js");
  const [left, by] = history.state?.over ? [window, "popstate"] : [$("detail"), "close"];
  left.addEventListener(by, () => remove(photo), { once: true });
  $("detail").close();
});
$("detail-copy").addEventListener("click", copy);
$("detail-retry").addEventListener("click", () => again());
$("detail-why").addEventListener("click", () => whyButton($("detail-like").dataset.id)?.click());
