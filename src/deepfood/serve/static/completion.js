// What may come next in a filter: columns, operators, values. docs/filters.md has the language.

import { ask } from "./ask.js";
import { everyFacet } from "./facets.js";
import { quoted, tokensOf } from "./filter.js";
import { gallery } from "./gallery.js";
import { t } from "./text.js";

const MOST = 8;
const TEXTS = ["label", "name", "file"]; // columns of every gallery
const OPERATORS = {
  text: ["=", "!=", "IN (", "IS KNOWN", "IS UNKNOWN"],
  number: ["<=", ">=", "<", ">", "=", "IS KNOWN", "IS UNKNOWN"],
  boolean: ["= true", "= false", "IS KNOWN", "IS UNKNOWN"],
  list: ["HAS", "IS KNOWN", "IS UNKNOWN"],
};
const LINKS = ["AND", "OR"];
const TYPES = {
  text: t("completion.text"),
  number: t("completion.number"),
  boolean: t("completion.boolean"),
  list: t("completion.list"),
};

const columns = () => [...TEXTS.map((name) => ({ name, type: "text" })), ...gallery.columns];
const columnOf = (token) => columns().find(({ name }) => name === token?.normalize("NFC").toLowerCase());

/** {begun, from, options}: the token before the place `at`, where it starts, and what it may become, as
 *  [{text, about}]. */
export async function completionsOf(where, at) {
  const before = tokensOf(where.slice(0, at));
  const last = before.at(-1);
  const isOpen = last && last.end === at && !/^[(),<>=!]|^(["']).*\1$/s.test(last.text);
  const from = isOpen ? last.start : at;
  const rest = where.slice(from, at);
  const begun = rest.startsWith('"') || rest.startsWith("'") ? rest.slice(1) : rest;
  const done = (isOpen ? before.slice(0, -1) : before).map(({ text }) => text);
  const some = (await expected(done, begun)).filter(({ text }) => fits(text, begun));
  return { begun, from, options: some.slice(0, MOST) };
}

const fits = (text, begun) => text.replace(/^"/, "").toLowerCase().startsWith(begun.toLowerCase());

async function expected(done, begun) {
  const said = (at) => done.at(at)?.toLowerCase();
  const inList = done.findLastIndex((one) => one === "(");
  const column = columnOf(done.at(-1));
  const isName = column && !["=", "!=", "<", "<=", ">", ">=", "has"].includes(said(-2));
  if (!done.length || ["and", "or", "not"].includes(said(-1)) || (said(-1) === "(" && said(-2) !== "in")) {
    return [
      ...columns().map(({ name, type, safety }) => ({
        text: name,
        about: safety ? t("completion.safety", { type: TYPES[type] }) : TYPES[type],
      })),
      ...(said(-1) === "not" ? [] : [{ text: "NOT", about: t("completion.not") }]),
    ];
  }
  if (isName) return OPERATORS[column.type].map((text) => ({ text, about: "" }));
  if (said(-1) === "is") return ["KNOWN", "UNKNOWN"].map((text) => ({ text, about: "" }));
  if (["=", "!=", "has"].includes(said(-1))) return valuesOf(columnOf(done.at(-2)), begun);
  if ([",", "("].includes(said(-1))) return valuesOf(columnOf(done[inList - 2]), begun);
  if (["<", "<=", ">", ">="].includes(said(-1))) return endsOf(columnOf(done.at(-2)));
  return LINKS.map((text) => ({ text, about: "" }));
}

/** Values with counts, of all photos: those that the page knows, and of others those that begin so. */
async function valuesOf(column, begun) {
  if (!column || column.type === "number") return endsOf(column);
  if (column.type === "boolean") return [true, false].map((one) => ({ text: String(one), about: "" }));
  const facet = (await everyFacet()).facets.find(({ name }) => name === column.name);
  const known = (facet?.values ?? []).filter(({ value }) => fits(value, begun));
  if (known.length || !begun) return known.map(({ value, count }) => asValue(value, count));
  const found = await ask(`api/v1/suggest?${new URLSearchParams({ q: begun, limit: 50 })}`);
  return found.filter(({ field }) => field === column.name).map(({ text, count }) => asValue(text, count));
}

const asValue = (text, count) => ({ text: quoted(text), about: t("photos", { count }) });

async function endsOf(column) {
  const bins = (await everyFacet()).facets.find(({ name }) => name === column?.name)?.bins ?? [];
  if (!bins.length) return [];
  return [
    { text: String(bins[0].low), about: t("completion.least") },
    { text: String(bins.at(-1).high), about: t("completion.most") },
  ];
}
