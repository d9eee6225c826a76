// The part of the photo that counts: drawn on it, and moved and resized with the pointer or the keyboard.

import { $, announce } from "./dom.js";
import { WHOLE, boxFor, middleBox, seenOf, seesSquares, within } from "./fit.js";
import { gallery } from "./gallery.js";
import { percent, t } from "./text.js";

const MOST_OF_IT = 0.7; // of a photo's area; a square photo has 0.77 in the Model that ships
const STEP = 0.02; // of the photo, for an arrow key
const PAUSE_MS = 600; // after the last key, before it is searched

const [image, seen] = [$("query-photo"), $("query-seen")];
const frame = image.parentElement;
let example = {}; // the one on show
let box = null; // of it, also while it is dragged
let changed = () => {};
let taken = changed; // gets what is chosen of the one on show
let waiting = 0;

/** Draw the part of an example that counts, once its photo is loaded; null: there is nothing to choose.
 *  `asked` gets what the visitor chooses, as that of onPart() does. */
export function showPart(one, asked = changed) {
  clearTimeout(waiting);
  [example, box, taken] = [one, one?.box ?? null, asked];
  drawPart();
}

/** `asked` gets (example, box) when the visitor has chosen another part; null: all of the photo. */
export function onPart(asked) {
  changed = asked;
}

const photo = () => ({ width: image.naturalWidth, height: image.naturalHeight });

/** Draw what the Model sees, and say so where that is not most of the photo. */
export function drawPart() {
  const { width, height } = photo();
  const known = Boolean(example && gallery.fit && width && image.hasAttribute("src") && image.complete);
  seen.hidden = $("part-tools").hidden = $("part-open").hidden = !known;
  $("query-part").hidden = true;
  if (!known) return;
  const region = seenOf(box ?? WHOLE, photo());
  const shape = frame.clientWidth / frame.clientHeight;
  const scale = Math.min(shape / width, 1 / height); // the whole photo in the frame, whose height is 1
  const [wide, high] = [(width * scale) / shape, height * scale]; // as shares of the frame
  const place = (name, share) => seen.style.setProperty(name, `${100 * share}%`);
  place("--left", (1 - wide) / 2 + region[0] * wide);
  place("--top", (1 - high) / 2 + region[1] * high);
  place("--wide", region[2] * wide);
  place("--high", region[3] * high);
  $("query-part").hidden = region[2] * region[3] > MOST_OF_IT;
  $("query-part").textContent = whatCounts();
  $("part-whole").setAttribute("aria-pressed", String(!box));
  $("part-middle").setAttribute("aria-pressed", String(String(box) === String(middleBox(photo()))));
}

function whatCounts() {
  if (seesSquares()) return box ? t("part.square") : t("part.square-middle");
  return box ? t("part.some") : t("part.some-middle");
}

function choose(chosen) {
  box = chosen;
  drawPart();
}

/** Search with what is chosen, unless it is searched already. */
function ask() {
  clearTimeout(waiting);
  if (example && String(box ?? "") !== String(example.box ?? "")) taken(example, box);
}

/** In words, for those who do not see where the part is. */
function describe() {
  const [left, top, wide, high] = seenOf(box ?? WHOLE, photo()).map(percent);
  return t("part.place", { left, top, wide, high });
}

/** The part whose seen region has its corner at a place, and the opposite corner where it is. */
function resized([left, top, wide, high], corner, [x, y]) {
  const west = corner.includes("w");
  const north = corner.includes("n");
  const [anchorX, anchorY] = [west ? left + wide : left, north ? top + high : top];
  const { width, height } = photo();
  let [across, down] = [Math.max(0, west ? anchorX - x : x - anchorX), Math.max(0, north ? anchorY - y : y - anchorY)];
  if (seesSquares()) {
    const side = Math.max(across * width, down * height);
    [across, down] = [side / width, side / height];
  }
  return boxFor([west ? anchorX - across : anchorX, north ? anchorY - down : anchorY, across, down], photo());
}

/** Where a pointer is, in shares of the photo. */
function placeOf(event) {
  const bounds = frame.getBoundingClientRect();
  const { width, height } = photo();
  const scale = Math.min(bounds.width / width, bounds.height / height);
  const from = (at, start, side, length) => (at - start - side / 2) / (length * scale) + 0.5;
  return [
    from(event.clientX, bounds.left, bounds.width, width),
    from(event.clientY, bounds.top, bounds.height, height),
  ];
}

frame.addEventListener("pointerdown", (event) => {
  if (event.button || seen.hidden || getComputedStyle(seen).pointerEvents === "none") return;
  event.preventDefault();
  const { corner } = event.target.dataset;
  const grabbed = placeOf(event);
  if (!seen.contains(event.target)) {
    const [, , wide, high] = box ?? boxFor(seenOf(WHOLE, photo()), photo());
    choose(within([grabbed[0] - wide / 2, grabbed[1] - high / 2, wide, high]));
  }
  const before = box ?? boxFor(seenOf(WHOLE, photo()), photo());
  const region = seenOf(before, photo());
  seen.setPointerCapture(event.pointerId);
  seen.focus({ preventScroll: true });
  const move = (moved) => {
    const [x, y] = placeOf(moved);
    const [left, top, wide, high] = before;
    if (corner) choose(resized(region, corner, [x, y]));
    else choose(within([left + x - grabbed[0], top + y - grabbed[1], wide, high]));
  };
  const end = ({ type }) => {
    seen.removeEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) seen.removeEventListener(kind, end);
    if (type === "pointercancel") choose(example.box ?? null);
    else ask();
  };
  seen.addEventListener("pointermove", move);
  for (const kind of ["pointerup", "pointercancel"]) seen.addEventListener(kind, end);
});

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

seen.addEventListener("keydown", (event) => {
  const way = KEYS[event.key];
  if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const from = box ?? boxFor(seenOf(WHOLE, photo()), photo());
  if (event.shiftKey) choose(grown(seenOf(from, photo()), way));
  else choose(within([from[0] + way[0] * STEP, from[1] + way[1] * STEP, from[2], from[3]]));
  announce(describe());
  clearTimeout(waiting);
  waiting = setTimeout(ask, PAUSE_MS);
});
seen.addEventListener("blur", ask);

/** A region that is larger for right and down, smaller for left and up, around its middle. */
function grown([left, top, wide, high], way) {
  const by = (way[0] + way[1]) * 2 * STEP;
  const both = seesSquares();
  const across = both || way[0] ? wide * (1 + by) : wide;
  const down = both || way[1] ? high * (1 + by) : high;
  return boxFor([left - (across - wide) / 2, top - (down - high) / 2, across, down], photo());
}

for (const [button, chosen] of [
  [$("part-whole"), () => null],
  [$("part-middle"), () => middleBox(photo())],
]) {
  button.addEventListener("click", () => {
    choose(chosen());
    announce(describe());
    ask();
  });
}
$("part-open").addEventListener("click", () => {
  const open = $("query").classList.toggle("choosing");
  $("part-open").setAttribute("aria-expanded", String(open));
  $("part-open").textContent = open ? t("part.done") : t("part.choose");
  drawPart();
});
image.addEventListener("load", drawPart);
