// What the page says, in the visitor's language: the server puts the strings into the page.

export const language = document.documentElement.lang;

const strings = JSON.parse(document.getElementById("strings").textContent);
const plurals = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 20 });

export const number = (value) => numbers.format(value);

/** The string of a key, with `values` in place of {names}; of a string that counts, the form for `count`. */
export function t(key, values = {}) {
  return parts(key, values).join("");
}

/** As t(), in pieces, so that elements may be among the values: for append() and replaceChildren(). */
export function parts(key, values = {}) {
  const forms = strings[key];
  if (forms === undefined) throw new Error(`no string ${key}`);
  const text = typeof forms === "string" ? forms : (forms[plurals.select(values.count)] ?? forms.other);
  return text.split(/(\{\w+\})/).filter(Boolean).map((part) => {
    const name = /^\{(\w+)\}$/.exec(part)?.[1];
    if (!name) return part;
    return typeof values[name] === "number" ? number(values[name]) : values[name];
  });
}
