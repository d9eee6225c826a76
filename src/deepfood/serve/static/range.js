// A number from and to, under its histogram.

import { element } from "./dom.js";
import { readable } from "./gallery.js";
import { number, t } from "./text.js";

/** {element, update} as in facet.js. */
export function drawRange({ name }, change) {
  const group = element("div", "");
  const bars = element("div", "");
  const fields = element("div", "");
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
  group.append(bars, fields);

  for (const end of ends) {
    end.input.addEventListener("change", () => {
      end.typing = false;
      const [low, high] = ends.map((one) => one.input.valueAsNumber);
      if (low > high) [ends[0].input.value, ends[1].input.value] = [high, low];
      const given = ends.filter((one) => !Number.isNaN(one.input.valueAsNumber));
      change(given.map((one) => ({ name, is: one.is, value: one.input.valueAsNumber })));
    });
  }

  function update({ chosen, rest }) {
    const of = (is) => chosen.findLast((one) => one.is === is)?.value;
    for (const { is, input, typing } of ends) {
      if (!typing) input.value = of(is) ?? "";
      input.placeholder = endOf(rest.bins, is) ?? "";
    }
    const most = Math.max(...rest.bins.map(({ count }) => count), 1);
    const [low, high] = [of(">=") ?? -Infinity, of("<=") ?? Infinity];
    bars.hidden = !rest.bins.length;
    bars.replaceChildren(
      ...rest.bins.map((bin) => {
        const bar = element("span", "");
        bar.style.setProperty("--tall", `${(100 * bin.count) / most}%`);
        bar.className = bin.high < low || bin.low > high ? "out" : "";
        return bar;
      }),
    );
  }
  return { element: group, update };
}

function endOf(bins, is) {
  const end = is === ">=" ? bins[0]?.low : bins.at(-1)?.high;
  return end === undefined ? undefined : number(Number(end.toFixed(3)));
}
