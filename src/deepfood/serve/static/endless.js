// A list of very many photos: pages of cards, of which those near the window are in the document.
//
// The height of a page follows from how many photos it has (css/browse.css), so that a page whose cards
// are not there takes the same place, and a list is restored without drawing all of it.

export const PAGE = 60; // photos; whole rows of 2, 3, 4, 5 or 6
const KEPT = 8; // pages with cards
const NEAR = "1500px 0px"; // of the window: pages are filled before they are seen

/**
 * A list in `box`. `load(cursor)` answers {photos, next, total} of a page, `card(photo, number, total)`
 * makes an element, `lost(problem)` is told that a page cannot be had any more.
 */
export function endless({ box, load, card, lost }) {
  const pages = []; // {cursor, part, photos: null until they are loaded, count, filling}
  const numbers = new Map(); // id -> number in the list
  let next = null;
  let total = 0;
  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const page = pages[Number(target.dataset.page)];
        if (isIntersecting) fill(page).catch(lost);
      }
    },
    { rootMargin: NEAR },
  );

  function add(cursor, count) {
    const part = document.createElement("div");
    part.className = "page";
    part.role = "none";
    part.dataset.page = pages.length;
    const page = { cursor, part, photos: null, count: 0, filling: null };
    pages.push(page);
    resize(page, count);
    box.append(part);
    near.observe(part);
    return page;
  }

  function resize(page, count) {
    page.count = count;
    page.part.style.setProperty("--count", count);
  }

  /** Have the cards of a page in the document. */
  function fill(page) {
    page.filling ??= (async () => {
      try {
        if (!page.photos) take(page, await load(page.cursor));
        const start = pages.indexOf(page) * PAGE;
        page.part.append(...page.photos.map((photo, at) => card(photo, start + at, total)));
        empty(page);
      } catch (problem) {
        page.filling = null;
        throw problem;
      }
    })();
    return page.filling;
  }

  function take(page, answer) {
    const start = pages.indexOf(page) * PAGE;
    page.photos = answer.photos;
    resize(page, answer.photos.length);
    answer.photos.forEach(({ id }, at) => numbers.set(id, start + at));
    total = answer.total;
    if (page === pages.at(-1)) next = answer.next;
  }

  /** Take out the cards that are farthest from a page, where there are too many. */
  function empty(from) {
    const here = pages.indexOf(from);
    const far = pages
      .filter(({ part }) => part.childElementCount && !part.contains(document.activeElement))
      .sort((a, b) => Math.abs(pages.indexOf(b) - here) - Math.abs(pages.indexOf(a) - here));
    for (const page of far.slice(0, Math.max(0, far.length - KEPT))) {
      page.part.replaceChildren();
      page.filling = null;
    }
  }

  /** The row of a photo: where it is in the window, and how many photos are in it. */
  function rowOf(number) {
    const { part, count } = pages[Math.floor(number / PAGE)];
    const { top, height } = part.getBoundingClientRect();
    const style = getComputedStyle(part);
    const columns = Number(style.getPropertyValue("--columns"));
    const pitch = (height + Number.parseFloat(style.rowGap)) / Math.ceil(count / columns);
    return { top, pitch, columns, row: Math.floor((number % PAGE) / columns) };
  }

  return {
    count: () => pages.reduce((sum, page) => sum + page.count, 0),
    total: () => total,
    more: () => Boolean(next),
    numberOf: (id) => numbers.get(id) ?? -1,

    /** Begin: anew, or with the pages that a place in the list names, of which one is filled. */
    async begin(place) {
      const { cursors = [null], known = 0, at = 0 } = place ?? {};
      cursors.forEach((cursor, page) => add(cursor, Math.max(0, Math.min(PAGE, known - page * PAGE))));
      await fill(pages[Math.floor(at / PAGE)]);
      const last = pages.at(-1);
      if (!last.photos) take(last, await load(last.cursor)); // which says what comes next
    },

    /** The next page; answers the number of its first photo. */
    async grow() {
      const cursor = next;
      const answer = await load(cursor);
      if (cursor !== next) return null; // it has been added meanwhile
      const page = add(cursor, answer.photos.length);
      take(page, answer);
      await fill(page);
      return pages.indexOf(page) * PAGE;
    },

    /** The photo of a number, which is loaded if need be. */
    async photo(number) {
      const page = pages[Math.floor(number / PAGE)];
      if (page && !page.photos) await fill(page);
      return page?.photos[number % PAGE];
    },

    /** The first photo in the window, as a place for `begin` and `show`. */
    place(number = null, shift = null) {
      let at = number ?? 0;
      if (number === null) {
        let [low, high] = [0, pages.length - 1];
        while (low < high) {
          const middle = (low + high) >> 1;
          if (pages[middle].part.getBoundingClientRect().bottom > 0) high = middle;
          else low = middle + 1;
        }
        const { top, pitch, columns } = rowOf(low * PAGE);
        at = low * PAGE + Math.max(0, Math.floor(-top / pitch)) * columns;
      }
      const { top, pitch, row } = rowOf(at);
      return { cursors: pages.map(({ cursor }) => cursor), known: this.count(), at, shift: shift ?? top + row * pitch };
    },

    /** Scroll so that a place is where it was in the window. */
    show({ at, shift }) {
      const { top, pitch, row } = rowOf(at);
      scrollBy(0, top + row * pitch - shift);
    },

    /** The card of a photo, in the document and in the window. */
    async reveal(number) {
      await fill(pages[Math.floor(number / PAGE)]);
      const { top, pitch, row } = rowOf(number);
      const from = top + row * pitch;
      if (from < 0 || from + pitch > innerHeight) scrollBy(0, from + pitch / 2 - innerHeight / 2);
      return pages[Math.floor(number / PAGE)].part.children[number % PAGE];
    },

    end() {
      near.disconnect();
      for (const { part } of pages) part.remove();
    },
  };
}
