// Near-duplicates: groups of photos that are nearly the same picture, of which some may go.

import { remove } from "./deleting.js";
import { leadTo } from "./detail.js";
import { $ } from "./dom.js";
import { pixels } from "./facts.js";
import { labelOf, nameOf, photos, readable } from "./gallery.js";
import { isGone, onGone } from "./gone.js";
import { dismiss } from "./reviewed.js";
import { allOf, percent, t } from "./text.js";
import { MOST } from "./tray.js";
import { compareAddress } from "./views.js";

const keyOf = ({ photos: some }) => JSON.stringify(some.map(({ id }) => id).sort());

/** The list, for curated.js. */
export const near = {
  address: "api/v1/duplicates",
  entries: (page) => page.groups,
  key: keyOf,
  item,
  said: (count) => t("near.count", { count }),
  none: () => t("near.none"),
};

let groups = []; // {made, draw()}: those that were on the page when a photo last went

function item(group) {
  const made = $("near-group").content.cloneNode(true).firstElementChild;
  const [said, list, actions] = made.children;
  const [compare, leave] = actions.children;
  const copies = group.photos.map((photo, at) => copy(photo, at, () => nextTo(photo)));
  list.append(...copies);
  compare.href = compareAddress(group.photos.slice(0, MOST).map(({ id }) => id));
  leave.addEventListener("click", () => dismiss(made, keyOf(group), t("near.kept")));
  groups.push({ made, draw });
  draw();
  return made;

  /** What there is of the group; of one photo alone there is nothing to delete. */
  function draw() {
    const left = group.photos.filter(({ id }) => !isGone(id));
    const labels = [...new Set(left.map(({ label }) => label).filter(Boolean))].map(readable);
    const differ = left.length > 1 && group.different_labels && labels.length > 1;
    said.textContent = differ
      ? t("near.labels", { count: left.length, labels: allOf(labels) })
      : t("near.photos", { count: left.length });
    for (const one of copies) one.querySelector("button").hidden = left.length < 2;
    actions.hidden = left.length < 2;
  }

  function nextTo(photo) {
    const others = copies.filter((one) => one.checkVisibility() && one.dataset.photo !== photo.id);
    return others.length > 1 ? others[0].querySelector("button") : (others[0]?.querySelector("a") ?? null);
  }
}

/** A photo of a group; the first is the largest. */
function copy(photo, at, next) {
  const made = $("near-copy").content.cloneNode(true).firstElementChild;
  const [link, about, likeness, button] = made.children;
  photos.set(photo.id, { ...photos.get(photo.id), ...photo });
  made.dataset.photo = photo.id;
  leadTo(link, photo);
  link.querySelector("img").src = `thumbnails/${photo.id}`;
  link.querySelector(".name").textContent = nameOf(photo);
  about.textContent = [labelOf(photo), pixels(photo.width, photo.height)].filter(Boolean).join(" · ");
  likeness.textContent = at ? t("near.alike", { percent: percent(photo.score) }) : t("near.largest");
  button.lastElementChild.textContent = ` ${nameOf(photo)}`;
  button.addEventListener("click", () => remove(photo, next));
  return made;
}

onGone(() => {
  groups = groups.filter(({ made }) => made.isConnected);
  groups.forEach(({ draw }) => draw());
});
