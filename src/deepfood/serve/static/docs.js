// The API page: real addresses in the examples, and the operations that openapi.json describes.

import { $ } from "./dom.js";

async function getJson(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: the server answered ${answer.status}`);
  return answer.json();
}

/** Put this server's address, and a photo that it has, into the examples. */
async function fillExamples() {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  replaceInExamples("ORIGIN", base);
  const [photo] = await getJson("api/v1/samples?k=1&seed=1");
  if (!photo) return;
  replaceInExamples("PHOTO_ID", photo.id);
  const answer = {
    hits: [{ ...photo, score: 0.91, probability: 0.83, alike: [] }],
    verdict: "match",
    in_gallery: 0.9,
    label: { label: photo.label ?? "curry", probability: 0.85 },
    next: "…",
    notes: [],
  };
  $("example").textContent = JSON.stringify(answer, null, 2);
}

function replaceInExamples(word, value) {
  for (const code of document.querySelectorAll("code")) {
    code.textContent = code.textContent.replaceAll(word, value);
  }
}

async function listOperations() {
  const api = await getJson("openapi.json");
  for (const [path, verbs] of Object.entries(api.paths)) {
    for (const [verb, operation] of Object.entries(verbs)) {
      $("list").append(drawOperation(api, verb, path, operation));
    }
  }
}

function drawOperation(api, verb, path, operation) {
  const item = $("operation").content.cloneNode(true).firstElementChild;
  item.querySelector(".verb").textContent = verb.toUpperCase();
  item.querySelector(".path").textContent = path;
  item.querySelector(".says").append(...marked(operation.description ?? operation.summary));
  const inside = item.querySelector("div");

  const parameters = (operation.parameters ?? []).map((one) => [
    one.name,
    `${describe(api, one.schema)}, in the ${one.in}${one.required ? "" : ", optional"}`,
  ]);
  addList(inside, "Parameters", parameters);

  for (const [kind, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    addList(inside, `Body, ${kind}`, fields(api, schema));
  }

  const answers = Object.entries(operation.responses).map(([status, { description, content }]) => {
    const [media] = Object.values(content ?? {});
    return [status, media?.schema ? `${description}: ${describe(api, media.schema)}` : description];
  });
  addList(inside, "Answers", answers);
  return item;
}

/** Text, with what stands between backticks as code. */
function marked(text) {
  return text.split("`").map((part, i) => {
    if (i % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}

function addList(parent, title, rows) {
  if (!rows.length) return;
  const heading = document.createElement("h3");
  heading.textContent = title;
  const list = document.createElement("dl");
  for (const [term, text] of rows) {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = term;
    dd.append(...marked(text));
    list.append(dt, dd);
  }
  parent.append(heading, list);
}

/** The fields of an object's schema: [name, what it is]. */
function fields(api, schema) {
  const { properties = {}, required = [] } = follow(api, schema);
  return Object.entries(properties).map(([name, field]) => {
    const notes = [describe(api, field)];
    if (field.default !== undefined) notes.push(`${field.default} if not given`);
    else if (!required.includes(name)) notes.push("optional");
    return [name, notes.join(", ")];
  });
}

/** A schema in a few words: "integer", "list of PhotoOut {id, label}". */
function describe(api, schema) {
  const whole = follow(api, schema);
  const choices = whole.anyOf?.filter((one) => one.type !== "null");
  if (choices) return choices.map((one) => describe(api, one)).join(" or ");
  if (whole.prefixItems) return `list of ${whole.prefixItems.length}`;
  if (whole.type === "array") return `list of ${describe(api, whole.items)}`;
  if (whole.properties) return `{${Object.keys(whole.properties).join(", ")}}`;
  const limits = [whole.minimum ?? "", whole.maximum ?? ""];
  const range = limits.some((limit) => limit !== "") ? ` from ${limits.join(" to ")}` : "";
  const type = whole.format === "binary" ? "a file" : (whole.type ?? "anything");
  return whole.description ? `${type} (${whole.description})` : `${type}${range}`;
}

function follow(api, schema) {
  const name = schema.$ref?.split("/").at(-1);
  return name ? api.components.schemas[name] : schema;
}

function complain(error) {
  $("notice").textContent = `The list cannot be shown just now (${error.message}).`;
  $("notice").hidden = false;
}

fillExamples().catch(complain);
listOperations().catch(complain);
