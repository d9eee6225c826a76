// Two thumbs over a histogram: from and to.
//
// The scale is that of the bins, each as wide as another, so that a number that is far out takes up one
// bin and not the whole scale. A thumb at its end asks for nothing.

import { element } from "./dom.js";
import { number } from "./text.js";

const PAUSE_MS = 600; // after the last key, before what it chose is asked for
const STEPS = 5; // in a bin, of numbers that are not whole

/** {element, isHeld, show}; `names` are those of the two thumbs. `moved` gets [from, to] while one is
 *  moved, each a number or null, and `chosen` once it is let go. */
export function drawSlider(names, moved, chosen) {
  const box = element("div", "");
  box.className = "slider";
  let [bins, values, held, pausing] = [[], [null, null], false, 0];
  const thumbs = names.map((name, at) => {
    const thumb = element("input", "");
    Object.assign(thumb, { type: "range", min: 0, step: "any" });
    thumb.setAttribute("aria-label", name);
    thumb.addEventListener("input", () => move(at, valueAt(thumb.valueAsNumber)));
    thumb.addEventListener("change", letGo);
    thumb.addEventListener("blur", () => held && letGo());
    thumb.addEventListener("keydown", (event) => press(event, at));
    return thumb;
  });
  box.append(...thumbs);

  const least = () => bins[0].low;
  const most = () => bins.at(-1).high;
  const valueOf = (at) => values[at] ?? (at ? most() : least());

  /** The number at a place of the scale, which is in bins. */
  function valueAt(place) {
    const { low, high } = bins[Math.min(bins.length - 1, Math.floor(place))];
    return low + (place - Math.min(bins.length - 1, Math.floor(place))) * (high - low);
  }

  function placeOf(value) {
    const at = bins.findIndex(({ high }) => value < high);
    if (at < 0) return bins.length;
    const { low, high } = bins[at];
    return at + Math.max(0, (value - low) / (high - low));
  }

  /** A whole number of whole numbers; else a 1, 2 or 5 of some decimal place, a few times in a bin. */
  function step() {
    const wide = bins[bins.length >> 1].high - bins[bins.length >> 1].low;
    if (wide >= 1 && Number.isInteger(least()) && Number.isInteger(most())) return 1;
    const power = 10 ** Math.floor(Math.log10(wide / STEPS));
    return power * [5, 2, 1].find((one) => one * power <= wide / STEPS);
  }

  function move(at, value) {
    clearTimeout(pausing);
    held = true;
    const [low, high] = at ? [valueOf(0), most()] : [least(), valueOf(1)]; // not past the other thumb
    const round = Number((Math.round(value / step()) * step()).toPrecision(12));
    const kept = Math.min(high, Math.max(low, value <= low || value >= high ? value : round));
    values[at] = kept === (at ? most() : least()) ? null : kept;
    draw();
    moved(values);
  }

  function letGo() {
    clearTimeout(pausing);
    held = false;
    draw(true);
    chosen(values);
  }

  function press(event, at) {
    const onward = getComputedStyle(box).direction === "rtl" ? -1 : 1;
    const ways = { ArrowUp: 1, ArrowDown: -1, ArrowRight: onward, ArrowLeft: -onward, Home: -Infinity, End: Infinity };
    const pages = { PageUp: 1, PageDown: -1 };
    if (event.key in ways) move(at, valueOf(at) + ways[event.key] * step());
    else if (event.key in pages) move(at, valueAt(clamped(placeOf(valueOf(at)) + pages[event.key])));
    else return;
    event.preventDefault();
    draw(true);
    pausing = setTimeout(letGo, PAUSE_MS);
  }

  const clamped = (place) => Math.min(bins.length, Math.max(0, place));

  /** Say what is chosen; `places`: have the thumbs there too, which a finger has already where it is. */
  function draw(places = false) {
    thumbs.forEach((thumb, at) => {
      thumb.setAttribute("aria-valuetext", number(valueOf(at)));
      if (places || thumb !== document.activeElement) thumb.value = placeOf(valueOf(at));
    });
    // Where both are at the upper end, the lower one is the one that can be moved.
    thumbs[0].classList.toggle("above", placeOf(valueOf(0)) > bins.length / 2);
  }

  return {
    element: box,
    isHeld: () => held,
    /** Show some bins with what is chosen of them. */
    show(of, from, to) {
      [bins, values] = [of, [from, to]];
      box.hidden = bins.length < 2;
      if (box.hidden) return;
      for (const thumb of thumbs) thumb.max = bins.length;
      draw(true);
    },
  };
}
