// Links that others can open.

import { $, announce } from "./dom.js";
import { t } from "./text.js";

/** Copy a link; where the browser refuses, show it in `field`. Answers what to say of it. */
export async function copyLink(link, field) {
  field.value = link;
  try {
    await navigator.clipboard.writeText(link);
    field.hidden = true;
    return t("detail.copied");
  } catch {
    field.hidden = false; // without a secure connection, browsers let nothing be copied by a page
    field.select();
    return t("detail.copy-here");
  }
}

/** The address of what is on the page, without a photo over it. */
function pageLink() {
  const link = new URL(location.href);
  link.searchParams.delete("photo");
  return link.href;
}

/** What a link to this answer lacks, or "". */
const lacks = () => (history.state?.examples?.some(({ upload }) => upload) ? t("share.without-own") : "");

/** A new answer has the page. */
export function clearSharing() {
  tell("");
  $("share-link").hidden = true;
}

function tell(...sentences) {
  const said = sentences.filter(Boolean).join(" ");
  $("share-said").textContent = said;
  $("share-said").hidden = !said;
  announce(said);
}

$("copy").addEventListener("click", async () => tell(await copyLink(pageLink(), $("share-link")), lacks()));

$("share").hidden = !navigator.share;
$("share").addEventListener("click", async () => {
  tell(lacks());
  try {
    await navigator.share({ title: document.title, url: pageLink() });
  } catch (problem) {
    if (problem.name !== "AbortError") tell(await copyLink(pageLink(), $("share-link")), lacks());
  }
});
