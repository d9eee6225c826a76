// What was found: hits, what the gallery thinks of the question, and what went wrong.

import { card } from "./cards.js";
import { $, announce, element, entitle, tell } from "./dom.js";
import { leadOf, likesIn, nameOfExample } from "./examples.js";
import { readable } from "./gallery.js";
import { drawQuery } from "./query.js";
import { sayFault, showRefined } from "./refine.js";
import { isKnown } from "./search.js";
import { inEnglish, oneOf, parts, t } from "./text.js";
import { showSection } from "./views.js";

/** The answer's page before the answer: heading, what is searched with, blanks for the hits. */
export function startAnswer(search, fewer) {
  showSection("answer");
  $("problem").hidden = true;
  $("more").hidden = true;
  if (!fewer) {
    $("hits").replaceChildren();
    $("keep").hidden = true;
    $("verdict").hidden = true;
    $("notes").hidden = true;
    $("dropped").hidden = true;
    clearPlate(search.plate);
    showRefined(search);
    drawQuery(search);
  }
  if (isKnown(search)) return;
  $("hits").setAttribute("aria-busy", "true");
  $("summary").textContent = search.plate ? t("plate.looking") : t("looking");
  const missing = search.k - $("hits").children.length;
  for (let i = 0; i < missing; i++) $("hits").append($("blank").content.cloneNode(true));
}

/** Take the dishes of a plate from the page; `next`: those of another come. */
export function clearPlate(next = false) {
  $("answer").classList.toggle("of-plate", next);
  $("plate").replaceChildren();
  $("plate-boxes").hidden = true;
}

export function drawAnswer(search, answer, fewer) {
  const { hits, notes, more } = answer;
  $("hits").removeAttribute("aria-busy");
  $("answer").classList.remove("of-plate"); // it may have one dish, or none
  const before = new Set(Array.from($("hits").querySelectorAll(".like"), (link) => link.dataset.id));
  removeBlanks();
  if (search.show === "varied") $("hits").replaceChildren(); // more of them may be other ones
  const drawn = $("hits").children.length;
  $("hits").append(...hits.slice(drawn).map((hit, at) => card(hit, drawn + at, search)));
  const added = hits.filter((hit) => !before.has(hit.id));
  drawVerdict(search, answer);
  const counted = hits.length ? countOf(search, answer) : noneOf(search);
  $("summary").textContent = hits.length ? inOrder(search, counted) : counted;
  drawNotes(notes, search.plate && (answer.parts.length ? t("plate.one") : t("plate.none")));
  $("more").hidden = !more;
  const sentences = [
    !$("verdict").hidden && $("verdict").textContent,
    fewer && t("found.more", { count: added.length }),
    hits.length ? closest(search, counted) : t("sentence", { text: counted }),
    $("notes").textContent.trim(),
  ];
  announce(sentences.filter(Boolean).join(" "));
  if (fewer && added.length) $("hits").querySelector(`.like[data-id="${added[0].id}"]`).focus();
}

/** How many were found, in words. */
function countOf({ where }, { hits, total }) {
  const shown = hits.reduce((sum, hit) => sum + 1 + hit.alike.length, 0);
  if (shown >= total) return where ? t("found.all-passing", { count: total }) : t("found.all", { count: total });
  const values = { shown, count: total };
  return where ? t("found.some-passing", values) : t("found.some", values);
}

/** That none was found, in words. */
function noneOf({ words, where }) {
  if (words) return where ? t("none.words-passing", { words }) : t("none.words", { words });
  return where ? t("none.passing") : t("none.photos");
}

const inOrder = ({ words }, counted) => (words ? t("found.best-first", { counted }) : t("found.alike-first", { counted }));

function closest({ words, examples }, counted) {
  if (words) return t("found.best", { counted });
  const likes = likesIn(examples);
  if (likes.length > 1) return t("found.like-these", { counted, count: likes.length });
  if (likes[0].upload) return t("found.like-own", { counted });
  return t("found.like-name", { counted, name: nameOfExample(likes[0]) });
}

// Codes of notes for whoever runs the server: a visitor can do nothing about them.
const OF_OPERATORS = ["plates_not_calibrated"];

/** Tell what an answer says of itself, after what else there is to say. */
export function drawNotes(all, before) {
  const notes = all.filter(({ code }) => !OF_OPERATORS.includes(code));
  $("notes").replaceChildren(...(before ? [before, " "] : []), ...notes.flatMap((one) => [...noteOf(one), " "]));
  $("notes").hidden = !before && notes.length === 0;
}

/** What an answer says of itself, in pieces. */
function noteOf({ code, message, photos, attributes }) {
  if (code === "unknown_left_out") return parts("note.unknown_left_out", { count: photos, attributes: oneOf(attributes) });
  if (code === "value_not_found") return parts("note.value_not_found", { attributes: oneOf(attributes) });
  if (code === "words_unused") return parts("note.words_unused");
  if (code === "pages_end") return parts("note.pages_end", { count: photos });
  if (code === "no_feature_map") return parts("note.no_feature_map");
  return parts("note.other", { message: inEnglish(message) });
}

/** In words, what the gallery thinks of the question; nothing where it cannot tell, or knows. */
function drawVerdict(search, { verdict, label, hits }) {
  const { words } = search;
  const text = words ? verdictOnWords(words, verdict, hits) : verdictOnPhoto(leadOf(search).id, verdict, label);
  $("verdict").hidden = !text.length;
  $("verdict").replaceChildren(...text);
}

function verdictOnPhoto(id, verdict, label) {
  if (!verdict) return [];
  if (verdict === "none") {
    return id ? parts("verdict.nothing-else") : parts("verdict.nothing");
  }
  const name = element("strong", readable(label.label));
  name.dir = "auto";
  return verdict === "match" ? parts("verdict.match", { label: name }) : parts("verdict.maybe", { label: name });
}

function verdictOnWords(words, verdict, hits) {
  if (verdict === "maybe") return parts("verdict.words-maybe");
  if (verdict !== "none" || !hits.length) return []; // that there is none, the summary says
  return parts("verdict.words-nothing", { words });
}

export function drawProblem(problem) {
  removeBlanks(); // what was there before "Show more" stays
  $("hits").removeAttribute("aria-busy");
  if (!$("hits").children.length) {
    $("title").textContent = t("problem.heading");
    entitle(t("problem.heading"));
  }
  $("summary").textContent = "";
  if (problem.field === "where") {
    sayFault(problem);
    return;
  }
  tell($("problem-text"), problem);
  $("retry").hidden = !problem.passing;
  $("problem").hidden = false;
  announce(problem.message);
}

function removeBlanks() {
  for (const blank of $("hits").querySelectorAll(".blank")) blank.remove();
}
