// Photos that are deleted, and are shown nowhere: one rule hides their cards, whoever has drawn them.

const gone = new Set();
const told = [];
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets.push(sheet);

const hidden = (id) => `:is(.card, .tile, .tended, .copy):has(> [data-look="${id}"]), .twin[data-id="${id}"]`;

function draw() {
  const rules = [...gone].map((id) => hidden(CSS.escape(id)));
  sheet.replaceSync(rules.length ? `${rules.join(", ")}{display:none!important}` : "");
  told.forEach((tell) => tell());
}

export const isGone = (id) => gone.has(id);
/** `tell` is called when a photo goes, or is there again. */
export const onGone = (tell) => told.push(tell);


export function hide(id) {
  gone.add(id);
  draw();
}

export function showAgain(id) {
  if (gone.delete(id)) draw();
}
