// Requests to the server. Mistakes of the user come back as `Refused`, everything else that fails as `Gone`.

export class Refused extends Error {}
export class Gone extends Error {}

async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("the server does not answer");
  }
  if (answer.ok) return answer;
  if (answer.status >= 502) throw new Gone("the server does not answer");
  const text = await answer.text();
  let message = text.slice(0, 300);
  try {
    message = JSON.parse(text).error || message;
  } catch { /* not JSON */ }
  throw new Refused(message || `the server answered with status ${answer.status}`);
}

export async function getJson(path, options) {
  return (await request(path, options)).json();
}

export async function postJson(path, content, options = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await request(path, { method: "POST", headers, body: JSON.stringify(content), ...options })).json();
}

export async function postFile(path, file) {
  return (await request(path, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file })).json();
}

// Yields the frames of a stream: {head, parts}; see `frame` of routes.py.
export async function* frames(path, content, signal) {
  const headers = { "Content-Type": "application/json" };
  const answer = await request(path, { method: "POST", headers, body: JSON.stringify(content), signal });
  const reader = answer.body.getReader();
  let held = new Uint8Array(0);
  const atLeast = async (length) => {
    const pieces = [held];
    let total = held.length;
    while (total < length) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      total += value.length;
    }
    if (pieces.length > 1) {
      held = new Uint8Array(total);
      let place = 0;
      for (const piece of pieces) {
        held.set(piece, place);
        place += piece.length;
      }
    }
    return held.length >= length;
  };
  const take = (length) => {
    const taken = held.slice(0, length);
    held = held.subarray(length);
    return taken;
  };
  try {
    while (await atLeast(4)) {
      const length = new DataView(take(4).buffer).getUint32(0, true);
      if (!(await atLeast(length))) return;
      const head = JSON.parse(new TextDecoder().decode(take(length)));
      const parts = [];
      for (const size of head.parts) {
        if (!(await atLeast(size))) return;
        parts.push(take(size));
      }
      yield { head, parts };
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("the server does not answer");
  }
}

// Undoes zlib.compress.
export async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export async function fetchBytes(path) {
  return new Uint8Array(await (await request(path)).arrayBuffer());
}
