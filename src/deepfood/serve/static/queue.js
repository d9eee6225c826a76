// The photos that are being added: a few at once, each with how far it is, and another try where one failed.

import { addPhoto } from "./changes.js";
import { leadTo } from "./detail.js";
import { $, announce, tell } from "./dom.js";
import { changed, nameOf, photos } from "./gallery.js";
import { showAgain } from "./gone.js";
import { askAgain } from "./key-form.js";
import { parts, percent, t } from "./text.js";

const AT_ONCE = 2;
const TRIES = 5; // of a request that the server has no time for
const WAIT_S = 5; // where the server does not say how long

/** {file, name, label, url, state, share, tries, id, problem, maybe, item}; `maybe`: an answer was lost, and the
 *  photo may be there. */
let jobs = [];
let running = 0;

const SAYS = {
  waiting: () => parts("queue.waiting"),
  sending: ({ share }) => (share < 1 ? parts("queue.sending", { percent: percent(share) }) : parts("queue.reading")),
  paused: ({ wait }) => parts("queue.paused", { count: wait }),
  added: () => parts("queue.added"),
  known: () => parts("queue.known-one"),
  refused: ({ problem }) => problem.pieces,
};
/** Whether it was refused for a reason that may be over later. */
const isPassing = ({ state, problem }) => state === "refused" && (problem.passing || [401, 403].includes(problem.status));
const isOver = ({ state }) => ["added", "known", "refused"].includes(state);
const has = (state) => jobs.filter((one) => one.state === state).length;

/** Add photos, after those that are still to be added. */
export function enqueue(some) {
  const more = some.map((one) => ({ ...one, state: "waiting", share: 0, tries: 0 }));
  for (const job of more) job.item = itemOf(job);
  jobs = [...jobs, ...more];
  $("queue-list").append(...more.map(({ item }) => item));
  more.forEach(drawJob);
  work();
}

function work() {
  while (running < AT_ONCE) {
    const job = jobs.find(({ state }) => state === "waiting");
    if (!job) break;
    send(job);
  }
  drawQueue();
}

async function send(job) {
  running++;
  Object.assign(job, { state: "sending", share: 0, problem: null });
  drawJob(job);
  try {
    const { name, label } = job;
    const photo = await addPhoto(job.file, { name, label }, (share) => {
      job.share = share;
      drawJob(job);
    });
    photos.set(photo.id, photo);
    Object.assign(job, { state: "added", id: photo.id });
  } catch (problem) {
    failed(job, problem);
  }
  running--;
  if (job.id) showAgain(job.id);
  if (job.state === "added") changed();
  drawJob(job);
  work();
  if (jobs.every(isOver)) announce($("queue-said").textContent);
}

function failed(job, problem) {
  const { status } = problem;
  Object.assign(job, { problem, id: problem.location?.split("/").at(-1) });
  if (status === 412) job.state = job.maybe ? "added" : "known";
  else job.state = "refused";
  job.maybe ||= status === undefined || status >= 500;
  if (status === 401) {
    for (const one of jobs.filter(({ state }) => state === "waiting")) Object.assign(one, { state: "refused", problem });
    jobs.forEach(drawJob);
    askAgain();
  } else if ([429, 503].includes(status) && ++job.tries < TRIES) {
    job.wait = problem.wait || WAIT_S;
    job.state = "paused";
    setTimeout(() => again([job]), job.wait * 1000);
  }
}

function again(some) {
  for (const job of some) {
    job.state = "waiting";
    drawJob(job);
  }
  work();
}

// ----------------------------------------------------------------------------- what is drawn

/** Say how many there are of each. */
export function drawQueue() {
  $("queue").hidden = !jobs.length;
  const said = [
    t("queue.done", { count: has("added"), total: jobs.length }),
    has("known") && t("queue.known", { count: has("known") }),
    has("refused") && t("queue.refused", { count: has("refused") }),
  ];
  $("queue-said").textContent = said.filter(Boolean).join(" ");
  $("queue-retry").hidden = !jobs.some(isPassing);
  $("queue-clear").hidden = !jobs.some(isOver);
  Object.assign($("queue-bar"), { max: jobs.length || 1, value: jobs.filter(isOver).length });
  $("queue-bar").hidden = jobs.every(isOver);
}

function itemOf(job) {
  const item = $("queue-item").content.cloneNode(true).firstElementChild;
  item.querySelector("img").src = job.url;
  item.querySelector(".name").textContent = job.name || job.file.name;
  const [again_, open] = [item.querySelector("button"), item.querySelector("a")];
  for (const one of [again_, open]) one.querySelector(".unseen").textContent = ` ${job.name || job.file.name}`;
  again_.addEventListener("click", () => {
    again([job]);
    $("queue-title").focus();
  });
  return item;
}

function drawJob(job) {
  const part = (name) => job.item.querySelector(name);
  job.item.dataset.state = job.state;
  tell(part(".state"), { pieces: SAYS[job.state](job) });
  part("progress").hidden = job.state !== "sending";
  part("progress").value = job.share;
  part("button").hidden = !isPassing(job);
  part("a").hidden = !job.id;
  if (!job.id) return;
  leadTo(part("a"), { id: job.id });
  part(".id").textContent = job.id;
  if (photos.has(job.id)) part(".name").textContent = nameOf(photos.get(job.id));
}

$("queue-retry").addEventListener("click", () => {
  const some = jobs.filter(isPassing);
  for (const job of some) job.tries = 0;
  again(some);
  $("queue-title").focus();
});
$("queue-clear").addEventListener("click", () => {
  for (const { item, url } of jobs.filter(isOver)) {
    item.remove();
    URL.revokeObjectURL(url);
  }
  jobs = jobs.filter((job) => !isOver(job));
  drawQueue();
  $("adding-choose").focus();
});
addEventListener("beforeunload", (event) => {
  if (!jobs.every(isOver)) event.preventDefault(); // the browser asks whether to leave
});
