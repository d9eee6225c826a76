// Votes: whether what was found is right, for servers that take feedback. Imported with the first answer
// that has a `question`.
//
// This tab knows what was said until it is closed; it has a random number for the server, which keeps
// the number's hash.

import { ask, json } from "./ask.js";
import { dataUrl } from "./body.js";
import { $, announce, element, tell } from "./dom.js";
import { gallery, nameOf, photos } from "./gallery.js";
import { questionKey } from "./search.js";
import { keep, restored } from "./stored.js";
import { styled } from "./styled.js";
import { parts, t } from "./text.js";
import { uploads } from "./uploads.js";

const [SESSION, VOTES] = ["deepfood.session", "deepfood.votes"];
const MOST = 1000; // votes that the tab remembers
const ICONS = { true: "M5 12.5l4.5 4.5L19 7.5", false: "M7 7l10 10M17 7L7 17" };

const votes = new Map(restored(VOTES)); // [question, photo] as text -> right
const photoSent = new Set(); // questions whose photo the server has
let asked = null; // the question on the page: {key, question, search}

/** Have the style sheet of votes: before the first is drawn. */
export const haveVoteStyle = () => styled("css/votes.css");

/** Put the buttons on the hits of an answer that have none yet, and say what is kept. */
export function drawVotes(search, { question, hits }) {
  asked = { key: questionKey(search), question, search };
  // A vote is about the label, which is that of the whole photo: none on a hit by a part of it.
  for (const card of $("hits").querySelectorAll(".card:not(.blank, :has(.boxed))")) {
    if (!card.querySelector(".vote")) card.append(voteOn(card.querySelector(".like").dataset.id));
  }
  document.getElementById("votes-about")?.remove();
  if (!hits.length) return;
  const about = element("p", gallery.keepsPhotos ? t("votes.kept-photo") : t("votes.kept"));
  Object.assign(about, { id: "votes-about", className: "hint" });
  $("more").parentElement.after(about);
}

function voteOn(id) {
  const name = nameOf(photos.get(id));
  const row = element("div", "");
  const question = element("span", t("votes.ask"));
  const fault = element("p", "");
  row.className = "vote";
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", t("votes.about", { name }));
  fault.className = "fault";
  fault.setAttribute("role", "alert");
  row.append(question, button(id, true, t("votes.right")), button(id, false, t("votes.wrong")), fault);
  show(row, id);
  return row;
}

function button(id, right, says) {
  const made = element("button", "");
  made.type = "button";
  made.title = says;
  made.setAttribute("aria-label", says);
  Object.assign(made.dataset, { vote: id, right });
  const icon = $("mark").content.querySelector("svg").cloneNode(true);
  icon.firstElementChild.setAttribute("d", ICONS[right]);
  made.append(icon);
  return made;
}

const placeOf = (id, { key } = asked) => JSON.stringify([key, id]);

/** Have the buttons of a hit say what was said. */
function show(row, id) {
  for (const one of row.querySelectorAll("button")) {
    one.setAttribute("aria-pressed", String(votes.get(placeOf(id)) === (one.dataset.right === "true")));
  }
}

function remember(place, right) {
  votes.delete(place);
  if (right !== null && right !== undefined) votes.set(place, right);
  keep(VOTES, [...votes].slice(-MOST));
}

/** The tab's random number; another one in a browser that keeps nothing. */
function session() {
  const [known] = restored(SESSION);
  if (known) return known;
  const made = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  keep(SESSION, [made]);
  return made;
}

/** The photo asked with, for a server that keeps it: only where it alone is what is asked. */
async function photoOf({ key, search: { examples, words } }) {
  const [one] = examples;
  if (!gallery.keepsPhotos || words || examples.length > 1 || !one.upload || one.box || photoSent.has(key)) return {};
  return { photo: await dataUrl(uploads.get(one.upload).blob) };
}

async function vote(row, id, right) {
  const about = asked;
  const [place, before] = [placeOf(id), votes.get(placeOf(id))];
  const name = nameOf(photos.get(id));
  row.querySelector(".fault").replaceChildren();
  remember(place, right);
  show(row, id);
  try {
    const photo = right === null ? {} : await photoOf(about);
    const said = { question: about.question, hit: id, right, session: session(), ...photo };
    await ask("api/v1/feedback", { method: "POST", ...json(said) });
    if (right === null) photoSent.delete(about.key); // it goes with the last vote
    else if (photo.photo) photoSent.add(about.key);
    if (right === null) announce(t("votes.taken-back", { name }));
    else announce(right ? t("votes.said-right", { name }) : t("votes.said-wrong", { name }));
  } catch (problem) {
    remember(place, before);
    if (asked.key === about.key) show(row, id);
    const gone = problem.status === 404 && parts("problem.gone", { name, id });
    tell(row.querySelector(".fault"), gone ? { pieces: gone } : problem);
  }
}

$("hits").addEventListener("click", (event) => {
  const pressed = event.target.closest?.("[data-vote]");
  if (!pressed) return;
  const right = pressed.dataset.right === "true";
  vote(pressed.parentElement, pressed.dataset.vote, pressed.getAttribute("aria-pressed") === "true" ? null : right);
});
