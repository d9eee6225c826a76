// "Why this one?": the photo searched with and one that was found, each under its heat map.

import { $, tell } from "./dom.js";
import { percent, t } from "./text.js";

const dialog = $("why");
const sides = ["query", "hit"].map((name) => ({ name, image: $(`why-${name}`), title: $(`why-${name}-name`) }));
let asking = new AbortController();
let retry = null;

/**
 * Open the dialog and ask the server.
 * `pair` is {query: {name, url}, hit: {id, name, url, score}}: names, addresses of the plain photos.
 * `explain` takes a signal and gives what POST /api/v1/explain answers.
 */
export async function openWhy(pair, explain) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  retry = () => openWhy(pair, explain);
  start(pair);
  if (!dialog.open) dialog.showModal();
  $("why-title").focus();
  try {
    const answer = await explain(signal);
    signal.throwIfAborted();
    draw(pair, answer);
  } catch (problem) {
    if (signal.aborted) return; // closed, or another pair was asked for
    complain(problem);
  }
}

export function closeWhy() {
  if (dialog.open) dialog.close();
}

function start(pair) {
  dialog.setAttribute("aria-busy", "true");
  $("why-problem").hidden = true;
  $("why-retry").hidden = true;
  $("why-legend").hidden = true;
  $("why-plain").hidden = true;
  $("why-says").textContent = t("why.looking");
  for (const { name, image, title } of sides) {
    title.textContent = pair[name].name;
    image.alt = t("why.plain", { name: pair[name].name });
    image.parentElement.hidden = !pair[name].url;
    if (pair[name].url) image.src = pair[name].url;
    else image.removeAttribute("src");
  }
}

function draw(pair, answer) {
  dialog.removeAttribute("aria-busy");
  const cells = [answer.query, answer.hit].flatMap((one) => one.contributions.flat());
  const against = cells.some((value) => value < 0);
  $("why-says").textContent = against ? t("why.red-blue") : t("why.red");
  $("why-legend").hidden = false;
  $("why-legend").classList.toggle("against", against);
  $("why-most").textContent = t("why.alike");
  $("why-least").textContent = against ? t("why.unlike") : t("why.no-matter");
  const share = percent(ofStrongest(answer.hit.contributions.flat(), 1 / 4));
  $("why-sum").textContent = t("why.sum", { alike: percent(answer.score), share });
  for (const { name, image } of sides) image.parentElement.hidden = false;
  const plain = $("why-plain");
  plain.hidden = sides.some(({ name }) => !pair[name].url);
  const show = (heat) => {
    plain.textContent = heat ? t("why.show-plain") : t("why.show-heat");
    plain.onclick = () => show(!heat);
    for (const { name, image } of sides) {
      image.src = heat ? answer[name].picture : pair[name].url;
      image.alt = heat ? describe(pair[name].name, answer[name].contributions) : t("why.plain", { name: pair[name].name });
    }
  };
  show(true);
}

/** How much of what makes photos alike is in this share of the regions, the strongest of them. */
function ofStrongest(values, share) {
  const sum = (some) => some.reduce((all, value) => all + value, 0);
  const alike = values.filter((value) => value > 0).sort((a, b) => b - a);
  return alike.length ? sum(alike.slice(0, Math.ceil(values.length * share))) / sum(alike) : 0;
}

/** In words, where the heat is: for those who do not see it. */
function describe(name, rows) {
  const sums = { top: 0, middle: 0, bottom: 0, left: 0, centre: 0, right: 0 };
  const third = (at, count, names) => names[Math.min(2, Math.floor((at / count) * 3))];
  rows.forEach((row, y) =>
    row.forEach((value, x) => {
      sums[third(y + 0.5, rows.length, ["top", "middle", "bottom"])] += value;
      sums[third(x + 0.5, row.length, ["left", "centre", "right"])] += value;
    }),
  );
  const most = (names) => names.reduce((a, b) => (sums[b] > sums[a] ? b : a));
  return t(`why.heat-${most(["top", "middle", "bottom"])}-${most(["left", "centre", "right"])}`, { name });
}

function complain(problem) {
  dialog.removeAttribute("aria-busy");
  $("why-says").textContent = "";
  tell($("why-problem-text"), problem);
  $("why-problem").hidden = false;
  $("why-retry").hidden = !problem.passing;
}

for (const { image } of sides) {
  // What the browser cannot show (HEIC in most), it need not: the answer has its own picture.
  image.addEventListener("error", () => (image.parentElement.hidden = true));
  image.addEventListener("load", () => (image.parentElement.hidden = false));
}
$("why-retry").addEventListener("click", () => retry());
$("why-close").addEventListener("click", closeWhy);
dialog.addEventListener("close", () => asking.abort());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) closeWhy(); // on the backdrop: what is inside covers all the rest
});
