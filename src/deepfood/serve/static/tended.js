// A photo in a list of what may be wrong: its picture, why it is in the list, and what can be done about it.

import { problemOf } from "./ask.js";
import { changePhoto, readPhoto } from "./changes.js";
import { leadTo } from "./detail.js";
import { $, announce, element, tell } from "./dom.js";
import { changed, nameOf, photos, readable } from "./gallery.js";
import { keep } from "./reviewed.js";
import { askAgain } from "./key-form.js";
import { parts, t } from "./text.js";

/** A label among the pieces of a sentence. */
export const strong = (label) => Object.assign(element("strong", readable(label)), { dir: "auto" });

/** The item of a `photo`, which `key` names in what was reviewed.
 *
 *  `offer(tools)` answers {why, does}: the pieces of a sentence, and the elements that do something. Its tools
 *  make these: button(text, act, kind), leave(text, done), relabel(to). */
export function tended(photo, key, offer) {
  const { id, label } = photo;
  const made = $("tended").content.cloneNode(true).firstElementChild;
  const [link, about] = made.children;
  const [why, fault, actions] = about.children;
  const name = nameOf(photo);
  const tools = { button, leave, relabel: (to) => change(label, to) };
  photos.set(id, { ...photos.get(id), ...photo });
  leadTo(link, photo);
  link.querySelector("img").src = `thumbnails/${id}`;
  link.querySelector(".name").textContent = name;
  draw();
  return made;

  function draw(focus = false) {
    const { why: pieces, does } = offer(tools);
    why.replaceChildren(...pieces);
    const alike = element("a", t("doubtful.alike"));
    Object.assign(alike, { className: "button quiet small more-like", href: `?id=${id}` });
    alike.dataset.id = id;
    actions.replaceChildren(...does, alike);
    if (focus) actions.querySelector("button, input").focus();
  }

  function button(text, act, kind = "quiet") {
    const one = element("button", text);
    Object.assign(one, { type: "button", className: "button small" });
    if (kind) one.classList.add(kind);
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

  /** A button that finds the photo right, and leaves it out of the list from now on. */
  function leave(text, said) {
    return button(text, () => {
      keep(key);
      done(said, () => {
        keep(key, false);
        draw(true);
      });
    });
  }

  /** Change the label, if it still is the one that is shown. */
  async function change(from, to) {
    fault.hidden = true;
    for (const one of actions.querySelectorAll("button")) one.disabled = true;
    try {
      const { photo: now, etag } = await readPhoto(id);
      if (now.label !== from) throw problemOf(parts("doubtful.changed", { label: readable(now.label ?? "") || t("none") }));
      photos.set(id, await changePhoto(id, etag, { label: to }));
      changed();
      const said = to === null ? t("to-label.undone") : t("doubtful.is-now", { label: readable(to) });
      if (to === label) {
        draw(true);
        announce(said);
      } else {
        done(said, () => change(to, from));
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
