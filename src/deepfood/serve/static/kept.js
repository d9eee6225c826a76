// What this browser keeps on this device, in IndexedDB: recent questions with their photos, favourites.
//
// Each change is a transaction, so that tabs do not lose each other's entries, and they tell each other.
// A gallery below another path has a database of its own. In a browser that keeps nothing, all of this
// rejects.

const NAME = `deepfood:${new URL("./", location.href).pathname}`;
const KEYS = { questions: "key", photos: "number", favourites: "id" };

const tabs = channel();
const watching = []; // [store, changed]
let opened = null;

/** Do `act` with the stores of some names in one transaction; answers what it answers. Within it, only
 *  requests to these stores may be awaited. */
export async function withStores(names, mode, act) {
  const database = await (opened ??= open());
  const transaction = database.transaction(names, mode);
  const ended = new Promise((done, failed) => {
    transaction.oncomplete = done;
    transaction.onabort = () => failed(transaction.error ?? new Error("aborted"));
  });
  const acting = (async () => act(...names.map((name) => transaction.objectStore(name))))();
  acting.catch(() => transaction.abort()).catch(() => {}); // it may have ended by itself
  const [result] = await Promise.all([acting, ended]);
  if (mode === "readwrite") tabs?.postMessage(names);
  return result;
}

/** The result of a request to a store. */
export const resultOf = (request) =>
  new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });

/** `changed` is called after each change of a store by another tab. */
export function onKept(name, changed) {
  watching.push([name, changed]);
}

function channel() {
  try {
    const made = new BroadcastChannel(NAME);
    made.onmessage = ({ data }) => {
      for (const [name, changed] of watching) if (data.includes(name)) changed();
    };
    return made;
  } catch {
    return null; // where storage is denied
  }
}

async function open() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    for (const [name, keyPath] of Object.entries(KEYS)) request.result.createObjectStore(name, { keyPath });
  };
  const database = await resultOf(request);
  const forget = () => (opened = null); // to be opened again: what the browser keeps was cleared
  database.onclose = forget;
  database.onversionchange = () => {
    database.close();
    forget();
  };
  return database;
}
