// The admin API: same origin, JSON, a bearer token only where the gateway asks for one.
//
// The token is asked for once, on the first 401, and kept in this tab's session storage. Who cancels is not asked again
// until he says so.

const SLOT = "sluice-admin-token";
const PATIENCE_MS = 60_000;

const by = (id) => document.getElementById(id);

let token = stored();
let asking = null;
let declined = false;

// An answer that is not a good one; `status` 0: none came.
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const get = (path, query = {}, signal = null) => {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => (value ?? "") !== ""));
  return call("GET", words.size ? `${path}?${words}` : path, null, signal);
};
export const post = (path, body) => call("POST", path, body, null);
export const remove = (path) => call("DELETE", path, null, null);

export const hasToken = () => token !== null;

export function forgetToken() {
  keep(null);
  declined = false;
}

// After a cancelled question: ask again at the next call.
export function askAgain() {
  declined = false;
}

// Several calls at once; each one's failure stays its own, unless all fail.
export async function gather(calls) {
  const names = Object.keys(calls);
  const ends = await Promise.allSettled(Object.values(calls));
  const denied = ends.find((end) => end.status === "rejected" && end.reason.status === 401);
  if (denied) throw denied.reason;
  if (ends.every((end) => end.status === "rejected")) throw ends[0].reason;
  return Object.fromEntries(names.map((name, at) => [name, { data: ends[at].value, error: ends[at].reason }]));
}

// A text as it is; of an unknown thing, null.
export async function text(path, query, signal) {
  const answer = await admitted((used) => whole("GET", `${path}?${new URLSearchParams(query)}`, null, signal, used));
  if (answer.status === 404) return null;
  return answer.status < 400 ? answer.text : read(answer);
}

// A file that the gateway makes, saved under a name.
export async function download(path, name) {
  const answer = await admitted((used) => whole("GET", path, null, null, used));
  if (answer.status >= 400) read(answer);
  const address = URL.createObjectURL(new Blob([answer.text]));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1_000);
}

// An answer that is read while it comes, for as long as it takes: `{headers, pieces}`, the pieces as text. The error of a
// refusal has `headers`, too.
export async function stream(method, path, body, signal) {
  const answer = await admitted(async (used) => {
    const answer = await dial(method, path, body, signal, used).catch((error) => {
      if (signal?.aborted) throw error;
      throw new ApiError(0, "The gateway cannot be reached.");
    });
    return answer.ok ? answer : { status: answer.status, headers: answer.headers, text: await answer.text() };
  });
  if (answer.status >= 400) {
    try {
      read(answer);
    } catch (error) {
      error.headers = answer.headers;
      throw error;
    }
  }
  return { headers: answer.headers, pieces: pieces(answer.body) };
}

async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function call(method, path, body, signal) {
  return read(await admitted((used) => whole(method, path, body, signal, used)));
}

// Calls with the token there is, and asks for it where one is wanted.
async function admitted(dialled) {
  for (;;) {
    const used = token;
    const answer = await dialled(used);
    if (answer.status !== 401) return answer;
    if (token !== used) continue;
    const fresh = declined ? null : await ask(used !== null);
    if (fresh === null) throw new ApiError(401, "The gateway asks for its admin token.");
  }
}

function dial(method, path, body, signal, used) {
  const headers = { accept: "application/json, text/event-stream" };
  if (used !== null) headers.authorization = `Bearer ${used}`;
  if (body !== null) headers["content-type"] = "application/json";
  return fetch(path, {
    method, headers, signal, cache: "no-store", credentials: "same-origin", redirect: "error",
    body: body === null ? undefined : JSON.stringify(body),
  });
}

async function whole(method, path, body, signal, used) {
  const abort = new AbortController();
  const leave = () => abort.abort();
  signal?.addEventListener("abort", leave);
  const timer = setTimeout(leave, PATIENCE_MS);
  try {
    const answer = await dial(method, path, body, abort.signal, used);
    return { status: answer.status, text: await answer.text() };
  } catch (error) {
    if (signal?.aborted) throw error;
    const why = abort.signal.aborted ? `did not answer within ${PATIENCE_MS / 1000} s` : "cannot be reached";
    throw new ApiError(0, `The gateway ${why}.`);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", leave);
  }
}

function read({ status, text }) {
  let value = null;
  try {
    value = text === "" ? null : JSON.parse(text);
  } catch {
    if (status < 400) throw new ApiError(status, "The gateway's answer is not JSON.");
  }
  if (status < 400) return value;
  const said = value?.error?.message ?? value?.message ?? value?.error;
  const told = typeof said === "string" && said !== "";
  throw new ApiError(status, told ? `${said[0].toUpperCase()}${said.slice(1)} (status ${status}).`
    : `The gateway answered with status ${status}.`);
}

// === The question for the token ===

function ask(refused) {
  asking ??= new Promise((done) => {
    const dialog = by("token-dialog");
    const input = by("token-input");
    by("token-error").textContent = refused ? "That token was not accepted." : "";
    input.value = "";
    const end = (value) => {
      by("token-form").onsubmit = null;
      dialog.onclose = null;
      asking = null;
      input.value = "";
      if (value === null) declined = true;
      else keep(value);
      done(value);
    };
    by("token-cancel").onclick = () => dialog.close();
    dialog.onclose = () => end(null);
    by("token-form").onsubmit = (event) => {
      event.preventDefault();
      const value = input.value.trim();
      if (!/^[\x21-\x7e]+$/.test(value)) {
        by("token-error").textContent = "A token has no blanks and only ASCII characters.";
        return;
      }
      dialog.onclose = null;
      dialog.close();
      end(value);
    };
    dialog.showModal();
    input.focus();
  });
  return asking;
}

// Session storage may be closed to us; then the token lives as long as the page.
function stored() {
  try {
    return sessionStorage.getItem(SLOT);
  } catch {
    return null;
  }
}

function keep(value) {
  token = value;
  try {
    if (value === null) sessionStorage.removeItem(SLOT);
    else sessionStorage.setItem(SLOT, value);
  } catch {
    // Kept in memory.
  }
}
