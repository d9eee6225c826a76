// A number from and to: two thumbs over its histogram, and fields for exact values.

import { element } from "./dom.js";
import { readable } from "./gallery.js";
import { drawSlider } from "./slider.js";
import { number, t } from "./text.js";

/** {element, update} as in facet.js. */
export function drawRange({ name }, change) {
  const group = element("div", "");
  const bars = element("div", "");
  const fields = element("div", "");
  let bins = [];
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", readable(name));
  bars.className = "bars";
  bars.setAttribute("aria-hidden", "true");
  fields.className = "ends";
  const ends = [">=", "<="].map((is) => {
    const [label, input] = [element("label", is === ">=" ? t("range.from") : t("range.to")), element("input", "")];
    input.type = "number";
    input.step = "any";
    input.inputMode = "decimal";
    input.setAttribute("aria-label", is === ">=" ? t("range.from-of", { name: readable(name) }) : t("range.to-of", { name: readable(name) }));
    label.append(input);
    fields.append(label);
    const end = { is, input, typing: false };
    input.addEventListener("input", () => (end.typing = true));
    input.addEventListener("blur", () => (end.typing = false));
    return end;
  });
  const called = { name: readable(name) };
  const slider = drawSlider([t("range.least", called), t("range.most", called)], drawMoved, ask);
  group.append(bars, slider.element, fields);

  for (const end of ends) {
    end.input.addEventListener("change", () => {
      end.typing = false;
      const [low, high] = ends.map((one) => one.input.valueAsNumber);
      if (low > high) [ends[0].input.value, ends[1].input.value] = [high, low];
      ask(ends.map(({ input }) => (Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber)));
    });
  }

  function ask(values) {
    const given = ends.map(({ is }, at) => ({ name, is, value: values[at] }));
    change(given.filter(({ value }) => value !== null));
  }

  /** The fields and the bars follow a thumb before the filter does. */
  function drawMoved(values) {
    ends.forEach(({ input }, at) => (input.value = values[at] ?? ""));
    drawOut(values);
  }

  function drawOut([from, to]) {
    const [low, high] = [from ?? -Infinity, to ?? Infinity];
    [...bars.children].forEach((bar, at) => bar.classList.toggle("out", bins[at].high < low || bins[at].low > high));
  }

  function update({ chosen, rest }) {
    if (slider.isHeld()) return; // what is asked for next is drawn then
    bins = rest.bins;
    const values = ends.map(({ is }) => chosen.findLast((one) => one.is === is)?.value ?? null);
    ends.forEach(({ is, input, typing }, at) => {
      if (!typing) input.value = values[at] ?? "";
      input.placeholder = endOf(bins, is) ?? "";
    });
    const most = Math.max(...bins.map(({ count }) => count), 1);
    bars.hidden = !bins.length;
    bars.replaceChildren(
      ...bins.map(({ count }) => {
        const bar = element("span", "");
        bar.style.setProperty("--tall", `${(100 * count) / most}%`);
        return bar;
      }),
    );
    drawOut(values);
    slider.show(bins, ...values);
  }
  return { element: group, update };
}

function endOf(bins, is) {
  const end = is === ">=" ? bins[0]?.low : bins.at(-1)?.high;
  return end === undefined ? undefined : number(Number(end.toFixed(3)));
}
