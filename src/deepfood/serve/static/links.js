// Attributes that are addresses: links, which nobody reads and no facet has.

import { element } from "./dom.js";
import { gallery, nameOf, readable } from "./gallery.js";

export const isAddress = (value) => /^https?:\/\//.test(value);

/** A link for each address among the attributes of a photo. */
export function linksOf(photo) {
  return gallery.columns
    .filter(({ name }) => isAddress(photo.attributes[name]))
    .map(({ name }) => {
      const [link, of] = [element("a", readable(name)), element("span", ` of ${nameOf(photo)}, in a new tab`)];
      of.className = "unseen";
      link.href = photo.attributes[name];
      link.target = "_blank";
      link.rel = "noopener noreferrer nofollow";
      link.append(of);
      return link;
    });
}
