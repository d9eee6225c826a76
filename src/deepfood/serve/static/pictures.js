// Pictures of the gallery that cannot be loaded: a plain plate in their place, not the browser's own mark.

const framed = ({ target }) => (target instanceof HTMLImageElement ? target.closest(".frame") : null);

// Neither event bubbles, so they are caught on the way down.
addEventListener("error", (event) => framed(event)?.classList.add("broken"), true);
addEventListener("load", (event) => framed(event)?.classList.remove("broken"), true);
