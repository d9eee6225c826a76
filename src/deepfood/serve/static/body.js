// A question, as the server takes it: in JSON, or as a form where there are uploads.

import { json } from "./ask.js";
import { likesIn, unlikesIn } from "./examples.js";
import { uploads } from "./uploads.js";
import { ORDERS } from "./visits.js";

/** All of a search but uploads, in JSON. */
export function questionOf({ examples, words, where, show, plate }) {
  const { url } = examples.find((one) => one.url) ?? {};
  const ids = fieldsOf(examples, "id").map(([name, some]) => [
    name,
    some.map(({ id, box }) => (box ? { id, box } : id)),
  ]);
  const said = { ...(url && { url }), ...(words && { words }), ...(where && { where }), ...(plate && { plate }) };
  return { ...Object.fromEntries(ids), ...said, group_duplicates: true, ...ORDERS[show] };
}

/** The body of a search, for `ask`; `page` is {k, cursor}. `hasPhotos`: it has uploads. */
export async function bodyOf(search, page) {
  const { examples } = search;
  const asked = { ...questionOf(search), ...page };
  if (!examples.some(({ upload }) => upload)) return json(asked);
  if (asked.url) return { ...json({ ...asked, ...(await photosIn(examples)) }), hasPhotos: true };
  const { id, not_id, ...said } = asked;
  const fields = [...fieldsOf(examples, "id"), ...fieldsOf(examples, "photo")];
  const boxes = fields.filter(([, some]) => some.some(({ box }) => box));
  const ofEach = boxes.map(([name, some]) => [name, some.map(({ box }) => box ?? null)]);
  const body = form([
    ...fields.flatMap(([name, some]) => some.map((one) => [name, one.id ?? uploads.get(one.upload)])),
    ...(boxes.length ? [["boxes", JSON.stringify(Object.fromEntries(ofEach))]] : []),
    ...Object.entries(said),
  ]);
  return { ...body, hasPhotos: true };
}

/** Which examples are in which field of a question: [name, examples]. */
function fieldsOf(examples, kind) {
  const has = kind === "id" ? ({ id }) => id : ({ upload }) => upload;
  return [
    [kind, likesIn(examples).filter(has)],
    [`not_${kind}`, unlikesIn(examples).filter(has)],
  ].filter(([, some]) => some.length);
}

/** Uploads in JSON, as data URLs: a form cannot have an address beside them. */
async function photosIn(examples) {
  const fields = fieldsOf(examples, "photo").map(async ([name, some]) => [
    name,
    await Promise.all(some.map(async ({ upload, box }) => ({ photo: await dataUrl(uploads.get(upload).blob), box }))),
  ]);
  return Object.fromEntries(await Promise.all(fields));
}

export function dataUrl(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** A form of pairs of name and value, a text or an upload. */
export function form(pairs) {
  const body = new FormData();
  for (const [name, value] of pairs) {
    if (value.blob) body.append(name, value.blob, value.name || "photo");
    else body.append(name, value);
  }
  return { body };
}
