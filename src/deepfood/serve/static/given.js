// The photos that a visitor gives: chosen, taken with the camera, pasted, or dropped anywhere.

import { $ } from "./dom.js";

let taker = { wants: () => false }; // may take what is dropped and pasted instead

/** While `wants()`, what is dropped and pasted goes to `take(files)`, and the veil `says` so. */
export const giveTo = (other) => (taker = other);

const veilSays = $("veil").textContent;

/** `given` gets (files, {adds}): photos, at least one; adds: they join those that are searched with.
 *  What is no photo is left out, unless there is nothing else: the server tells what is wrong with it. */
export function onGiven(given) {
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
    if (give(event.clipboardData?.files, false)) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    $("veil").hidden = true;
    give(event.dataTransfer.files, false);
  });
}

const isPhoto = ({ type, name }) => type.startsWith("image/") || /\.(heic|heif|avif)$/i.test(name);

// While something is dragged over the page, the veil lies over all of it and gets every event.
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  $("veil").firstElementChild.textContent = taker.wants() ? taker.says : veilSays;
  $("veil").hidden = false;
});
$("veil").addEventListener("dragleave", () => ($("veil").hidden = true));
addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
