// A search: what is asked of the server, and what it has answered before.

import { ask, json } from "./ask.js";
import { knownPhoto } from "./gallery.js";
import { prepareUpload, uploads } from "./uploads.js";
import { ORDERS } from "./visits.js";

export const LARGEST = 45; // asked for at once, after a reload or where an answer has no pages

const answers = new Map(); // search -> answer as far as it was shown, so that back and forward are instant

const key = ({ id, upload, words, where, show }) => JSON.stringify([id, upload, words, where, show]);
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
  const { id, upload, words, where, show } = search;
  const said = { group_duplicates: true, ...ORDERS[show], ...(words && { words }), ...(where && { where }), ...page };
  let body;
  if (upload) {
    const isNew = await prepareUpload(upload);
    signal.throwIfAborted();
    if (isNew) ready();
    body = { body: form({ photo: uploads.get(upload), ...said }) };
  } else {
    if (id) {
      await knownPhoto(id, signal);
      ready();
    }
    body = json({ ...(id && { id }), ...said });
  }
  return ask("api/v1/search", { method: "POST", signal, ...body });
}

/** How many photos a search has under another filter. */
export async function countOf(search, where, signal) {
  return (await request({ ...search, where }, { k: 1 }, signal, () => {})).total;
}

/** Which regions make a hit and the photo that is searched with alike. */
export function explain({ id, upload }, hit, signal) {
  const query = upload ? { photo: uploads.get(upload) } : { id };
  return ask("api/v1/explain", { method: "POST", signal, body: form({ hit, ...query }) });
}

function form({ photo, ...fields }) {
  const body = new FormData();
  if (photo) body.append("photo", photo.blob, photo.name || "photo");
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return body;
}
