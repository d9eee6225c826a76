// "Find every dish": a button beside the photo that is searched with. It also leads back to the whole
// photo, and says by itself how many dishes there are.
//
// A plate costs the server about six searches, so not every question is asked again as one. The ordinary
// answer comes first. Only where it leaves the visitor in doubt is a plate looked for behind it, and only
// where that is cheap: not on a slow line or one where data is saved, not in a tab that nobody sees, and
// not where the answer itself has taken long, as the server is busy then. Whatever goes wrong with it is
// not told, since nobody has asked. The button has its place already, so that nothing moves when it says
// what was found.

import { $, announce } from "./dom.js";
import { mayBePlate } from "./examples.js";
import { dishesOf, findAnswer, isKnown } from "./search.js";
import { t } from "./text.js";
import { isSlow } from "./uploads.js";

const IN_DOUBT = ["maybe", "none"]; // verdicts
const QUICK_MS = 2500; // for an answer

const button = $("plate-open");

/** Draw the button for a search; `busy`: its answer is still to come. */
export function drawOffer(search, { busy = false } = {}) {
  button.hidden = !mayBePlate(search);
  button.classList.remove("found");
  button.dataset.plate = search.plate ? "" : "true"; // what it asks for
  if (search.plate) button.textContent = busy ? t("plate.stop") : t("part.whole");
  else button.textContent = t("plate.find");
}

/** Look for the dishes on the photo of a search that was answered, where that is worth it. */
export async function lookForPlate(search, answer, signal) {
  if (search.plate || !mayBePlate(search)) return;
  const plate = { ...search, plate: true };
  if (!isKnown(plate) && !(IN_DOUBT.includes(answer.verdict) && isCheap(answer))) return;
  try {
    const quietly = (act) => act();
    const { length: count } = dishesOf(await findAnswer(plate, signal, () => {}, quietly));
    if (signal.aborted || count < 2) return;
    button.textContent = t("plate.offer", { count });
    button.classList.add("found");
    announce(t("plate.found", { count }));
  } catch {
    // See above.
  }
}

const isCheap = ({ took }) => took < QUICK_MS && !isSlow() && !document.hidden;

/** `asked` gets whether the visitor wants each dish by itself, or the whole photo again. */
export function onPlate(asked) {
  button.addEventListener("click", () => asked(button.dataset.plate ? true : undefined));
}
