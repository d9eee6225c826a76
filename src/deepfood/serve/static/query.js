// What is searched with: the photo, or one of several, and the headings that say it.

import { $, element, entitle } from "./dom.js";
import { fullNameOf, likesIn, nameOfExample, pictureOf, samePhoto, thumb, unlikesIn } from "./examples.js";
import { labelOf, photos } from "./gallery.js";
import { drawPart, showPart } from "./part.js";
import { t } from "./text.js";
import { uploads } from "./uploads.js";

let picked = {}; // the example that the visitor wants to see

/** Show the photo, as far as it is known, and say in the headings what is searched. */
export function drawQuery(search) {
  const example = shownOf(search);
  const { id, upload, url } = example;
  const photo = photos.get(id);
  const image = $("query-photo");
  const source = upload || photo ? pictureOf(example) : null;
  $("query-side").hidden = !id && !upload && !url;
  $("query-look").hidden = Boolean(url); // only the server has it
  $("query").classList.toggle("without-photo", !source);
  if (!source) image.removeAttribute("src");
  else if (image.getAttribute("src") !== source) image.src = source;
  showPart(search.plate ? null : example);
  drawPicks(search);
  $("query-name").textContent = upload || url || photo ? nameOfExample(example) : "";
  $("query-label").textContent = (upload ? uploads.get(upload).name : labelOf(photo)) ?? "";
  const title = titleOf(search);
  $("title").textContent = title;
  entitle(title);
}

/** What is searched, in words, as far as the photos are known. */
function titleOf({ examples, words, plate }) {
  const likes = likesIn(examples);
  if (plate) return titleOfPlate(likes[0]);
  const unlikes = unlikesIn(examples);
  const like = likes.length ? titleOfLikes(likes) : "";
  const title = !words ? like || t("title.photos") : like ? t("title.and-words", { title: like, words }) : t("title.words", { words });
  return unlikes.length ? titleOfUnlikes(title, unlikes) : title;
}

function titleOfLikes([{ id, upload, url }, ...others]) {
  if (others.length) return t("title.like-these", { count: others.length + 1 });
  if (upload) return t("title.like-own");
  const isKnown = url || photos.has(id);
  return isKnown ? t("title.like-name", { name: nameOfExample({ id, url }) }) : t("title.alike");
}

function titleOfPlate({ id, upload }) {
  if (upload) return t("plate.of-own");
  return photos.has(id) ? t("plate.of-name", { name: nameOfExample({ id }) }) : t("plate.of-photo");
}

function titleOfUnlikes(title, [{ id, upload }, ...others]) {
  if (others.length) return t("title.unlike-these", { title, count: others.length + 1 });
  if (upload) return t("title.unlike-own", { title });
  if (photos.has(id)) return t("title.unlike-name", { title, name: nameOfExample({ id }) });
  return t("title.unlike-another", { title });
}

/** The example on show among several that the hits should be like; {} where there is none. */
export function shownOf({ examples }) {
  const likes = likesIn(examples);
  return likes.find((one) => samePhoto(one, picked)) ?? likes[0] ?? {};
}

/** Where there are several photos: which of them is on show. */
function drawPicks(search) {
  const likes = likesIn(search.examples);
  const shown = shownOf(search);
  const focused = [...$("picks").children].findIndex((item) => item.contains(document.activeElement));
  $("picks").hidden = likes.length < 2;
  $("picks").replaceChildren(...(likes.length < 2 ? [] : likes.map((one) => pick(one, one === shown, search))));
  $("picks").children[focused]?.firstElementChild.focus();
}

function pick(example, isShown, search) {
  const [item, button] = [element("li", ""), element("button", "")];
  button.type = "button";
  button.setAttribute("aria-label", t("pick.show", { name: fullNameOf(example) }));
  button.setAttribute("aria-pressed", String(isShown));
  button.append(thumb(example));
  button.addEventListener("click", () => {
    picked = example;
    drawQuery(search);
  });
  item.append(button);
  return item;
}

$("query-photo").addEventListener("error", () => {
  $("query").classList.add("without-photo");
  drawPart();
});
