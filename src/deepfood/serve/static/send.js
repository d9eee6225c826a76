// A request that tells how much of its body is sent, which fetch() cannot.

/** As fetch(); `sent` gets the share of the body that is sent, from 0 to 1. */
export function send(address, { method, headers = {}, body, signal, sent }) {
  return new Promise((done, failed) => {
    signal?.throwIfAborted();
    const request = new XMLHttpRequest();
    request.open(method, address);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.responseType = "arraybuffer";
    request.upload.onloadstart = () => sent(0);
    request.upload.onprogress = ({ loaded, total }) => sent(loaded / total);
    request.upload.onload = () => sent(1);
    request.onload = () => done(answerOf(request));
    request.onerror = () => failed(new TypeError());
    request.onabort = () => failed(signal.reason);
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

function answerOf(request) {
  const headers = request.getAllResponseHeaders().trim().split("\r\n").map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  return new Response(request.response.byteLength ? request.response : null, { status: request.status, headers });
}
