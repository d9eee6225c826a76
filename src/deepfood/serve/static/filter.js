// The filter language (docs/filters.md), as far as the page writes and reads it.
//
// A filter is a list of conditions that all must hold. Those that the facets can set are read into
// {name, is, …}; any other stays as it is written. The server judges a filter, not the page.

const TOKEN = /\s*("(?:[^"\\]|\\[^])*"|'(?:[^'\\]|\\[^])*'|<=|>=|!=|[<>=(),]|[^\s"'<>=!(),]+)/y;
const NAME = /^[\p{L}_][\p{L}\p{N}_]*$/u;
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

export const quoted = (text) => `"${text.replace(/["\\]/g, "\\$&")}"`;

/** The tokens of a filter as {text, start, end}; what comes after a mistake is left out. */
export function tokensOf(where) {
  const found = [];
  TOKEN.lastIndex = 0;
  for (let one = TOKEN.exec(where); one; one = TOKEN.exec(where)) {
    found.push({ text: one[1], start: TOKEN.lastIndex - one[1].length, end: TOKEN.lastIndex });
  }
  return found;
}

/** The conditions of a filter, as text; one that is not understood is a single condition. */
export function conditionsOf(where) {
  if (!where.trim()) return [];
  const parts = [];
  let [depth, from] = [0, 0];
  for (const { text, start, end } of tokensOf(where)) {
    const word = text.toLowerCase();
    if (word === "(") depth++;
    if (word === ")") depth--;
    if (depth === 0 && word === "or") return [where.trim()];
    if (depth === 0 && word === "and") {
      parts.push(where.slice(from, start).trim());
      from = end;
    }
  }
  return [...parts, where.slice(from).trim()];
}

/** A filter of conditions. */
export function joined(conditions) {
  const bind = (text) => (conditions.length > 1 && hasOr(text) ? `(${text})` : text);
  return conditions.map(bind).join(" AND ");
}

function hasOr(text) {
  let depth = 0;
  return tokensOf(text).some(({ text: one }) => {
    depth += (one === "(") - (one === ")");
    return depth === 0 && one.toLowerCase() === "or";
  });
}

/** What a condition asks for: {name, is: "among", values}, {name, is: "has" or "without", value},
 *  {name, is: ">=" or "<=", value}; null for any other. */
export function readCondition(text) {
  const [first, ...rest] = tokensOf(text).map((one) => one.text);
  if (first?.toLowerCase() === "not") {
    const bare = rest[0] === "(" && rest.at(-1) === ")" ? rest.slice(1, -1) : rest;
    const inside = read(bare);
    return inside?.is === "has" ? { ...inside, is: "without" } : null;
  }
  return read([first, ...rest]);
}

function read([name, operator, ...rest]) {
  if (!name || !operator || !NAME.test(name)) return null;
  const said = { name: name.normalize("NFC").toLowerCase(), is: operator.toLowerCase() };
  const [value, ...more] = rest;
  if (said.is === "in" && value === "(" && rest.at(-1) === ")") {
    const values = more.slice(0, -1).filter((one) => one !== ",").map(constant);
    return values.includes(null) ? null : { ...said, is: "among", values };
  }
  if (more.length || value === undefined) return null;
  const known = constant(value);
  if (said.is === "=" && known !== null) return { ...said, is: "among", values: [known] };
  if (said.is === "has" && typeof known === "string") return { ...said, value: known };
  if ([">=", "<="].includes(said.is) && NUMBER.test(value)) return { ...said, value: Number(value) };
  return null;
}

/** A text, true or false; null for what is none. */
function constant(token) {
  if (/^["']/.test(token)) return token.slice(1, -1).replace(/\\([^])/g, "$1");
  return { true: true, false: false }[token.toLowerCase()] ?? null;
}

/** A condition in the language. */
export function writeCondition({ name, is, value, values }) {
  const constants = values?.map((one) => (typeof one === "string" ? quoted(one) : String(one)));
  if (is === "among") {
    return constants.length === 1 ? `${name} = ${constants[0]}` : `${name} IN (${constants.join(", ")})`;
  }
  if (is === "has") return `${name} HAS ${quoted(value)}`;
  if (is === "without") return `NOT ${name} HAS ${quoted(value)}`;
  return `${name} ${is} ${value}`;
}

/** Text is the same in any case, and with other blanks. */
export const same = (a, b) => folded(a) === folded(b);
const folded = (one) =>
  typeof one === "string" ? one.normalize("NFC").trim().replace(/\s+/g, " ").toLowerCase() : one;
