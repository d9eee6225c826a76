// The items of the list in Browse, and its orders.

import { leadTo } from "./detail.js";
import { $ } from "./dom.js";
import { inWords } from "./facts.js";
import { labelOf, nameOf, readable } from "./gallery.js";
import { pickWith } from "./tray.js";

/** The orders that photos can be listed in: [value of the API, in words]. */
export const ordersOf = (columns) => [
  ["newest", "newest first"],
  ["-newest", "oldest first"],
  ["name", "by name, A to Z"],
  ["-name", "by name, Z to A"],
  ...columns
    .filter(({ type }) => type === "number")
    .flatMap(({ name }) => [
      [name, `${readable(name)}, lowest first`],
      [`-${name}`, `${readable(name)}, highest first`],
    ]),
];

/** A photo as an item of the list; `sort` is its order. */
export function tile(photo, sort, number, total) {
  const item = $("browse-card").content.cloneNode(true).firstElementChild;
  const [link, about, pick] = item.children;
  const image = link.querySelector("img");
  item.setAttribute("aria-posinset", number + 1);
  item.setAttribute("aria-setsize", total);
  leadTo(link, photo);
  pickWith(pick, photo);
  Object.assign(image, { width: photo.width, height: photo.height, src: `thumbnails/${photo.id}` });
  link.querySelector(".name").textContent = link.title = nameOf(photo);
  const by = sort.replace(/^-/, "");
  const value = photo.attributes[by];
  const isOwn = !["newest", "name"].includes(by);
  about.textContent = isOwn ? `${readable(by)}: ${inWords(value)}` : (labelOf(photo) ?? "");
  return item;
}
