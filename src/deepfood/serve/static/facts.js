// What is known of a photo, in plain words: for the detail view and for comparing.

import { element } from "./dom.js";
import { gallery, readable } from "./gallery.js";
import { listed, number, t } from "./text.js";

/** The attributes of some photos, the gallery's first: [{name, safety}]. */
export function columnsOf(...photos) {
  const others = photos.flatMap(({ attributes = {} }) => Object.keys(attributes));
  const known = new Set(gallery.columns.map(({ name }) => name));
  const more = [...new Set(others)].filter((name) => !known.has(name));
  return [...gallery.columns, ...more.map((name) => ({ name, safety: false }))];
}

const OF_EACH_GALLERY = { also: t("detail.also"), label: t("detail.label") };

/** What an attribute is called. */
export const heading = (name) => OF_EACH_GALLERY[name] ?? readable(name);

/** A value in words; undefined is unknown, and an empty list is none. */
export function inWords(value) {
  if (value === undefined || value === null) return t("unknown");
  if (typeof value === "boolean") return value ? t("yes") : t("no");
  if (typeof value === "number") return number(value);
  return Array.isArray(value) ? listed(value) || t("none") : value;
}

export const pixels = (width, height) => t("pixels", { width: String(width), height: String(height) });

/** A value as a part of the page: an address is a link. */
export function shown(value) {
  const url = addressIn(value);
  const made = element(url ? "a" : "span", url ? url.host + url.pathname.replace(/\/$/, "") : inWords(value));
  made.dir = "auto";
  if (url) Object.assign(made, { href: url.href, target: "_blank", rel: "noopener noreferrer" });
  if (value === undefined) made.className = "unknown";
  return made;
}

function addressIn(value) {
  if (typeof value !== "string" || !/^https?:\/\/\S+$/i.test(value)) return null;
  try {
    return new URL(value);
  } catch {
    return null;
  }
}

/** Rows of a <dl>: [heading, value], values as `shown` takes them. */
export function drawList(list, rows) {
  list.replaceChildren(
    ...rows.map(([text, value]) => {
      const [row, term, what] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = text;
      what.append(shown(value));
      row.append(term, what);
      return row;
    }),
  );
  list.hidden = rows.length === 0;
}
