// The examples of a search: photos that the hits should be like, or unlike.
//
// An example is {id}, a photo of the gallery, or {upload}, the number of one that the visitor gave. It
// may have `box`, the part of the photo that counts: [left, top, width, height] as shares of it, and
// `unlike`, where the hits should be unlike it. In an address it is written ID~LEFT,TOP,WIDTH,HEIGHT.

export const likesIn = (examples) => examples.filter(({ unlike }) => !unlike);

/** The photo that a search is about: the first of those that the hits should be like, or {}. */
export const leadOf = ({ examples = [] }) => likesIn(examples)[0] ?? {};

/** Whether two examples are the same photo. */
export const samePhoto = (a, b) => a.id === b.id && a.upload === b.upload;

/** Pairs of name and text for an address; uploads have none. */
export const saidOf = (examples) =>
  examples.filter(({ id }) => id).map(({ id, box, unlike }) => [unlike ? "not" : "id", box ? `${id}~${box}` : id]);

/** The examples that an address has, each photo once. */
export function examplesIn(said) {
  const found = [
    ...said.getAll("id").map(exampleIn),
    ...said.getAll("not").map((text) => ({ ...exampleIn(text), unlike: true })),
  ];
  return found.filter((one, at) => one.id && at === found.findIndex((other) => samePhoto(one, other)));
}

function exampleIn(text) {
  const [id, sides] = text.split("~");
  const box = sides?.split(",").map(Number);
  return { id, ...(isBox(box) && { box }) };
}

function isBox(box) {
  if (box?.length !== 4) return false;
  const [left, top, width, height] = box;
  const fits = (start, side) => start >= 0 && side > 0 && start + side <= 1 + 1e-6;
  return fits(left, width) && fits(top, height);
}
