// Which view the address asks for, beside a search and the start page of visits.js.
//
// `?browse=SORT&label=…&where=…` lists the gallery, `?compare=ID,ID` compares photos, `?favourites` lists those,
// `?look-after=PART` changes the gallery. `photo=ID` opens the detail view over what the rest of the address
// says; an uploaded photo has no address, and is `own` in the history's state.

import { $ } from "./dom.js";
import { go } from "./visits.js";

const TITLE = document.title; // of the start page
const SECTIONS = ["start", "answer", "browse", "compare", "favourites", "look-after"];

/** What is listed, or null: {sort, label, where}. */
export function browsed() {
  const said = new URLSearchParams(location.search);
  if (!said.has("browse")) return null;
  return { sort: said.get("browse") || "newest", label: said.get("label") ?? "", where: said.get("where") ?? "" };
}

/** The ids of the photos that are compared, or null. */
export function compared() {
  const ids = new URLSearchParams(location.search).get("compare");
  return ids === null ? null : [...new Set(ids.split(",").filter(Boolean))];
}

/** The part of looking after the gallery, one of look-after.js: "" for adding; or null. */
export const lookedAfter = () => new URLSearchParams(location.search).get("look-after");
/** Whether the favourites are listed. */
export const favoured = () => new URLSearchParams(location.search).has("favourites");

export const compareAddress = (ids) => `?compare=${ids.map(encodeURIComponent).join(",")}`;

/** The photo that the detail view shows, or null: {id} of the gallery, {own} of an upload. */
export function looked() {
  const id = new URLSearchParams(location.search).get("photo");
  if (id) return { id };
  const { own } = history.state ?? {};
  return own ? { own } : null;
}

/** The address of a list. */
export function browseAddress({ sort, label, where }) {
  const said = Object.entries({ browse: sort, label, where }).filter(([, value]) => value);
  return `?${new URLSearchParams(said)}`;
}

/** This page's address with the detail view of a photo over it, or null: without one. */
export function photoAddress(id) {
  const said = new URLSearchParams(location.search);
  said.delete("photo");
  if (id) said.set("photo", id);
  return said.size ? `?${said}`.replace("favourites=", "favourites").replaceAll("%7E", "~").replaceAll("%2C", ",") : location.pathname;
}

/** Open the detail view of {id} or {upload} over what is on the page: a step in the history. */
export const visitPhoto = ({ id, upload }) => go({ ...history.state, own: upload, over: true }, photoAddress(id));

/** Another photo of the same list: no step, so that one step back leads to the list. */
export function turnTo(id) {
  history.replaceState({ ...history.state, own: undefined }, "", photoAddress(id));
}

/** Back to what the detail view lies over, or on to it where the visit began with the photo. */
export function leavePhoto() {
  if (history.state?.over) history.back();
  else go(null, photoAddress(null));
}

/** Show one of the page's sections. */
export function showSection(id) {
  for (const section of SECTIONS) $(section).hidden = section !== id;
}

/** The title of what lies behind the detail view. */
export function titleBehind() {
  const section = SECTIONS.find((one) => !$(one).hidden);
  return section === "start" ? TITLE : `${$(section).querySelector("h1").textContent} · deepfood`;
}
