// What the page says, in the visitor's language: the server puts the strings into the page.

const { lang: language, dir } = document.documentElement;
const strings = JSON.parse(document.getElementById("strings").textContent);
const plurals = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 20 });
const percents = new Intl.NumberFormat(language, { style: "percent" });
const either = new Intl.ListFormat(language, { type: "disjunction" });
const all = new Intl.ListFormat(language, { type: "conjunction" });

export const number = (value) => numbers.format(value);
/** A share in percent; less than none is none. */
export const percent = (share) => percents.format(Math.max(0, share));
export const oneOf = (texts) => either.format(texts);
export const allOf = (texts) => all.format(texts);
/** Texts one after the other, where they are values rather than words of a sentence. */
export const listed = (texts) => texts.map(alone).join(t("comma"));

/** The string of a key, with `values` in place of {names}; of a string that counts, the form for `count`. */
export function t(key, values = {}) {
  return textOf(parts(key, values));
}

/** As t(), in pieces, so that elements may be among the values: for append() and replaceChildren(). */
export function parts(key, values = {}) {
  const forms = strings[key];
  if (forms === undefined) throw new Error(`no string ${key}`);
  const text = typeof forms === "string" ? forms : (forms[plurals.select(values.count)] ?? forms.other);
  return text.split(/(\{\w+\})/).filter(Boolean).flatMap((part) => {
    const name = /^\{(\w+)\}$/.exec(part)?.[1];
    return name ? inside(values[name]) : part;
  });
}

function inside(value) {
  if (typeof value === "number") return number(value);
  return typeof value === "string" ? alone(value) : value;
}

/** A text beside others. Where lines run from right to left, Unicode's isolates keep one that runs the
 *  other way from tearing its neighbours along. */
export const alone = (text) => (dir === "rtl" ? `\u2068${text}\u2069` : text);

/** The text of pieces. */
export const textOf = (pieces) => pieces.map((one) => one.textContent ?? one).join("");

/** What the server says, which is always in English. */
export function inEnglish(text) {
  const made = document.createElement("bdi");
  Object.assign(made, { lang: "en", dir: "ltr", textContent: text });
  return made;
}
