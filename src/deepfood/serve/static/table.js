// Photos as a table for programs and spreadsheets: CSV (RFC 4180) or JSON.

const BOM = "\ufeff"; // without it, spreadsheets take the text for another encoding
const FORMULA = /^[=+\-@\t\r]/; // what spreadsheets compute, whoever wrote it

/** A CSV of rows of values: text, numbers, true, false, lists; undefined and null are empty cells. */
export const csvOf = (heads, rows) => BOM + [heads, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");

function cell(value) {
  const text = textOf(value);
  const harmless = typeof value !== "number" && FORMULA.test(text) ? `'${text}` : text;
  return /[",;\r\n]|^\s|\s$/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}

/** A value as `deepfood attributes` reads it from a table: an empty list is "none", and not unknown. */
function textOf(value) {
  if (value === undefined || value === null) return "";
  if (!Array.isArray(value)) return String(value);
  const isPlain = value.length > 0 && !value.some((item) => /[;,|]|^\[/.test(item));
  return isPlain ? value.join("; ") : JSON.stringify(value);
}

/** Photos as {heads, rows}: columns that `pick` names, each photo's attributes, and links. */
export function tableOf(photos, pick, attributes) {
  const before = Object.keys(pick);
  const after = ["link", "original"];
  const taken = new Set([...before, ...after]);
  const own = attributes.map((name) => (taken.has(name) ? `${name}_attribute` : name));
  const rows = photos.map((photo, place) => [
    ...before.map((name) => pick[name](photo, place)),
    ...attributes.map((name) => photo.attributes?.[name]),
    ...Object.values(linksTo(photo)),
  ]);
  return { heads: [...before, ...own, ...after], rows };
}

/** Where a photo is: in this page, and the file itself. */
export const linksTo = ({ id }) => ({
  link: new URL(`./?photo=${encodeURIComponent(id)}`, location.href).href,
  original: new URL(`photos/${encodeURIComponent(id)}`, location.href).href,
});
