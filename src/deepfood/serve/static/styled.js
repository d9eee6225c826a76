// Style sheets of parts that few visitors see.

const asked = new Map(); // name -> promise

/** Have a style sheet of static/, "css/….css"; done when it applies, or cannot be had. */
export function styled(name) {
  if (!asked.has(name)) {
    const link = document.createElement("link");
    Object.assign(link, { rel: "stylesheet", href: new URL(name, import.meta.url).href });
    asked.set(name, new Promise((done) => {
      link.addEventListener("load", done);
      link.addEventListener("error", done);
    }));
    document.head.append(link);
  }
  return asked.get(name);
}
