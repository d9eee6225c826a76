// A photo of the gallery as a card: alone, or as one that was found.

import { leadTo } from "./detail.js";
import { $, element, loadEarly } from "./dom.js";
import { likesIn } from "./examples.js";
import { inWords } from "./facts.js";
import { drawFolded } from "./folded.js";
import { gallery, labelOf, nameOf, photos, readable } from "./gallery.js";
import { heartOf } from "./hearts.js";
import { isAddress, linksOf } from "./links.js";
import { drawMarks } from "./marks.js";
import { alone, parts, percent, t } from "./text.js";
import { pickWith } from "./tray.js";
import { address, refined } from "./visits.js";

const OTHER_NAMES = "also"; // an attribute that words are found in, and too long for a card
/** How likely a hit is the same dish, in words; the only number on a card is its similarity. */
const SAME_DISH = {
  likely: t("card.likely"),
  perhaps: t("card.perhaps"),
  unlikely: t("card.unlikely"),
};

/** A list item, at a `place` in its list, from 0; `search` is the one that has found it, if one has. */
export function card(photo, place, search) {
  const item = $("card").content.cloneNode(true).firstElementChild;
  const part = (name) => item.querySelector(`.${name}`);
  photos.set(photo.id, photo);
  part("like").href = address({ ...refined(), examples: [{ id: photo.id }] });
  part("like").dataset.id = photo.id;
  part("like").setAttribute("aria-label", t("card.like", { name: nameOf(photo) }));
  loadEarly(part("frame").firstElementChild, place);
  // Not thumbnail_url: behind a `public_url` that names another host, it still is this server.
  part("frame").firstElementChild.src = `thumbnails/${photo.id}`;
  part("name").textContent = nameOf(photo);
  part("name").title = nameOf(photo);
  part("label").textContent = labelOf(photo) ?? "";
  leadTo(part("look"), photo);
  part("look").lastElementChild.textContent = t("card.details", { name: nameOf(photo) });
  if (search) drawHit(item, part, photo, search);
  else for (const other of item.querySelectorAll(".of-hit")) other.remove();
  return item;
}

function drawHit(item, part, photo, search) {
  const share = element("span", percent(photo.score));
  share.className = "percent";
  const said = { percent: share };
  part("alike").append(...(photo.box ? parts("card.alike-in-box", said) : parts("card.alike", said)));
  if (photo.box) drawBox(part("frame"), photo);
  part("bar").style.setProperty("--filled", `${Math.max(0, Math.round(100 * photo.score))}%`);
  part("same-dish").textContent = SAME_DISH[photo.same_dish] ?? "";
  pickWith(part("pick"), photo);
  part("marks").append(heartOf(photo));
  drawMarks(part("marks"), photo);
  part("ask").dataset.id = photo.id;
  part("ask").lastElementChild.textContent = ` ${nameOf(photo)}`;
  const [about, safety] = item.querySelectorAll(".facts");
  about.textContent = facts(photo.attributes, gallery.columns.filter((one) => !one.safety && one.name !== OTHER_NAMES));
  safety.textContent = facts(photo.attributes, gallery.columns.filter((one) => one.safety));
  part("links").append(...linksOf(photo));
  drawFolded(part("fold"), part("twins"), photo, twinLink);
  if (search.words) {
    part("matched").textContent = matched(photo);
    part("similarity").remove(); // to the words too, which says little to a reader
  }
  if (!likesIn(search.examples).some(({ url }) => !url)) part("ask").remove(); // regions are compared with a photo
}

/** The part of a photo that was found, as a box on all of the photo. */
function drawBox(frame, { box, width, height }) {
  const [whole, part] = [element("span", ""), element("span", "")];
  frame.classList.add("boxed");
  whole.className = "whole";
  whole.style.setProperty("--ratio", width / height);
  ["--left", "--top", "--wide", "--high"].forEach((name, side) => part.style.setProperty(name, `${100 * box[side]}%`));
  whole.append(part);
  frame.append(whole);
}

/** Where the words are that found a photo; its name and label are on the card. */
function matched(photo) {
  if (!photo.matched.length) return t("card.looks-so");
  const others = photo.matched.filter(({ field }) => !["name", "label"].includes(field));
  const said = others.map(({ field, value }) => t("fact", { name: readable(field), value }));
  return [...new Set(said)].join(" · ");
}

/** What is known of a photo, in words. That nothing is known of a safety attribute is said too. */
function facts(values, among) {
  const said = among.map(({ name: column, safety }) => {
    const [name, value] = [readable(column), values[column]];
    if (value === undefined) return safety && t("fact.unknown", { name });
    if (isAddress(value)) return null; // it is a link
    if (typeof value === "boolean") return value ? alone(name) : t("fact.not", { name });
    if (typeof value === "string") return alone(value);
    return t("fact", { name, value: inWords(value) });
  });
  return said.filter(Boolean).join(" · ");
}

function twinLink(photo) {
  photos.set(photo.id, photo);
  const link = element("a", "");
  const image = element("img", "");
  link.className = "twin";
  link.href = address({ ...refined(), examples: [{ id: photo.id }] });
  link.dataset.id = photo.id;
  image.src = `thumbnails/${photo.id}`;
  image.alt = t("card.like", { name: nameOf(photo) });
  link.append(image);
  return link;
}
