// Two to four photos side by side: what is known of them in rows, and differences in bold.

import { ask } from "./ask.js";
import { leadTo } from "./detail.js";
import { $, announce, element, entitle } from "./dom.js";
import { columnsOf, heading, inWords, pixels, shown } from "./facts.js";
import { gallery, nameOf, photos, readable } from "./gallery.js";
import { explain } from "./search.js";
import { allOf, t } from "./text.js";
import { MOST, choose } from "./tray.js";
import { compareAddress, showSection } from "./views.js";
import { openWhy } from "./why.js";

/** Draw the comparison of some photos, by their ids. */
export async function showCompare(asked, signal, focus) {
  const ids = asked.slice(0, MOST);
  showSection("compare");
  draw(ids, []);
  $("compare-title").textContent = t("compare.photos");
  entitle(t("compare.photos"));
  if (focus) $("compare-title").focus({ preventScroll: true });
  $("compare-summary").textContent = t("looking");
  const found = await Promise.all(ids.map((id) => factsOf(id, signal)));
  await gallery.loaded;
  if (signal.aborted) return;
  const known = found.filter(({ problem }) => !problem);
  const gone = found.filter(({ problem }) => problem);
  draw(ids, known);
  choose(known.map(({ id }) => id));
  const missing = gone.map(({ problem }) =>
    problem.status === 404 ? t("compare.gone") : problem.message,
  );
  const few = known.length < 2 ? t("compare.few") : "";
  $("compare-summary").textContent = [...missing, few].filter(Boolean).join(" ");
  $("compare-few").hidden = known.length > 1;
  announce(`${$("compare-title").textContent}. ${$("compare-summary").textContent}`);
}

async function factsOf(id, signal) {
  try {
    const photo = await ask(`api/v1/photos/${encodeURIComponent(id)}`, { signal });
    photos.set(id, { ...photos.get(id), ...photo });
    return photo;
  } catch (problem) {
    return { id, problem };
  }
}

function draw(ids, known) {
  $("compare-table").hidden = known.length === 0;
  if (!known.length) return;
  const title = t("compare.some", { count: known.length });
  $("compare-title").textContent = title;
  entitle(title);
  $("compare-heads").replaceChildren(element("td", ""), ...known.map((photo, at) => head(photo, at, known)));
  const columns = columnsOf(...known);
  const valueOf = (name) => (photo) => photo.attributes[name];
  const isKnown = ({ name, safety }) => safety || known.some((photo) => valueOf(name)(photo) !== undefined);
  const rows = [
    [t("detail.label"), ({ label }) => readable(label) ?? undefined],
    ...columns.filter(isKnown).map(({ name }) => [heading(name), valueOf(name)]),
    [t("detail.size"), ({ width, height }) => pixels(width, height)],
  ];
  $("compare-rows").replaceChildren(...rows.map(([name, value]) => row(name, known.map(value))));
}

function row(name, values) {
  const [made, head] = ["tr", "th"].map((tag) => document.createElement(tag));
  const differ = new Set(values.map(inWords)).size > 1;
  head.scope = "row";
  head.textContent = name;
  made.append(
    head,
    ...values.map((value) => {
      const [cell, part] = ["td", differ ? "strong" : "span"].map((tag) => document.createElement(tag));
      part.append(shown(value));
      cell.append(part);
      return cell;
    }),
  );
  return made;
}

/** A photo above its column, with what can be done. */
function head(photo, at, known) {
  const cell = $("compare-head").content.cloneNode(true).firstElementChild;
  const [look, less, why] = cell.children;
  leadTo(look, photo);
  look.querySelector("img").src = `thumbnails/${photo.id}`;
  look.querySelector(".name").textContent = nameOf(photo);
  less.href = compareAddress(known.filter((one) => one !== photo).map(({ id }) => id));
  less.lastElementChild.textContent = ` ${nameOf(photo)}`;
  why.hidden = at === 0;
  why.lastElementChild.textContent = ` ${allOf([nameOf(known[0]), nameOf(photo)])}`;
  why.addEventListener("click", () => {
    const side = (one) => ({ name: nameOf(one), url: `thumbnails/${one.id}` });
    openWhy({ query: side(known[0]), hit: side(photo) }, (signal) => explain({ id: known[0].id }, photo.id, signal));
  });
  return cell;
}
