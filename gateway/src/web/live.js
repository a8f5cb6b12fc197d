// Ends of requests, as the gateway tells them: `/api/events`, read with `fetch` because an EventSource cannot show a token.
//
// Where the line is down it is dialled again, more seldom each time, and the pages go on asking by themselves. Only a page
// that is seen holds a line: a browser has few to one address.

import { stream } from "./api.js";

const FIRST_MS = 1_000;
const LAST_MS = 60_000;

// `ended()` is called when requests have ended, `changed()` when the line has come up or gone down.
export function live(ended, changed) {
  let abort = null;
  let connected = false;

  const set = (now) => {
    if (connected === now) return;
    connected = now;
    changed();
  };

  async function run(signal) {
    let wait = FIRST_MS;
    while (!signal.aborted) {
      try {
        const { pieces } = await stream("GET", "/api/events", null, signal);
        set(true);
        for await (const piece of pieces) {
          wait = FIRST_MS;
          // A comment is a sign of life only.
          if (/^event: /m.test(piece)) ended();
        }
      } catch (error) {
        // The reader is asked for the token by the page's own calls, never by this one a second time.
        if (error.status === 401 || error.status === 403) return;
      }
      if (signal.aborted) return;
      set(false);
      await pause(wait, signal);
      wait = Math.min(LAST_MS, wait * 2);
    }
  }

  return {
    up: () => connected,
    start() {
      if (abort) return;
      const mine = new AbortController();
      abort = mine;
      run(mine.signal).finally(() => {
        if (abort === mine) set(false);
      });
    },
    stop() {
      abort?.abort();
      abort = null;
      connected = false;
    },
  };
}

function pause(time, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, time);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    }, { once: true });
  });
}
