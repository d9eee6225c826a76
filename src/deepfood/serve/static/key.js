// The key to change the gallery. Session storage has it as long as the tab is open, and nothing else has:
// no address, no history, no cookie.

const NAME = "deepfood.key";

let only = null; // in a browser that keeps nothing

export function keyNow() {
  try {
    return sessionStorage.getItem(NAME) ?? only;
  } catch {
    return only;
  }
}

export function keepKey(key) {
  only = key;
  try {
    sessionStorage.setItem(NAME, key);
  } catch {
    // Then a reload forgets it.
  }
}

export function forgetKey() {
  only = null;
  try {
    sessionStorage.removeItem(NAME);
  } catch {
    // There is nothing.
  }
}
