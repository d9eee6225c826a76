// What a visitor has looked at and found right, so that lists of what may be wrong leave it out: on this device.

const NAME = "deepfood.kept";
const MOST = 2000; // the oldest go

let kept = restored();

function restored() {
  try {
    const known = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    return new Set(Array.isArray(known) ? known : []);
  } catch {
    return new Set(); // a browser that keeps nothing
  }
}

function write() {
  kept = new Set([...kept].slice(-MOST));
  try {
    localStorage.setItem(NAME, JSON.stringify([...kept]));
  } catch {
    // Then a reload forgets it.
  }
}

export const isKept = (key) => kept.has(key);

/** Leave something out of the lists, or have it there again. */
export function keep(key, isRight = true) {
  if (isRight) kept.add(key);
  else kept.delete(key);
  write();
}

/** Have all of it in the lists again. */
export function showKept() {
  kept.clear();
  write();
}
