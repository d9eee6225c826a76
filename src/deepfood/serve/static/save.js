// "Save": what is shown as a file, in CSV for spreadsheets and in JSON for programs.

import { questionOf } from "./body.js";
import { $ } from "./dom.js";
import { savedFavourites } from "./favourites.js";
import { columnsOf } from "./facts.js";
import { dishesOf } from "./search.js";
import { csvOf, linksTo, tableOf } from "./table.js";
import { address } from "./visits.js";

const TYPES = { csv: "text/csv;charset=utf-8", json: "application/json" };
const KNOWN = { id: ({ id }) => id, name: ({ name }) => name, label: ({ label }) => label };
const OF_HITS = {
  rank: ({ rank }) => rank,
  ...KNOWN,
  score: ({ score }) => score,
  same_dish: ({ same_dish }) => same_dish,
};
const OF_FAVOURITES = { ...KNOWN, gone: ({ gone }) => gone };

let answered = null; // {search, answer}: what is shown

/** What "Save" saves now. */
export function offerAnswer(search, answer) {
  answered = { search, answer };
  $("keep").hidden = false;
  $("save").hidden = answer.hits.length === 0;
}

const ranked = (hits) => hits.map((hit, place) => ({ rank: place + 1, ...hit }));
const dish = ({ dish: number }) => number;

function answerAs(kind) {
  const { search, answer } = answered;
  const dishes = dishesOf(answer).map((one) => ({ ...one, hits: ranked(one.hits) }));
  const hits = dishes.length
    ? dishes.flatMap((one, at) => one.hits.map((hit) => ({ dish: at + 1, ...hit })))
    : ranked(answer.hits.slice(0, $("hits").children.length));
  const columns = { ...(dishes.length && { dish }), ...OF_HITS };
  if (kind === "csv") return tableAs(hits, { ...columns, nearly_the_same: ({ alike }) => alike.map(({ id }) => id) });
  const { total, verdict, label, in_gallery } = answer;
  return JSON.stringify({
    question: questionOf(search),
    own_photos: search.examples.filter(({ upload }) => upload).length, // which the question lacks
    link: new URL(address(search), location.href).href,
    saved: new Date().toISOString(),
    total,
    shown: hits.length,
    verdict,
    label,
    in_gallery,
    hits: hits.map((hit) => ({ ...plain(hit), alike: hit.alike.map(plain) })),
    ...(dishes.length && { parts: dishes.map(({ box, verdict, in_gallery, label }) => ({ box, verdict, in_gallery, label })) }),
  }, null, 2);
}

async function favouritesAs(kind) {
  const photos = await savedFavourites();
  if (kind === "csv") return tableAs(photos, OF_FAVOURITES);
  return JSON.stringify({ saved: new Date().toISOString(), shown: photos.length, favourites: photos.map(plain) }, null, 2);
}

function tableAs(photos, pick) {
  const { heads, rows } = tableOf(photos, pick, columnsOf(...photos).map(({ name }) => name));
  return csvOf(heads, rows);
}

/** A photo with the addresses that it has in this page. */
function plain({ url: _, thumbnail_url: __, at: ___, ...photo }) {
  return { ...photo, ...linksTo(photo) };
}

function download(text, kind, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: TYPES[kind] }));
  link.download = `${name}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // when the browser surely has read it
}

const today = () => new Date().toLocaleDateString("sv"); // 2026-11-27

for (const [menu, contents, name] of [
  [$("save"), answerAs, "deepfood"],
  [$("favourites-save"), favouritesAs, "deepfood-favourites"],
]) {
  const close = () => (menu.open = false);
  menu.addEventListener("click", async ({ target }) => {
    const kind = target.closest("[data-save]")?.dataset.save;
    if (!kind) return;
    close();
    menu.firstElementChild.focus();
    download(await contents(kind), kind, `${name}-${today()}`);
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    close();
    menu.firstElementChild.focus();
  });
  menu.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && !menu.contains(relatedTarget) && close());
  document.addEventListener("pointerdown", ({ target }) => menu.contains(target) || close());
}
