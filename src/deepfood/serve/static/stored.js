// Lists that the browser keeps: in session storage as long as the tab is, or in local storage.

/** The list of a key; empty in a browser that keeps nothing. */
export function restored(key, storage = "sessionStorage") {
  try {
    const known = JSON.parse(window[storage].getItem(key) ?? "[]");
    return Array.isArray(known) ? known : [];
  } catch {
    return [];
  }
}

export function keep(key, list, storage = "sessionStorage") {
  try {
    window[storage].setItem(key, JSON.stringify(list));
  } catch {
    // Then a reload forgets them.
  }
}
