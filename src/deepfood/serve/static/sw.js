// Keeps the page's own files, so that it opens without a network. While there is one, they come from the
// server, and photos and answers always do.

/** Of this version of the files; with another one the browser installs this worker anew. */
const KEPT = "deepfood-page-{{version}}";
const PAGE = new URL("./", location.href);
const FILES = new URL("static/", PAGE).href;
/** What one of these files names another by. */
const NAME = /["']((?:\.{0,2}\/)?[\w./-]+\.(?:css|js|svg))["']/g;

addEventListener("install", (event) => event.waitUntil(keep(PAGE, new Set())));
addEventListener("activate", (event) => event.waitUntil(forgetOthers()));
addEventListener("fetch", (event) => {
  const address = addressOf(event.request);
  if (address) event.respondWith(serverFirst(event, address));
});

/** Keep a file, and all that it names. */
async function keep(address, seen) {
  if (seen.has(`${address}`)) return;
  seen.add(`${address}`);
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: status ${answer.status}`);
  const text = await answer.clone().text();
  await (await caches.open(KEPT)).put(address, answer);
  const named = [...text.matchAll(NAME)].map(([, name]) => new URL(name, address).href);
  await Promise.all(named.filter((one) => one.startsWith(FILES)).map((one) => keep(one, seen)));
}

/** Delete what other versions have kept. */
async function forgetOthers() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith("deepfood-page") && name !== KEPT).map((name) => caches.delete(name)));
}

/** The address of one of the page's own files, or null. All searches are one page. */
function addressOf({ method, mode, url }) {
  const [address] = url.split(/[?#]/);
  if (method !== "GET") return null;
  if (mode === "navigate") return address === PAGE.href ? address : null;
  return address.startsWith(FILES) ? address : null;
}

async function serverFirst(event, address) {
  const kept = await caches.open(KEPT);
  try {
    const answer = await fetch(event.request);
    if (answer.ok) event.waitUntil(kept.put(address, answer.clone()));
    return answer;
  } catch (error) {
    const before = await kept.match(address);
    if (!before) throw error;
    return before;
  }
}
