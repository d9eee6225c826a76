// A search: what is asked of the server, and what it has answered before.

import { ask, json } from "./ask.js";
import { knownPhoto } from "./gallery.js";
import { likesIn } from "./examples.js";
import { prepareUpload, uploads } from "./uploads.js";
import { ORDERS } from "./visits.js";

export const LARGEST = 45; // asked for at once, after a reload or where an answer has no pages

const answers = new Map(); // search -> answer as far as it was shown, so that back and forward are instant

const key = ({ examples, words, where, show }) => {
  const photos = examples.map(({ id, upload, box, unlike }) => [id, upload, box, unlike]);
  return JSON.stringify([photos, words, where, show]);
};
export const sameSearch = (a, b) => key(a) === key(b);

export const isKnown = (search) => {
  const known = answers.get(key(search));
  return known && (known.hits.length >= search.k || !known.more);
};

/** At least `k` hits of a search if there are as many: known ones, the next page, or all anew.
 *  `ready` is called once more is known of the photo that is searched with. */
export async function findAnswer(search, signal, ready = () => {}) {
  if (isKnown(search)) return answers.get(key(search));
  const known = answers.get(key(search));
  const find = (page) => request(search, page, signal, ready);
  let answer = known?.next && (await nextPage(search, known, signal, find));
  answer ??= await find({ k: Math.min(search.k, LARGEST) });
  const { hits, next } = answer;
  // A varied answer has no pages: a longer one is asked for.
  const isVaried = search.show === "varied";
  answer.more = Boolean(next) || (isVaried && hits.length >= search.k && search.k < LARGEST);
  answers.set(key(search), answer);
  return answer;
}

/** What is known and one more page; null where the gallery was made anew since. */
async function nextPage(search, known, signal, find) {
  try {
    const page = await find({ k: search.k - known.hits.length, cursor: known.next });
    return { ...known, ...page, hits: [...known.hits, ...page.hits] };
  } catch (problem) {
    if (signal.aborted || problem.status !== 422) throw problem;
    return null;
  }
}

async function request(search, page, signal, ready) {
  const { examples, words, where, show } = search;
  await Promise.all(examples.map((one) => known(one, signal, ready)));
  const asked = { ...(words && { words }), ...(where && { where }), ...page };
  const said = { group_duplicates: true, ...ORDERS[show], ...asked };
  const body = bodyOf({ ...photosOf(examples), ...said });
  return ask("api/v1/search", { method: "POST", signal, ...body });
}

/** How many photos a search has under another filter. */
export async function countOf(search, where, signal) {
  return (await request({ ...search, where }, { k: 1 }, signal, () => {})).total;
}

/** Have what the page and the server need of an example. */
async function known({ id, upload }, signal, ready) {
  if (id) {
    await knownPhoto(id, signal);
    ready();
  } else {
    const isNew = await prepareUpload(upload);
    signal.throwIfAborted();
    if (isNew) ready();
  }
}

/** The fields of the API that have the examples: ids, and uploads as they came. */
function photosOf(examples) {
  const wanted = likesIn(examples);
  const unwanted = examples.filter(({ unlike }) => unlike);
  const idsOf = (some) => some.filter(({ id }) => id).map(({ id }) => id);
  const uploadsOf = (some) => some.filter(({ upload }) => upload).map(({ upload }) => uploads.get(upload));
  const box = wanted.length === 1 && wanted[0].box;
  const fields = {
    ...{ id: idsOf(wanted), not_id: idsOf(unwanted) },
    ...{ photo: uploadsOf(wanted), not_photo: uploadsOf(unwanted) },
    ...(box && { box }),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, values]) => values.length));
}

/** Which regions make a hit and an example that is searched with alike. */
export function explain({ id, upload, box }, hit, signal) {
  const photo = upload ? { photo: uploads.get(upload) } : { id };
  const body = bodyOf({ hit, ...photo, ...(box && { box }) });
  return ask("api/v1/explain", { method: "POST", signal, ...body });
}

/** A form where there are uploads, which JSON cannot have as they are; JSON otherwise. */
function bodyOf(fields) {
  if (!fields.photo && !fields.not_photo) return json(fields);
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    const several = Array.isArray(value) && name !== "box" ? value : [value];
    for (const one of several) {
      if (one.blob) body.append(name, one.blob, one.name || "photo");
      else body.append(name, one);
    }
  }
  return { body };
}
