// Attributes that are addresses: links, which nobody reads and no facet has.

import { element } from "./dom.js";
import { gallery, nameOf, readable } from "./gallery.js";
import { t } from "./text.js";

export const isAddress = (value) => /^https?:\/\//.test(value);

/** A link for each address among the attributes of a photo. */
export function linksOf(photo) {
  return gallery.columns
    .filter(({ name }) => isAddress(photo.attributes[name]))
    .map(({ name }) => {
      const link = element("a", readable(name));
      link.setAttribute("aria-label", t("card.link", { attribute: readable(name), name: nameOf(photo) }));
      link.href = photo.attributes[name];
      link.target = "_blank";
      link.rel = "noopener noreferrer nofollow";
      return link;
    });
}
