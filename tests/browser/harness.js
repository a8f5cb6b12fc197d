// A gateway with a fake upstream on either side, an experiment between them, and Debian's Chromium.
//
// Nothing waits for a fixed time: every wait is for a condition, up to a deadline.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";

const ROOT = path.resolve(import.meta.dirname, "../..");
// For what takes seconds on an idle machine: a busy one is no fault of the product.
export const PATIENCE = Number(process.env.SLUICE_TEST_PATIENCE ?? 120_000);
export const TOKEN = "the-admin-token-of-the-browser-tests";
// Who comes in through the proxy that signs people in, and where it calls from.
export const PERSON = "ann@example.org";
const PROXY = "127.0.0.2";

// The packages are outside of the checkout: `scripts/browser-tests` says where.
export const load = createRequire(path.join(process.env.SLUICE_TEST_NODE ?? import.meta.dirname, "package.json"));

const BROWSERS = ["chromium", "chromium-browser", "google-chrome", "chrome"];
export const CHROMIUM = (process.env.PATH ?? "").split(":").flatMap((folder) =>
  BROWSERS.map((name) => path.join(folder, name))).find(existsSync);

const binary = () => path.resolve(process.env.SLUICE_BIN ?? path.join(ROOT, "target/release/sluice"));

// Says that tests do not run for want of something, or ends where that is a must: see tests/src/skip.rs.
export function skipped(what, why) {
  const must = (process.env.SLUICE_TEST_MUST ?? "").split(",").map((word) => word.trim());
  if (must.includes("1") || must.includes(what)) throw new Error(`${what} is a must: ${why}`);
  console.log(`skipped for want of ${what}: ${why}`);
  return why;
}

export async function eventually(what, probe) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${PATIENCE} ms: ${what}`);
    await new Promise((done) => { setTimeout(done, 20); });
  }
}

// A program and the lines it says on one of its streams; nobody's settings and proxies leak in.
function start(program, args, stream, cwd) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) =>
    !/^(SLUICE_|OPENAI_|HTTPS?_PROXY|ALL_PROXY)/i.test(name)));
  env.ADMIN_TOKEN = TOKEN;
  const stdio = ["ignore", "ignore", "ignore"];
  stdio[stream === "stdout" ? 1 : 2] = "pipe";
  const child = spawn(program, args, { cwd, env, stdio });
  // Nothing outlives the tests, also when they fail halfway.
  process.on("exit", () => child.kill("SIGKILL"));
  const lines = [];
  readline.createInterface({ input: child[stream] }).on("line", (line) => lines.push(line));
  const failed = new Promise((_, fail) => { child.on("error", fail); });
  failed.catch(() => {});
  const line = async (what, found) => Promise.race([failed, eventually(what, () => {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}:\n${lines.join("\n")}`);
    return lines.map(found).find(Boolean);
  })]);
  const stop = () => new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) return done();
    child.on("exit", done);
    child.kill("SIGKILL");
  });
  return { lines, line, stop };
}

const provider = (name, location, url) =>
  `[providers.${name}]\nkind = "openai"\nbase_url = "${url}"\nregion = "us"\nlocation = "${location}"\n`;

export const SHADOW = `[experiments.nightly]
kind = "shadow"
share = "100%"
judge = "normalised"
margin = "20%"
max_usd_per_day = "1.00"
act = true
`;
// A split of its own: a shadow that acts would change what it compares.
export const SPLIT = `[experiments.half]
kind = "split"
share = "50%"
`;

// Both sides answer differently, so that there is something to mark and to vote on.
const config = (url, experiment) => `[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
admin_token_env = "ADMIN_TOKEN"
admin_identity_header = "x-forwarded-email"
admin_trusted_proxies = "${PROXY}"
admin_identities = ["${PERSON}"]
${provider("hosted", "hosted", url)}${provider("house", "local", url)}[models.big]
provider = "hosted"
upstream = "echo-json"
input_usd_per_mtok = "2.50"
output_usd_per_mtok = "10.00"
[models.small]
provider = "house"
upstream = "echo"
[models.slow]
provider = "house"
upstream = "echo-slow"
[router]
local = ["small"]
hosted = ["big"]
classifier = "heuristic"
[[budgets]]
scope = "org"
limit_usd = "5.00"
window = "day"
[ledger]
durability = "process"
${experiment}`;

export async function gateway(experiment = SHADOW) {
  const folder = await mkdtemp(path.join(tmpdir(), "sluice-browser-"));
  const upstream = start(path.join(path.dirname(binary()), "fake-upstream"), [], "stdout", folder);
  const said = JSON.parse(await upstream.line("the fake upstream's address", (line) => line));
  await writeFile(path.join(folder, "sluice.toml"), config(said.url, experiment));
  const served = start(binary(), ["serve", "--config", path.join(folder, "sluice.toml")], "stderr", folder);
  const listening = (name) => served.line(`the ${name} listener`, (line) => {
    const fields = line.startsWith("{") ? JSON.parse(line).fields ?? {} : {};
    return fields.message === "listening" && fields.listener === name && `http://${fields.address}`;
  });
  const [data, admin] = [await listening("data"), await listening("admin")];
  const own = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
  const running = {
    data, admin,
    async api(address, body) {
      const method = body === undefined ? "GET" : "POST";
      const answer = await fetch(admin + address, { method, headers: own, body: body && JSON.stringify(body) });
      if (!answer.ok) throw new Error(`${address}: ${answer.status} ${await answer.text()}`);
      return answer.json();
    },
    // Asks the data listener; returns the request's id.
    async ask(prompt, headers = {}) {
      const body = { model: "auto", messages: [{ role: "user", content: prompt }], max_tokens: 50 };
      const answer = await fetch(`${data}/v1/chat/completions`, {
        method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`asked: ${answer.status} ${text}`);
      return answer.headers.get("x-sluice-request-id");
    },
    async stop() {
      await served.stop();
      await upstream.stop();
      await rm(folder, { recursive: true, force: true });
      const panic = served.lines.find((line) => line.includes("panicked at"));
      if (panic) throw new Error(panic);
    },
  };
  await eventually("the gateway is ready", async () => (await fetch(`${data}/readyz`)).ok);
  return running;
}

// A proxy before the admin listener that signs everybody in as PERSON; `cut()` ends what is under way and `down(true)` lets
// nothing through, as when the gateway is gone.
export async function proxy(admin) {
  const { hostname, port } = new URL(admin);
  const under = new Set();
  let down = false;
  const server = http.createServer((request, answer) => {
    if (down) return answer.destroy();
    const headers = { ...request.headers, "x-forwarded-email": PERSON };
    const { method, url } = request;
    const to = http.request({ host: hostname, port, method, path: url, headers, localAddress: PROXY }, (got) => {
      answer.writeHead(got.statusCode, got.headers);
      got.pipe(answer);
    });
    under.add(answer);
    answer.on("close", () => {
      under.delete(answer);
      to.destroy();
    });
    to.on("error", () => answer.destroy());
    request.pipe(to);
  });
  await new Promise((done) => { server.listen(0, "127.0.0.1", done); });
  const cut = () => [...under].forEach((answer) => answer.destroy());
  return {
    admin: `http://127.0.0.1:${server.address().port}`,
    cut,
    down(now) {
      down = now;
      if (now) cut();
    },
    stop() {
      cut();
      server.closeAllConnections();
      return new Promise((done) => { server.close(done); });
    },
  };
}
