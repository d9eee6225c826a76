// A part of a very long list, around a photo that lies beyond what has been loaded of it.

/** `load(id)` answers the page of the list that has a photo in its middle: {photos, start}. */
export function partAround(load) {
  let [ids, start] = [[], 0];
  const end = () => start + ids.length;

  async function open(id) {
    const { photos, start: before } = await load(id);
    [ids, start] = [photos.map((photo) => photo.id), before];
  }

  return {
    open,
    place: (id) => (ids.includes(id) ? start + ids.indexOf(id) : -1),
    /** Whether a number of the list is in this part, or next to it. */
    reaches: (number) => ids.length > 0 && number >= start - 1 && number <= end(),
    /** The photo of a number that it reaches; the part moves along. */
    async at(number) {
      if (number < start) await open(ids[0]);
      else if (number >= end()) await open(ids.at(-1));
      return ids[number - start];
    },
  };
}
