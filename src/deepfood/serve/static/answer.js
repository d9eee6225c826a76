// What was found: hits, what the gallery thinks of the question, and what went wrong.

import { card } from "./cards.js";
import { $, announce, capital, element, plural } from "./dom.js";
import { leadOf, likesIn, nameOfExample } from "./examples.js";
import { readable } from "./gallery.js";
import { drawQuery } from "./query.js";
import { sayFault, showRefined } from "./refine.js";
import { isKnown } from "./search.js";
import { showSection } from "./views.js";

/** The answer's page before the answer: heading, what is searched with, blanks for the hits. */
export function startAnswer(search, fewer) {
  showSection("answer");
  $("problem").hidden = true;
  $("more").hidden = true;
  if (!fewer) {
    $("hits").replaceChildren();
    $("verdict").hidden = true;
    $("notes").hidden = true;
    $("dropped").hidden = true;
    showRefined(search);
    drawQuery(search);
  }
  if (isKnown(search)) return;
  $("hits").setAttribute("aria-busy", "true");
  $("summary").textContent = "Looking…";
  const missing = search.k - $("hits").children.length;
  for (let i = 0; i < missing; i++) $("hits").append($("blank").content.cloneNode(true));
}

export function drawAnswer(search, answer, fewer) {
  const { hits, notes, more } = answer;
  $("hits").removeAttribute("aria-busy");
  const before = new Set(Array.from($("hits").querySelectorAll(".like"), (link) => link.dataset.id));
  removeBlanks();
  if (search.show === "varied") $("hits").replaceChildren(); // more of them may be other ones
  const missing = hits.slice($("hits").children.length);
  $("hits").append(...missing.map((hit) => card(hit, search)));
  const added = hits.filter((hit) => !before.has(hit.id));
  drawVerdict(search, answer);
  const { counted, none, order } = counts(search, answer);
  $("summary").textContent = hits.length ? `${counted}, ${order} first` : none;
  $("notes").textContent = notes.map(({ message }) => `${capital(message)}.`).join(" ");
  $("notes").hidden = notes.length === 0;
  $("more").hidden = !more;
  const parts = [
    !$("verdict").hidden && $("verdict").textContent,
    fewer && `${added.length} more.`,
    hits.length ? `${counted}, ${closest(search)}.` : `${none}.`,
    $("notes").textContent,
  ];
  announce(parts.filter(Boolean).join(" "));
  if (fewer && added.length) $("hits").querySelector(`.like[data-id="${added[0].id}"]`).focus();
}

/** How many were found, in words; what to say where none was; and in which order they are. */
function counts({ words, where }, { hits, total }) {
  const passing = where ? " that pass the filter" : "";
  const count = hits.reduce((sum, hit) => sum + 1 + hit.alike.length, 0);
  const of = count < total ? `${count.toLocaleString("en")} of ` : "";
  return {
    counted: `${of}${plural(total, "photo")}${passing}`,
    none: none(words, passing),
    order: words ? "what matches best" : "the most alike",
  };
}

function none(words, passing) {
  if (words) return `No photo${passing && " that passes the filter"} is called or looks like “${words}”`;
  return passing ? "No photo passes the filter" : "There are no photos to compare it with";
}

function closest(search) {
  if (search.words) return "those that match best";
  const likes = likesIn(search.examples);
  if (likes.length > 1) return `those most like these ${likes.length} photos`;
  return `those most like ${likes[0].upload ? "your photo" : nameOfExample(likes[0])}`;
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
    const nothing = `Probably nothing ${id ? "else " : ""}like it in this gallery`;
    return [`${nothing}: the nearest photos are shown anyway.`];
  }
  const name = element("strong", readable(label.label));
  name.dir = "auto";
  return [verdict === "match" ? "Looks like " : "Perhaps ", name, "."];
}

function verdictOnWords(words, verdict, hits) {
  if (verdict === "maybe") return ["These come close, and may not be what you mean."];
  if (verdict !== "none" || !hits.length) return []; // that there is none, the summary says
  return [`Probably nothing like “${words}” in this gallery: these photos have some of the words.`];
}

export function drawProblem(problem) {
  removeBlanks(); // what was there before "Show more" stays
  $("hits").removeAttribute("aria-busy");
  if (!$("hits").children.length) {
    $("title").textContent = "That did not work";
    document.title = "That did not work · deepfood";
  }
  $("summary").textContent = "";
  if (problem.field === "where") {
    sayFault(problem);
    return;
  }
  $("problem-text").textContent = problem.message;
  $("retry").hidden = !problem.passing;
  $("problem").hidden = false;
  announce(problem.message);
}

function removeBlanks() {
  for (const blank of $("hits").querySelectorAll(".blank")) blank.remove();
}
