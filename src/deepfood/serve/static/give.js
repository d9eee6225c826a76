// The ways in which a visitor gives photos: chosen, taken, pasted or dropped anywhere.

import { $ } from "./dom.js";

/** `take` gets the files, and answers whether it used one. */
export function onGiven(take) {
  for (const button of document.querySelectorAll("[data-picks]")) {
    button.addEventListener("click", () => $(button.dataset.picks).click());
  }

  for (const input of [$("file"), $("camera")]) {
    input.addEventListener("change", () => {
      take(input.files);
      input.value = ""; // so that the same file can be chosen again
    });
  }

  document.addEventListener("paste", (event) => {
    if (take(event.clipboardData?.files)) event.preventDefault();
  });

  // While something is dragged over the page, the veil lies over all of it and gets every event.
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
}

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
