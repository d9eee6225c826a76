// What the Model sees of a photo, and the box that makes it see a part.
//
// Regions are [left, top, width, height] in shares of the photo; `photo` is {width, height} in pixels.

import { gallery } from "./gallery.js";

export const WHOLE = [0, 0, 1, 1];
const LEAST = 0.12; // of the shorter side: less is too small to be seen, and to be dragged

/** Whether the Model sees squares; else it squashes or pads what it is given. */
export const seesSquares = () => !["squash", "pad"].includes(gallery.fit.resize);

/** The region that the Model sees of a box, in its middle; nothing lies beyond a padded one. */
export function seenOf([left, top, wide, high], { width, height }) {
  const { resize, crop } = gallery.fit;
  const [across, down] = [wide * width, high * height];
  const side = crop * (resize === "pad" ? Math.max(across, down) : Math.min(across, down));
  const [seenWide, seenHigh] =
    resize === "squash"
      ? [crop * wide, crop * high]
      : [Math.min(side, across) / width, Math.min(side, down) / height];
  return [left + (wide - seenWide) / 2, top + (high - seenHigh) / 2, seenWide, seenHigh];
}

/** The box inside the photo of which the Model sees a region, or the nearest region that is possible. */
export function boxFor([left, top, wide, high], { width, height }) {
  const { resize, crop } = gallery.fit;
  const shorter = Math.min(width, height);
  let [across, down] = [wide * width, high * height].map((side) => Math.max(side, LEAST * shorter));
  if (seesSquares()) across = down = Math.min(across, down);
  const share = resize === "pad" ? [across < down ? 1 : crop, across > down ? 1 : crop] : [crop, crop];
  let sides = [across / share[0], down / share[1]];
  if (seesSquares()) sides = sides.map((side) => Math.min(side, shorter));
  const shares = [Math.min(1, sides[0] / width), Math.min(1, sides[1] / height)];
  return within([left + wide / 2 - shares[0] / 2, top + high / 2 - shares[1] / 2, ...shares]);
}

/** A box moved into the photo, in thousandths. */
export function within([left, top, wide, high]) {
  const [w, h] = [wide, high].map((side) => Math.round(side * 1000));
  const start = (at, side) => Math.min(1000 - side, Math.max(0, Math.round(at * 1000)));
  return [start(left, w), start(top, h), w, h].map((side) => side / 1000);
}

/** A box in the middle of the photo. */
export function middleBox(photo) {
  const [left, top, wide, high] = seenOf(WHOLE, photo);
  const size = 0.6;
  const inset = (start, side) => start + (side * (1 - size)) / 2;
  return boxFor([inset(left, wide), inset(top, high), wide * size, high * size], photo);
}
