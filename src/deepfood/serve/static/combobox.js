// A text field with suggestions while typing: a combobox (WAI-ARIA Authoring Practices, list
// autocomplete with manual selection). The focus stays in the field, and `aria-activedescendant` names
// the suggestion that Enter takes.

import { announce, element } from "./dom.js";
import { t } from "./text.js";

const PAUSE_MS = 120; // in the typing, before suggestions are asked for

/** `suggest({typing, signal})` answers a promise of [{text, about}], and `take(suggestion)` puts one into
 *  the field. `choose()`, which a form calls before it is sent, takes the active one, and answers whether it
 *  did. A suggestion that is pressed is asked for, unless the field `goesOn`: then more are suggested. */
export function combobox(input, list, suggest, take, { goesOn = false } = {}) {
  let [waiting, asking, active, found] = [0, new AbortController(), -1, []];

  function close() {
    clearTimeout(waiting);
    asking.abort();
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    activate(-1);
  }

  async function open(typing = false) {
    clearTimeout(waiting);
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const some = await suggest({ typing, signal }).catch(() => []); // an aid: without them the field goes on working
    if (signal.aborted || document.activeElement !== input) return;
    found = some;
    list.replaceChildren(...found.map(option));
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    activate(-1);
    if (found.length) announce(t("suggestions", { count: found.length }));
  }

  function option({ text, about }, number) {
    const [item, said] = [element("li", ""), element("span", about)];
    item.id = `${list.id}-${number}`;
    item.setAttribute("role", "option");
    said.className = "about";
    item.append(element("bdi", text), said);
    return item;
  }

  function activate(number) {
    active = number < -1 ? found.length - 1 : number >= found.length ? -1 : number;
    [...list.children].forEach((one, at) => one.setAttribute("aria-selected", String(at === active)));
    if (active < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `${list.id}-${active}`);
    list.children[active]?.scrollIntoView({ block: "nearest" });
  }

  function choose(number = active) {
    if (list.hidden || !found[number]) return false;
    take(found[number]);
    if (goesOn) open();
    else close();
    return true;
  }

  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(open, PAUSE_MS, true);
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape" && !list.hidden) close();
    else if (event.key === "ArrowDown" && list.hidden) open();
    else if (event.key === "ArrowDown") activate(active + 1);
    else if (event.key === "ArrowUp" && !list.hidden) activate(active - 1);
    else return;
    event.preventDefault();
  });
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", (event) => {
    const chosen = event.target.closest("[role=option]");
    if (chosen && choose([...list.children].indexOf(chosen)) && !goesOn) input.form.requestSubmit();
  });
  return { close, choose };
}
