// The items of the list in Browse, and its orders.

import { leadTo } from "./detail.js";
import { $, loadEarly } from "./dom.js";
import { inWords } from "./facts.js";
import { labelOf, nameOf, readable } from "./gallery.js";
import { heartOf } from "./hearts.js";
import { t } from "./text.js";
import { pickWith } from "./tray.js";

/** The orders that photos can be listed in: [value of the API, in words]. */
export const ordersOf = (columns) => [
  ["newest", t("order.newest")],
  ["-newest", t("order.oldest")],
  ["name", t("order.name")],
  ["-name", t("order.name-back")],
  ...columns
    .filter(({ type }) => type === "number")
    .flatMap(({ name }) => [
      [name, t("order.lowest", { name: readable(name) })],
      [`-${name}`, t("order.highest", { name: readable(name) })],
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
  item.append(heartOf(photo));
  loadEarly(image, number);
  Object.assign(image, { width: photo.width, height: photo.height, src: `thumbnails/${photo.id}` });
  link.querySelector(".name").textContent = link.title = nameOf(photo);
  const by = sort.replace(/^-/, "");
  const value = photo.attributes[by];
  const isOwn = !["newest", "name"].includes(by);
  about.textContent = isOwn ? t("fact", { name: readable(by), value: inWords(value) }) : (labelOf(photo) ?? "");
  return item;
}
