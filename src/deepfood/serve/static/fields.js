// Fields of a form for what is known of a photo: one a column, by its type. A value is undefined where it is
// not known; an empty list is none.

import { problemOf } from "./ask.js";
import { element, tell } from "./dom.js";
import { heading, inWords } from "./facts.js";
import { parts, t } from "./text.js";

const LONG = 60; // characters that want more than one line

let made = 0;

const KINDS = {
  line: lineField,
  text: textField,
  number: numberField,
  boolean: booleanField,
  list: listField,
};

/** The field of a column, called as it `says`: {name, input, element, read(), write(value), fault(problem),
 *  note(...pieces)}. `read` throws an Error that says what is wrong with what is typed. */
export function fieldOf({ name, type, says = heading(name) }) {
  const row = element("div", "");
  row.className = "field";
  const label = element("label", says);
  const [fault, note] = [element("p", ""), element("p", "")];
  fault.className = "fault";
  note.className = "hint";
  fault.id = `field-${++made}`;
  fault.hidden = note.hidden = true;
  fault.setAttribute("role", "alert");
  const { inputs, input, read, write } = KINDS[type](says);
  input.id = `${fault.id}-input`;
  label.htmlFor = input.id;
  input.setAttribute("aria-describedby", fault.id);
  row.append(label, ...inputs, fault, note);
  return {
    name,
    input,
    element: row,
    read,
    write,
    fault(problem) {
      fault.hidden = !problem;
      if (problem) tell(fault, problem);
      input.toggleAttribute("aria-invalid", Boolean(problem));
    },
    note(...said) {
      note.hidden = !said.length;
      note.replaceChildren(...said);
    },
  };
}

/** Whether two values say the same. */
export const isSame = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);

/** A value in words, as the visitor knows it from the detail view. */
export const said = (value) => inWords(value);

function lineField() {
  const input = element("input", "");
  Object.assign(input, { type: "text", dir: "auto", maxLength: 1000, autocomplete: "off" });
  return {
    input,
    inputs: [input],
    read: () => input.value.trim() || undefined,
    write: (value) => (input.value = value ?? ""),
  };
}

function textField() {
  const input = element("textarea", "");
  Object.assign(input, { rows: 1, dir: "auto", maxLength: 10_000, autocomplete: "off" });
  return {
    input,
    inputs: [input],
    read: () => input.value.trim() || undefined,
    write(value) {
      input.value = value ?? "";
      input.rows = input.value.length > LONG || input.value.includes("\n") ? 3 : 1;
    },
  };
}

function numberField() {
  const input = element("input", "");
  Object.assign(input, { type: "number", step: "any", inputMode: "decimal", dir: "ltr", autocomplete: "off" });
  return {
    input,
    inputs: [input],
    read() {
      if (input.validity.badInput) throw problemOf(parts("fields.number"));
      return input.value === "" ? undefined : Number(input.value);
    },
    write: (value) => (input.value = value ?? ""),
  };
}

function booleanField() {
  const input = choice([["", t("unknown")], ["true", t("yes")], ["false", t("no")]]);
  return {
    input,
    inputs: [input],
    read: () => ({ true: true, false: false })[input.value],
    write: (value) => (input.value = value === undefined ? "" : String(value)),
  };
}

/** Unknown, none, or some: each on a line of its own. */
function listField(name) {
  const input = choice([["", t("unknown")], ["none", t("none")], ["some", t("fields.some")]]);
  const lines = element("textarea", "");
  Object.assign(lines, { rows: 3, dir: "auto", autocomplete: "off" });
  lines.setAttribute("aria-label", t("fields.lines", { name }));
  const draw = () => (lines.hidden = input.value !== "some");
  input.addEventListener("change", () => {
    draw();
    if (!lines.hidden) lines.focus();
  });
  return {
    input,
    inputs: [input, lines],
    read() {
      if (input.value !== "some") return input.value === "none" ? [] : undefined;
      const some = lines.value.split("\n").map((one) => one.trim()).filter(Boolean);
      if (!some.length) throw problemOf(parts("fields.empty"));
      return some;
    },
    write(value) {
      input.value = value === undefined ? "" : value.length ? "some" : "none";
      lines.value = (value ?? []).join("\n");
      draw();
    },
  };
}

function choice(options) {
  const made_ = element("select", "");
  made_.append(...options.map(([value, text]) => new Option(text, value)));
  return made_;
}
