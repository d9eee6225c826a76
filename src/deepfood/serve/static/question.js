// What visitors do to the question: its photos, words and parts. Each change is a step in the history.

import { asAddress } from "./addresses.js";
import { joined, onChipPressed } from "./chips.js";
import { $, say } from "./dom.js";
import { likesIn, samePhoto } from "./examples.js";
import { onGiven } from "./given.js";
import { onMarked } from "./marks.js";
import { onPart } from "./part.js";
import { newUpload } from "./uploads.js";
import { askedExamples, refined, visit, visitSearch, visitStart, wanted } from "./visits.js";
import { onWords } from "./words.js";

const wordsNow = () => $("words").value.trim();
const wordsAsked = () => wanted()?.words ?? "";

/** Search with more examples, as far as they fit. */
function add(examples, others, words) {
  const { all, added, said } = joined(examples, others, words);
  if (added) visitSearch({ examples: all, words });
  say(said);
}

/** Search with these words, and with the photos in the field. An address is that of a photo. */
function searchWords(words) {
  const url = asAddress(words);
  if (url) {
    $("words").value = "";
    takeAddress(url);
    return;
  }
  const examples = askedExamples();
  if (words || likesIn(examples).length) visitSearch({ examples, words });
  else if (wanted()) visitStart();
  else $("words").focus();
}

/** Search without one of the examples. */
function takeOut(example) {
  const examples = askedExamples().filter((one) => !samePhoto(one, example));
  const words = wordsNow();
  if (examples.length || words) visit({ ...refined(), examples, words }, false);
  else visitStart();
}

/** Search with another part of an example; null: with all of it. */
function choosePart(example, box) {
  const examples = askedExamples().map((one) => {
    if (!samePhoto(one, example)) return one;
    const { box: _, ...whole } = one;
    return { ...whole, ...(box && { box }) };
  });
  visit({ ...wanted(), examples }, false);
}

/** Search with photos that the visitor gave, and with what is in the words box. */
function take(files, { adds }) {
  const given = files.map((file) => ({ upload: newUpload(file) }));
  add(adds ? askedExamples() : [], given, wordsNow());
}

/** The photos in the field without those that are marked now. */
const unmarked = (marks) => askedExamples().filter((one) => !marks.some((mark) => samePhoto(mark, one)));

/** Whether photos that are marked fit into the question; if not, say so. */
function fits(marks) {
  const { said } = joined(unmarked(marks), marks, wordsAsked());
  say(said);
  return !said;
}

/** Search with a photo elsewhere, and with what is in the words box. */
const takeAddress = (url) => add([], [{ url }], wordsNow());

/** Let visitors ask. */
export function onQuestions() {
  onWords(searchWords);
  onGiven(take, takeAddress);
  onMarked(fits, (marks) => add(unmarked(marks), marks, wordsAsked()));
  onChipPressed(takeOut);
  onPart(choosePart);
}
