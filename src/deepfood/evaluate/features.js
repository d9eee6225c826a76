"use strict";
// Draws the features a few at a time: the page holds every picture once, whatever it is shown for.
const STEP = 30;
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
let chosen = [];
let drawn = 0;

const orders = {
  number: (a, b) => a.number - b.number,
  purity: (a, b) => b.purity - a.purity || b.contrast - a.contrast,
  contrast: (a, b) => b.contrast - a.contrast,
  spread: (a, b) => b.spread - a.spread,
  label: (a, b) =>
    (a.label === null) - (b.label === null) ||
    (a.label ?? "").localeCompare(b.label ?? "") ||
    b.purity - a.purity,
};

function element(tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return made;
}

function choose() {
  const wanted = $("wanted").value.trim();
  const number = /^\d+$/.test(wanted) ? Number(wanted) : null;
  const word = wanted.toLocaleLowerCase();
  chosen = data.features
    .filter((one) => (number === null ? (one.label ?? "").toLocaleLowerCase().includes(word) : one.number === number))
    .sort(orders[$("order").value]);
  drawn = 0;
  $("features").replaceChildren();
  const none = number === null ? `No feature's photos are mostly of ${wanted}.` : `There is no feature ${number}: they go from 0 to ${data.features.length - 1}.`;
  $("count").textContent = chosen.length ? `${chosen.length.toLocaleString("en")} of ${data.features.length.toLocaleString("en")} features` : none;
  more();
}

function more() {
  for (const feature of chosen.slice(drawn, drawn + STEP)) $("features").append(draw(feature));
  drawn = Math.min(drawn + STEP, chosen.length);
  $("more").hidden = drawn >= chosen.length;
}

function draw(feature) {
  const article = element("article");
  const heading = element("h2");
  const link = element("a", `Feature ${feature.number}`);
  link.href = `#${feature.number}`;
  heading.append(link);
  const same = Math.round(feature.purity * feature.photos.length);
  const label = feature.label === null ? "" : `${same} of ${feature.photos.length}: ${feature.label}. `;
  const facts = feature.spread
    ? `mean ${feature.mean.toFixed(3)}, spread ${feature.spread.toFixed(3)}; these stand out by ${feature.contrast.toFixed(1)} spreads`
    : "the same in every photo";
  const list = element("ol");
  for (const [at, value] of feature.photos) {
    const [source, name, of] = data.photos[at];
    const item = element("li");
    const image = element("img");
    image.src = source;
    image.alt = [name, of].filter(Boolean).join(", ");
    image.decoding = "async";
    const caption = element("span", of ?? name);
    caption.title = image.alt;
    caption.dir = "auto";
    item.append(image, element("b", value.toFixed(3)), caption);
    list.append(item);
  }
  article.append(heading, element("p", label + facts), list);
  return article;
}

function fromAddress() {
  const number = location.hash.slice(1);
  if (/^\d+$/.test(number)) $("wanted").value = number;
  choose();
}

$("about").textContent = data.about;
$("left-out").textContent = data.left_out;
$("left-out").hidden = !data.left_out;
if (!data.features.some((one) => one.label !== null)) {
  for (const option of [...$("order").options]) {
    if (["purity", "label"].includes(option.value)) option.remove();
  }
}
$("form").addEventListener("submit", (event) => event.preventDefault());
$("wanted").addEventListener("input", choose);
$("order").addEventListener("change", choose);
$("more").addEventListener("click", () => {
  const next = drawn;
  more();
  $("features").children[next]?.querySelector("a").focus();
});
new IntersectionObserver(([seen]) => seen.isIntersecting && drawn < chosen.length && more(), {
  rootMargin: "600px",
}).observe($("more"));
addEventListener("hashchange", fromAddress);
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, select")) return;
  event.preventDefault();
  $("wanted").select();
});
fromAddress();
