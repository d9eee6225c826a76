// Where the visitor is: in the browser's history, and nowhere else.
//
// A search is {words} or {upload: number}, a photo that the visitor gave, or {id}, a photo of the
// gallery, or words and a photo together; with `where` and `show` of refine.js, and `k`, how many hits
// are wanted. The address has `?id=…&words=…&where=…&group_duplicates=…&diversity=…`, the API's own
// names. The rest is in history.state, an uploaded photo too: this tab keeps it, and a link does not.

import { uploads } from "./uploads.js";

export const FIRST = 9; // photos in an answer: whole rows of 3; and of 2 below a first one on its own

/** What the API takes for each order of refine.js; in any other, near-duplicates are folded. */
export const ORDERS = {
  varied: { group_duplicates: true, diversity: 0.4 },
  single: { group_duplicates: false },
};

let visited = () => {};

/** `show` gets {focus} after each step; focus: the visitor asked for it, so the heading is read out. */
export function onVisit(show) {
  visited = show;
  addEventListener("popstate", () => show({ focus: true }));
}

/** What the address and history say that we look at: null is the start page. */
export function wanted() {
  const { upload, k = FIRST } = history.state ?? {};
  const said = new URLSearchParams(location.search);
  const [id, words] = [said.get("id"), said.get("words")?.trim()];
  if (!id && !upload && !words) return null;
  return { ...(id ? { id } : { upload }), words: words ?? "", k, ...refined() };
}

/** The filter and the order that the address asks for, whatever is searched with. */
export function refined() {
  const said = new URLSearchParams(location.search);
  const says = ([name, value]) => said.get(name) === String(value);
  const show = Object.keys(ORDERS).find((order) => Object.entries(ORDERS[order]).every(says));
  return { where: said.get("where") ?? "", show: show ?? "" };
}

/** The address of a search; of an upload, only the server's visitor knows the photo. */
export function address({ id, words, where, show }) {
  const said = Object.entries({ id, words, where, ...ORDERS[show] }).filter(([, value]) => value || value === false);
  return said.length ? `?${new URLSearchParams(said)}` : location.pathname;
}

export function visit(search, focus = true) {
  const { upload } = search ?? {};
  const photo = uploads.get(upload)?.kept;
  history.pushState(search && { upload, photo, k: FIRST }, "", address(search ?? {}));
  visited({ focus });
  if (focus) scrollTo(0, 0);
}

export const visitStart = () => visit(null);

/** Other words or another photo, under the filter and in the order of the page. */
export const visitSearch = (search) => visit({ ...refined(), ...search });

/** Ask for more or fewer hits of the same search: no step in the history. */
export const setCount = (k) => history.replaceState({ ...history.state, k }, "");

/** Forget a photo that this tab no longer has. */
export const forgetUpload = () => history.replaceState(null, "", address(refined()));
