// Labels of the gallery for what somebody begins to type, as combobox.js suggests them.

import { ask } from "./ask.js";
import { t } from "./text.js";

const SUGGESTED = 8;

/** The gallery's labels as they are written, which the list of Browse makes readable. */
export async function labelsLike(begun) {
  const { labels } = await ask(`api/v1/labels?${new URLSearchParams({ q: begun.trim(), limit: SUGGESTED })}`);
  return labels.map(({ label, count }) => ({ text: label, about: t("photos", { count }) }));
}
