// Labels that may be wrong: each photo with why, and what can be done about it in its place.

import { problemOf } from "./ask.js";
import { changePhoto, readPhoto } from "./changes.js";
import { leadTo } from "./detail.js";
import { $, announce, element, tell } from "./dom.js";
import { changed, nameOf, photos, readable } from "./gallery.js";
import { keep } from "./reviewed.js";
import { askAgain } from "./key-form.js";
import { parts, t } from "./text.js";

const keyOf = ({ id, label, suggested }) => JSON.stringify([id, label, suggested]);

/** The list, for curated.js. */
export const doubtful = {
  address: "api/v1/labels/doubtful",
  entries: (page) => page.photos,
  key: keyOf,
  item,
  said: (count) => t("doubtful.count", { count }),
  none: () => t("doubtful.none"),
};

const strong = (text) => Object.assign(element("strong", readable(text)), { dir: "auto" });

function item(doubt) {
  const { id, label, suggested, agreeing, voters } = doubt;
  const made = $("doubt").content.cloneNode(true).firstElementChild;
  const [link, about] = made.children;
  const [why, fault, actions] = about.children;
  const name = nameOf(doubt);
  photos.set(id, { ...photos.get(id), ...doubt });
  leadTo(link, doubt);
  link.querySelector("img").src = `thumbnails/${id}`;
  link.querySelector(".name").textContent = name;
  offer();
  return made;

  function offer() {
    const values = { label: strong(label), suggested: strong(suggested), agreeing, count: voters };
    why.replaceChildren(...parts("doubtful.why", values));
    const alike = element("a", t("doubtful.alike"));
    Object.assign(alike, { className: "button quiet small more-like", href: `?id=${id}` });
    alike.dataset.id = id;
    actions.replaceChildren(
      button(t("doubtful.set", { label: readable(suggested) }), () => change(label, suggested), ""),
      button(t("doubtful.keep", { label: readable(label) }), leave),
      alike,
    );
  }

  function button(text, act, kind = "quiet") {
    const one = element("button", text);
    Object.assign(one, { type: "button", className: `button ${kind} small` });
    one.append(Object.assign(element("span", ` ${name}`), { className: "unseen" }));
    one.addEventListener("click", act);
    return one;
  }

  /** Say what was done, and how to undo it. */
  function done(text, undo) {
    why.textContent = text;
    actions.replaceChildren(button(t("deleting.undo"), undo));
    actions.firstElementChild.focus();
    announce(text);
  }

  function leave() {
    keep(keyOf(doubt));
    done(t("doubtful.kept", { label: readable(label) }), () => {
      keep(keyOf(doubt), false);
      offer();
      actions.firstElementChild.focus();
    });
  }

  /** Change the label, if it still is the one that is shown. */
  async function change(from, to) {
    fault.hidden = true;
    for (const one of actions.querySelectorAll("button")) one.disabled = true;
    try {
      const { photo, etag } = await readPhoto(id);
      if (photo.label !== from) throw problemOf(parts("doubtful.changed", { label: readable(photo.label ?? "") || t("none") }));
      photos.set(id, await changePhoto(id, etag, { label: to }));
      changed();
      if (to === label) {
        offer();
        actions.firstElementChild.focus();
        announce(t("doubtful.is-now", { label: readable(to) }));
      } else {
        done(t("doubtful.is-now", { label: readable(to) }), () => change(to, from));
      }
    } catch (problem) {
      if (problem.status === 401) return askAgain();
      tell(fault, problem);
      fault.hidden = false;
    } finally {
      for (const one of actions.querySelectorAll("button")) one.disabled = false;
    }
  }
}
