// Edit a photo in the detail view: label, name and attributes. Only what differs is sent, and only if nobody
// has changed the photo since; else the visitor sees what was changed, and chooses.

import { problemOf } from "./ask.js";
import { changePhoto, readPhoto } from "./changes.js";
import { combobox } from "./combobox.js";
import { $, element, tell } from "./dom.js";
import { columnsOf } from "./facts.js";
import { fieldOf, isSame, said } from "./fields.js";
import { changed, photos } from "./gallery.js";
import { forgetKey } from "./key.js";
import { labelsLike } from "./label-field.js";
import { drawAgain } from "./look.js";
import { styled } from "./styled.js";
import { parts, t } from "./text.js";

const drafts = new Map(); // id -> what was typed and not saved, by field
const place = $("detail-editing");

/** Put the form into the detail view, which shows this photo. */
export async function edit(id) {
  try {
    const [now] = await Promise.all([readPhoto(id), styled("css/edit.css")]);
    if ($("detail").open && $("detail-edit").dataset.id === id) draw(id, now);
  } catch (problem) {
    tell($("detail-hint"), problem);
    $("detail-hint").hidden = false;
  }
}

function valuesOf({ photo }) {
  const { label, name, attributes } = photo;
  return { name: name ?? undefined, label: label ?? undefined, ...attributes };
}

function draw(id, now) {
  let base = now; // what the form began with, or was last told of
  const own = [
    { name: "name", type: "line", says: t("edit.name") },
    { name: "label", type: "line", says: t("edit.label") },
  ];
  const columns = columnsOf(now.photo).map((column) => ({ type: "text", ...column }));
  const fields = [...own, ...columns].map(fieldOf);
  const form = $("edit-form").content.cloneNode(true).firstElementChild;
  const [told, save] = [form.querySelector(".told"), form.querySelector("[type=submit]")];
  const suggestions = suggestLabels(fields[1]);
  const values = valuesOf(base);
  for (const field of fields) field.write(values[field.name]);
  for (const [name, write] of drafts.get(id) ?? []) fields.find((one) => one.name === name)?.write(write);
  const safety = new Set(columns.filter((one) => one.safety).map(({ name }) => name));
  form.querySelector(".plain").append(...fields.filter(({ name }) => !safety.has(name)).map((one) => one.element));
  form.querySelector(".safety").append(...fields.filter(({ name }) => safety.has(name)).map((one) => one.element));
  form.querySelector(".safety").hidden = !safety.size;
  form.addEventListener("input", () => drafts.set(id, readAll()));
  form.querySelector(".cancel").addEventListener("click", () => {
    drafts.delete(id);
    end();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (suggestions.choose()) return;
    suggestions.close();
    send();
  });
  place.replaceChildren(form);
  $("detail").classList.add("editing");
  fields[0].input.focus();

  function readAll() {
    const typed = [];
    for (const { name, read } of fields) {
      try {
        typed.push([name, read()]);
      } catch {
        // It is kept when it can be read.
      }
    }
    return typed;
  }

  function say(problem) {
    told.hidden = !problem;
    if (problem) tell(told, problem);
  }

  /** What differs from what the form began with; null where something cannot be read. */
  function change() {
    const before = valuesOf(base);
    const differing = { attributes: {} };
    let wrong = null;
    for (const { name, read, fault, input } of fields) {
      fault(null);
      try {
        const value = read();
        if (isSame(value, before[name])) continue;
        if (name === "name" || name === "label") differing[name] = value ?? null;
        else differing.attributes[name] = value ?? null;
      } catch (problem) {
        fault(problem);
        wrong ??= input;
      }
    }
    wrong?.focus();
    if (!Object.keys(differing.attributes).length) delete differing.attributes;
    return wrong ? null : differing;
  }

  async function send() {
    const differing = change();
    if (!differing) return;
    if (!Object.keys(differing).length) return end();
    say(null);
    save.disabled = true;
    try {
      const photo = await changePhoto(id, base.etag, differing);
      drafts.delete(id);
      photos.set(id, photo);
      changed();
      if (form.isConnected) end(t("edit.saved"));
    } catch (problem) {
      await refused(problem);
    } finally {
      save.disabled = false;
    }
  }

  async function refused(problem) {
    if (problem.status === 412) return merge();
    if (problem.status === 401) {
      forgetKey();
      return say(problemOf(parts("edit.no-key")));
    }
    const at = fields.find(({ name }) => name === problem.field || problem.detail?.startsWith(`${name}: `));
    if (at && problem.status === 422) {
      at.fault(problem);
      at.input.focus();
    } else {
      say(problem.status === 404 ? problemOf(parts("edit.gone")) : problem);
    }
  }

  /** Somebody has changed the photo since: take over what the visitor has not touched, and show the rest. */
  async function merge() {
    try {
      const [before, fresh] = [valuesOf(base), await readPhoto(id)];
      const theirs = valuesOf(fresh);
      for (const field of fields) {
        const { name } = field;
        field.note();
        if (isSame(theirs[name], before[name])) continue;
        if (isSame(field.read(), before[name])) {
          field.write(theirs[name]);
          field.note(t("edit.taken-over"));
        } else if (!isSame(field.read(), theirs[name])) {
          const take = element("button", t("edit.take"));
          Object.assign(take, { type: "button", className: "button quiet small" });
          take.addEventListener("click", () => {
            field.write(theirs[name]);
            field.note();
            field.input.focus();
          });
          field.note(t("edit.theirs", { value: said(theirs[name]) }), " ", take);
        }
      }
      base = fresh;
      say(problemOf(parts("edit.meanwhile")));
    } catch (problem) {
      say(problem.status === 404 ? problemOf(parts("edit.gone")) : problem);
    }
  }
}

function suggestLabels({ input, element: row }) {
  const list = element("ul", "");
  Object.assign(list, { id: "edit-labels", className: "suggestions", role: "listbox", ariaLabel: t("edit.labels"), hidden: true });
  const box = element("div", "");
  box.className = "labelled";
  input.replaceWith(box);
  box.append(input, list);
  for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-expanded", "false"], ["aria-controls", list.id]]) {
    input.setAttribute(name, value);
  }
  row.classList.add("of-label");
  return combobox(input, list, () => labelsLike(input.value), ({ text }) => (input.value = text));
}

/** Show again what is known; `text` says what was done. */
function end(text = "") {
  drawAgain();
  $("detail-status").textContent = text;
  $("detail-name").focus();
}
