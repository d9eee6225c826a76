// The examples of a search: photos that the hits should be like, or unlike.
//
// An example is {id}, a photo of the gallery, {upload}, the number of one that the visitor gave, or
// {url}, the address of one that the server fetches, of which there may be one. It may have `box`, the part of the photo that counts: [left, top, width, height] as shares of it, and
// `unlike`, where the hits should be unlike it. In an address it is written ID~LEFT,TOP,WIDTH,HEIGHT.

import { nameOf, photos } from "./gallery.js";
import { t } from "./text.js";
import { uploads } from "./uploads.js";

export const MOST = 8; // photos and words that the API takes together

export const likesIn = (examples) => examples.filter(({ unlike }) => !unlike);
export const unlikesIn = (examples) => examples.filter(({ unlike }) => unlike);

/** The photo that a search is about: the first of those that the hits should be like, or {}. */
export const leadOf = ({ examples = [] }) => likesIn(examples)[0] ?? {};

/** Whether a search may be for each dish of a photo: with one whole photo alone, which the page can show. */
export const mayBePlate = ({ examples, words }) =>
  examples.length === 1 && !words && !examples.some(({ url, box, unlike }) => url || box || unlike);

/** Whether two examples are the same photo. */
export const samePhoto = (a, b) => a.id === b.id && a.upload === b.upload && a.url === b.url;

/** What an example is called, as far as that is known. */
export function nameOfExample({ id, upload, url }) {
  if (url) return shortened(url);
  return upload ? t("photo.own") : nameOf(photos.get(id) ?? { id });
}

/** The host and the file of an address. */
function shortened(url) {
  const { host, pathname } = new URL(url);
  const [file, ...folders] = pathname.split("/").filter(Boolean).reverse();
  return [host, folders.length && "…", file].filter(Boolean).join("/");
}

/** The same, with the name of its file where it was uploaded: several are told apart by it. */
export function fullNameOf(one) {
  const file = uploads.get(one.upload)?.name;
  return file ? t("photo.own-file", { file }) : nameOfExample(one);
}

/** The address of its picture; null where an upload is not yet ready, and where only the server fetches
 *  the photo. */
export function pictureOf({ id, upload }) {
  if (upload) return uploads.get(upload)?.url ?? null;
  return id ? `thumbnails/${id}` : null;
}

/** Its picture for a small place: only the part that counts, in browsers that can. */
export function thumb(example) {
  const image = document.createElement("img");
  image.alt = "";
  image.addEventListener("error", () => image.removeAttribute("src")); // what is behind it stays
  const source = pictureOf(example);
  if (source) image.src = source;
  if (example.box) {
    const [left, top, width, height] = example.box.map((share) => share * 100);
    image.style.objectViewBox = `inset(${top}% ${100 - left - width}% ${100 - top - height}% ${left}%)`;
  }
  return image;
}

/** Pairs of name and text for an address; uploads have none. */
export const saidOf = (examples) =>
  examples
    .filter(({ upload }) => !upload)
    .map(({ id, url, box, unlike }) => (url ? ["url", url] : [unlike ? "not" : "id", box ? `${id}~${box}` : id]));

/** The examples that an address has, each photo once. */
export function examplesIn(said) {
  const url = said.get("url");
  const found = [
    ...(URL.canParse(url) ? [{ url }] : []),
    ...said.getAll("id").map(exampleIn),
    ...said.getAll("not").map((text) => ({ ...exampleIn(text), unlike: true })),
  ];
  return found.filter((one, at) => (one.id || one.url) && at === found.findIndex((other) => samePhoto(one, other)));
}

function exampleIn(text) {
  const [id, sides] = text.split("~");
  const box = sides?.split(",").map(Number);
  return { id, ...(isBox(box) && { box }) };
}

function isBox(box) {
  if (box?.length !== 4) return false;
  const [left, top, width, height] = box;
  const fits = (start, side) => start >= 0 && side > 0 && start + side <= 1 + 1e-6;
  return fits(left, width) && fits(top, height);
}
