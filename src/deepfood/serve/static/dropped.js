// Where no photo passes the filter: which of its conditions could be dropped, and what that would bring.

import { $, announce, element } from "./dom.js";
import { conditionsOf, joined } from "./filter.js";
import { countOf } from "./search.js";
import { t } from "./text.js";

const MOST = 6; // conditions that are tried, each with a search of its own

/** Offer to drop conditions of a search that found nothing; `asked` gets the filter that is chosen. */
export async function offerDropping(search, asked, signal) {
  const conditions = conditionsOf(search.where);
  const ways = conditions.slice(0, MOST).map((text, at) => ({
    says: t("dropped.without", { condition: text }),
    where: joined(conditions.filter((_, place) => place !== at)),
  }));
  if (conditions.length > 1) ways.push({ says: t("dropped.all"), where: "" });
  try {
    const counts = await Promise.all(ways.map((way) => countOf(search, way.where, signal)));
    if (signal.aborted) return;
    const found = ways.map((way, at) => ({ ...way, count: counts[at] })).filter(({ count }) => count);
    $("dropped-list").replaceChildren(...found.map((way) => button(way, asked)));
    $("dropped").hidden = !found.length;
    if (!found.length) return;
    const said = found.map(({ says, count }) => t("dropped.brings", { way: says, photos: t("photos", { count }) }));
    announce([$("summary").textContent, ...said].join(" "));
  } catch {
    // An aid only: that there is no photo, the summary says.
  }
}

function button({ says, where, count }, asked) {
  const [item, made] = ["li", "button"].map((tag) => element(tag, ""));
  made.type = "button";
  made.className = "button quiet small";
  made.append(element("bdi", says), element("span", t("photos", { count })));
  made.addEventListener("click", () => {
    $("title").focus(); // the button goes
    asked(where);
  });
  item.append(made);
  return item;
}
