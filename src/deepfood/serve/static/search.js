// A search: what is asked of the server, and what it has answered before.

import { ask, problemOf } from "./ask.js";
import { bodyOf, form } from "./body.js";
import { nameOfExample } from "./examples.js";
import { WHOLE } from "./fit.js";
import { knownPhoto, onChanged, photos } from "./gallery.js";
import { sending } from "./sending.js";
import { oneOf, parts } from "./text.js";
import { prepareUpload, uploads } from "./uploads.js";

export const LARGEST = 45; // asked for at once, after a reload or where an answer has no pages
export const OF_A_DISH = 9; // hits for each dish of a photo, which have no pages

const answers = new Map(); // search -> answer as far as it was shown, so that back and forward are instant

onChanged(() => answers.clear());

const key = ({ examples, words, where, show, plate }) => {
  const photos = examples.map(({ id, upload, url, box, unlike }) => [id, upload, box, unlike, url]);
  return JSON.stringify([photos, words, where, show, plate]);
};
/** A search without what decides which hits are shown: what a vote is about. */
export const questionKey = ({ examples, words }) => key({ examples, words });
export const sameSearch = (a, b) => key(a) === key(b);

export const isKnown = (search) => {
  const known = answers.get(key(search));
  return known && (known.hits.length >= search.k || !known.more);
};

/** The dishes that an answer has by themselves: none where they are the whole photo. */
export const dishesOf = ({ parts }) => (parts ?? []).filter(({ box }) => String(box) !== String(WHOLE));

/** At least `k` hits of a search if there are as many: known ones, the next page, or all anew.
 *  `ready` is called once more is known of the photo that is searched with, `through` does what sends photos.
 *  `took` of an answer says how many ms it took. */
export async function findAnswer(search, signal, ready = () => {}, through = sending) {
  if (isKnown(search)) return answers.get(key(search));
  const known = answers.get(key(search));
  const find = (page) => through((sent) => request(search, page, signal, { ready, sent }));
  const begun = Date.now();
  let answer = known?.next && (await nextPage(search, known, signal, find));
  answer ??= await find({ k: search.plate ? OF_A_DISH : Math.min(search.k, LARGEST) });
  answer.took = Date.now() - begun;
  const { hits, next } = answer;
  // A varied answer has no pages: a longer one is asked for.
  const isVaried = search.show === "varied" && !search.plate;
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

async function request(search, page, signal, { ready = () => {}, sent }) {
  const { examples } = search;
  const all = await Promise.allSettled(examples.map((one) => known(one, examples, signal, ready)));
  const failed = all.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  const { hasPhotos, ...body } = await bodyOf(search, page);
  try {
    return await ask("api/v1/search", { method: "POST", signal, ...body, ...(hasPhotos && { sent }) });
  } catch (problem) {
    throw named(problem, examples);
  }
}

/** A problem with an example, that names it: `missing` are those that the gallery does not have. */
function named(problem, examples) {
  const several = examples.length > 1;
  const missing = problem.status === 404 ? examples.filter(({ id }) => id && problem.message.includes(id)) : [];
  if (missing.length) {
    const [{ id }] = missing;
    const gone = photos.has(id) ? parts("problem.gone", { name: nameOfExample({ id }), id }) : parts("problem.not-there", { id });
    return problemOf(several ? parts("problem.take-out", { problem: gone }) : gone, { ...problem, missing });
  } else if (several && ([413, 415].includes(problem.status) || /photo|body/.test(problem.field))) {
    const unread = examples.map(({ upload }) => uploads.get(upload)).filter((one) => one?.unread);
    const files = oneOf(unread.map(({ name }) => name));
    if (unread.length) return problemOf(parts("problem.of-file", { files, problem: problem.pieces }), problem);
  }
  return problem;
}

/** How many photos a search has under another filter. */
export async function countOf(search, where, signal) {
  return (await request({ ...search, where }, { k: 1 }, signal, {})).total;
}

/** Have what the page and the server need of an example. */
async function known({ id, upload }, examples, signal, ready) {
  if (id) {
    try {
      await knownPhoto(id, signal);
    } catch (problem) {
      throw named(problem, examples);
    }
    ready();
  } else if (upload) {
    const isNew = await prepareUpload(upload);
    signal.throwIfAborted();
    if (isNew) ready();
  }
}

/** Which regions make a hit and an example that is searched with alike. */
export function explain({ id, upload, box }, hit, signal) {
  const query = upload ? ["photo", uploads.get(upload)] : ["id", id];
  const body = form([["hit", hit], query, ...(box ? [["box", box]] : [])]);
  return ask("api/v1/explain", { method: "POST", signal, ...body });
}
