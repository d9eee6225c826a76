// The photos that a visitor gives: chosen, taken with the camera, pasted, or dropped anywhere; or the
// address of one, pasted or dropped.

import { addressDropped, asAddress } from "./addresses.js";
import { $ } from "./dom.js";

let taker = { wants: () => false }; // may take what is dropped and pasted instead

/** While `wants()`, what is dropped and pasted goes to `take(files)`, and the veil `says` so. */
export const giveTo = (other) => (taker = other);

const veilSays = $("veil").textContent;

/** `given` gets (files, {adds}): photos, at least one; adds: they join those that are searched with.
 *  What is no photo is left out, unless there is nothing else: the server tells what is wrong with it.
 *  `named` gets the address of a photo. */
export function onGiven(given, named) {
  const give = (all, adds, chosen = false) => {
    const files = [...(all ?? [])];
    if (files.length && !chosen && taker.wants()) {
      taker.take(files);
      return true;
    }
    const images = files.filter(isPhoto);
    if (files.length) given(images.length ? images : [files[0]], { adds });
    return files.length > 0;
  };
  let adds = false; // whether the button that was pressed is the one in the search field
  for (const button of document.querySelectorAll("[data-picks]")) {
    button.addEventListener("click", () => {
      adds = button === $("add");
      $(button.dataset.picks).click();
    });
  }
  for (const input of [$("file"), $("camera")]) {
    input.addEventListener("change", () => {
      give(input.files, adds, true);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    const isElsewhere = event.target.matches?.("input:not(#words)");
    const url = isElsewhere ? null : asAddress(event.clipboardData?.getData("text/plain") ?? "");
    if (give(event.clipboardData?.files, false)) event.preventDefault();
    else if (url) {
      event.preventDefault();
      named(url);
    }
  });
  addEventListener("drop", (event) => {
    if (!carriesPhotos(event)) return;
    event.preventDefault();
    $("veil").hidden = true;
    const url = addressDropped(event.dataTransfer);
    if (!give(event.dataTransfer.files, false) && url) named(url);
  });
}

const isPhoto = ({ type, name }) => type.startsWith("image/") || /\.(heic|heif|avif)$/i.test(name);

/** Files or addresses from elsewhere; not links and pictures of this page. */
function carriesPhotos({ dataTransfer }) {
  return !isOwn && ["Files", "text/uri-list"].some((type) => dataTransfer?.types.includes(type));
}

let isOwn = false; // what is dragged
addEventListener("dragstart", () => (isOwn = true));
addEventListener("dragend", () => (isOwn = false));

// While something is dragged over the page, the veil lies over all of it and gets every event.
addEventListener("dragenter", (event) => {
  if (!carriesPhotos(event)) return;
  $("veil").firstElementChild.textContent = taker.wants() ? taker.says : veilSays;
  $("veil").hidden = false;
});
$("veil").addEventListener("dragleave", () => ($("veil").hidden = true));
addEventListener("dragover", (event) => carriesPhotos(event) && event.preventDefault());
