// Lists that are kept as long as the tab is.

/** The list of a key; empty in a browser that keeps nothing. */
export function restored(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "[]");
  } catch {
    return [];
  }
}

export function keep(key, list) {
  try {
    sessionStorage.setItem(key, JSON.stringify(list));
  } catch {
    // Then a reload forgets them.
  }
}
