// The dishes on the photo that is searched with, as boxes to press.
//
// The boxes are buttons, one after the other for Tab. Arrow keys go to the next one in their direction.

import { $, element } from "./dom.js";

const boxes = $("plate-boxes");
const image = $("query-photo");

let pressed = () => {};

/** Draw a box for each dish, {box, title, sure}; `chosen` gets the place in the list of one that is pressed. */
export function drawBoxes(dishes, chosen) {
  pressed = chosen;
  boxes.replaceChildren(...dishes.map(boxOf));
  // Where boxes overlap, the smaller one can be pressed.
  const bySize = [...dishes.keys()].sort((a, b) => areaOf(dishes[b]) - areaOf(dishes[a]));
  bySize.forEach((at, order) => (boxes.children[at].style.zIndex = order));
  boxes.hidden = false;
}

const areaOf = ({ box: [, , wide, high] }) => wide * high;

function boxOf({ box, title, sure, says }, at) {
  const button = element("button", "");
  button.type = "button";
  button.className = "plate-box";
  ["--left", "--top", "--wide", "--high"].forEach((name, side) => button.style.setProperty(name, `${100 * box[side]}%`));
  button.append(element("b", says.number), element("span", title), element("small", sure));
  button.children[1].dir = "auto";
  button.setAttribute("aria-label", says.whole);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => pressed(at));
  return button;
}

/** Have one of the boxes be pressed, and no other. */
export function pressBox(at) {
  [...boxes.children].forEach((one, place) => one.setAttribute("aria-pressed", String(place === at)));
}

/** Go to a box. */
export function focusBox(at) {
  image.scrollIntoView({ block: "nearest" });
  boxes.children[at].focus({ preventScroll: true });
}

export function showBoxes(shown) {
  boxes.hidden = !shown;
}

/** Draw the middle of a part of the photo into a square <canvas>; nothing where there is no picture. */
export function drawCrop(canvas, [left, top, wide, high]) {
  const { naturalWidth: width, naturalHeight: height } = image;
  if (!width || !image.complete) return;
  const side = Math.min(wide * width, high * height);
  const [x, y] = [(left + wide / 2) * width - side / 2, (top + high / 2) * height - side / 2];
  canvas.getContext("2d").drawImage(image, x, y, side, side, 0, 0, canvas.width, canvas.height);
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

boxes.addEventListener("keydown", (event) => {
  const way = WAYS[event.key];
  if (!way || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  event.preventDefault();
  const from = middleOf(document.activeElement);
  const reached = [...boxes.children]
    .map((one) => [one, middleOf(one).map((at, axis) => at - from[axis])])
    .map(([one, [x, y]]) => ({ one, along: x * way[0] + y * way[1], aside: Math.abs(x * way[1] + y * way[0]) }))
    .filter(({ along }) => along > 1)
    .sort((a, b) => a.along + 2 * a.aside - (b.along + 2 * b.aside));
  reached[0]?.one.focus();
});

function middleOf(one) {
  const { x, y, width, height } = one.getBoundingClientRect();
  return [x + width / 2, y + height / 2];
}
