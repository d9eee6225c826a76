// Where the visitor is: in the browser's history, and nowhere else.
//
// A search is {examples, words, where, show, plate, k}: the photos of examples.js, which may be none where
// there are words; `where` and `show` of refine.js; `plate`, whether each dish of a photo is searched with
// by itself; and `k`, how many hits are wanted. The address has
// `?id=…&not=…&words=…&where=…&plate=…&group_duplicates=…&diversity=…`. The rest is in history.state: `examples`
// where some were uploaded, and `kept`, those photos by their numbers: this tab keeps them, and a link
// does not.

import { examplesIn, likesIn, mayBePlate, saidOf } from "./examples.js";
import { keptOf } from "./uploads.js";

/** Photos in an answer: whole rows of 3, and of 2 below a first one on its own; more on a wide screen. */
export const FIRST = matchMedia("(min-width: 100rem)").matches ? 24 : 9;

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
  const { k = FIRST } = history.state ?? {};
  const examples = askedExamples();
  const words = new URLSearchParams(location.search).get("words")?.trim() ?? "";
  const search = { examples, words, k, ...refined() };
  if (asksForPlate() && mayBePlate(search)) search.plate = true;
  return words || likesIn(examples).length ? search : null;
}

/** Whether the address asks for each dish of a photo, whatever is searched with. */
export const asksForPlate = () => new URLSearchParams(location.search).get("plate") === "true";

/** The examples that the address and history have, which may all be unwanted. */
export function askedExamples() {
  return history.state?.examples ?? examplesIn(new URLSearchParams(location.search));
}

/** The filter and the order that the address asks for, whatever is searched with. */
export function refined() {
  const said = new URLSearchParams(location.search);
  const says = ([name, value]) => said.get(name) === String(value);
  const show = Object.keys(ORDERS).find((order) => Object.entries(ORDERS[order]).every(says));
  return { where: said.get("where") ?? "", show: show ?? "" };
}

/** The address of a search, without what was uploaded. */
export function address({ examples = [], words, where, show, plate }) {
  const rest = Object.entries({ words, where, ...(plate && { plate }), ...ORDERS[show] }).filter(([, value]) => value || value === false);
  const said = new URLSearchParams([...saidOf(examples), ...rest]).toString();
  return said ? `?${said.replaceAll("%7E", "~").replaceAll("%2C", ",")}` : location.pathname;
}

export function visit(search, focus = true) {
  history.pushState(search && { ...stateOf(search), k: FIRST }, "", address(search ?? {}));
  visited({ focus });
  if (focus) scrollTo(0, 0);
}

/** What history keeps of a search beside its address. */
function stateOf({ examples = [] }) {
  return examples.some(({ upload }) => upload) ? { examples, kept: keptOf(examples) } : {};
}

export const visitStart = () => visit(null);

/** Other words or another photo, under the filter and in the order of the page. */
export const visitSearch = (search) => visit({ ...refined(), ...search });

/** Ask for more or fewer hits of the same search: no step in the history. */
export const setCount = (k) => history.replaceState({ ...history.state, k }, "");

/** Go on with these examples alone, as this tab no longer has the others: no step in the history. */
export function keepOnly(examples) {
  const words = new URLSearchParams(location.search).get("words");
  history.replaceState(stateOf({ examples }), "", address({ ...refined(), examples, words }));
}

/** Go to an address of this page that is no search: a step in the history. */
export function go(state, address, focus = true) {
  history.pushState(state, "", address);
  visited({ focus });
}
