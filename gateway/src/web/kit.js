// What every page is built from: elements, numbers, times, tables.
//
// Whatever comes from the API reaches the document as text nodes or attribute values of elements made here; nothing is
// ever parsed as HTML. Money is never a floating point number: decimal text becomes a BigInt of nano-dollars and back.

// === Elements ===

const SVG = "http://www.w3.org/2000/svg";

// An element; `on` holds listeners, null and false attributes are left out, strings become text nodes.
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// The same for SVG.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const quiet = (text) => el("span", { class: "quiet" }, text);
export const hidden = (text) => el("span", { class: "hidden" }, text);

// A definition list of [label, value] pairs; pairs without a value are left out. A `look` of roomy has longer labels.
export function facts(pairs, look = "") {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== false && value !== "");
  return el("dl", { class: `facts ${look}`.trim() },
    shown.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value))));
}

// A section under a heading of its own.
export function section(title, ...children) {
  const id = `s-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return el("section", { "aria-labelledby": id }, el("h2", { id, tabindex: "-1" }, title), ...children);
}

// A labelled select that reports its value.
export function choice(id, label, options, value, changed) {
  const select = el("select", { id, on: { change: () => changed(select.value) } },
    options.map(([word, text]) => el("option", { value: word, selected: word === value }, text)));
  return el("div", { class: "field" }, el("label", { for: id }, label), select);
}

// A machine word as people write it.
export const plain = (word) => String(word ?? "").replaceAll("_", " ");

const ROUTES = { local: "local", hosted: "hosted" };
export const route = (word) => (ROUTES[word] ? el("span", { class: `route ${ROUTES[word]}` }, word) : quiet("none"));

// === Numbers ===

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const NANOS = 1_000_000_000n;

export const count = (value) => (value === null || value === undefined ? "" : WHOLE.format(value));
export const fixed = (value, digits) => (value === null || value === undefined ? "" : Number(value).toFixed(digits));

// Milliseconds: whole ones, with a decimal where that says more.
export function ms(value) {
  if (value === null || value === undefined) return "";
  return value < 10 ? Number(value).toFixed(1) : WHOLE.format(value);
}

export function percent(part, whole) {
  return Number(whole) === 0 ? "" : `${((Number(part) / Number(whole)) * 100).toFixed(1)}%`;
}

// Decimal text in dollars to nano-dollars; null stays null.
export function nanos(text) {
  const parts = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text ?? "");
  if (!parts) return null;
  const value = BigInt(parts[2]) * NANOS + BigInt((parts[3] ?? "").padEnd(9, "0").slice(0, 9));
  return parts[1] ? -value : value;
}

export const add = (list) => list.reduce((sum, value) => sum + (value ?? 0n), 0n);

// How many decimals a column of amounts wants: all of it the same, so that the points align.
export function decimals(amounts) {
  const most = amounts.reduce((most, value) => {
    const size = (value ?? 0n) < 0n ? -value : value ?? 0n;
    return size > most ? size : most;
  }, 0n);
  if (most === 0n || most >= 100n * NANOS) return 2;
  if (most >= NANOS) return 4;
  return most >= 100_000n ? 6 : 9;
}

// Nano-dollars as text with so many decimals, rounded half up; something is never shown as nothing.
export function dollars(value, digits = 6) {
  const size = value < 0n ? -value : value;
  const unit = 10n ** BigInt(9 - digits);
  const rounded = (size + unit / 2n) / unit;
  const scale = 10n ** BigInt(digits);
  const text = `${WHOLE.format(rounded / scale)}.${String(rounded % scale).padStart(digits, "0")}`;
  if (rounded === 0n) return size === 0n ? text : `${value < 0n ? ">−" : "<"}${text.slice(0, -1)}1`;
  return value < 0n ? `−${text}` : text;
}

// An amount in a table cell, exact in its title; null is unpriced.
export function amount(value, digits = 6) {
  if (value === null) return quiet("unpriced");
  return el("span", { title: `$${dollars(value, 9)}`, class: value === 0n ? "quiet" : null }, dollars(value, digits));
}

// The amount somebody typed: cents at least, and every digit that is not nothing.
export const exactly = (value) => `$${dollars(value, 9).replace(/0{1,7}$/, "")}`;

// An amount in running text.
export function usd(value, digits = decimals([value])) {
  if (value === null) return quiet("unpriced");
  const text = dollars(value, digits);
  const sign = /^[<>]?−?/.exec(text)[0];
  return el("span", { title: `$${dollars(value, 9)}` }, `${sign}$${text.slice(sign.length)}`);
}

// === Times ===

const pad = (value) => String(value).padStart(2, "0");
const dayOf = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
export const clock = (at) => `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;

// A moment in the reader's time zone, UTC in its title; `brief` leaves out today's date.
export function time(text, brief = false) {
  if (!text) return "";
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text);
  const day = dayOf(at);
  const shown = brief && day === dayOf(new Date()) ? clock(at) : `${brief ? day.slice(5) : day} ${clock(at)}`;
  return el("time", { datetime: text, title: at.toISOString() }, shown);
}

// The beginning of a UTC day so many days ago, as the ledger counts days.
export function utcDay(ago) {
  return new Date(Math.floor(Date.now() / 86_400_000) * 86_400_000 - ago * 86_400_000);
}

// === Lists that keep what did not change ===

// Brings the children of `parent` in line with `rows`: unchanged ones stay as they are (focus, selection and open
// details with them), others are built or rebuilt. `extra` is part of what makes a row the same.
export function reconcile(parent, rows, { key, build, extra = "" }) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const wanted = rows.map((row) => [String(key(row)), row, JSON.stringify(row) + extra]);
  const kept = new Set(wanted.map(([name]) => name));
  for (const [name, node] of old) if (!kept.has(name)) node.remove();
  let at = parent.firstChild;
  for (const [name, row, seen] of wanted) {
    let node = old.get(name);
    if (node && node.seen !== seen) {
      const focused = node.contains(document.activeElement) ? document.activeElement.id : "";
      const fresh = build(row);
      if (at === node) at = fresh;
      node.replaceWith(fresh);
      node = fresh;
      if (focused) document.getElementById(focused)?.focus();
    }
    node ??= build(row);
    node.dataset.key = name;
    node.seen = seen;
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
}

// A table: `columns` are {head, cell, num, wide, row} (num: right-aligned; wide: left out on a narrow screen; row: the
// row's header). `show(rows, extra, total)` fills it; `total` is a row for the foot. `open` makes rows clickable. A
// `stack` becomes a list of labelled values on a narrow screen; the roles keep it a table for screen readers then.
export function table({ caption, columns, key, empty, open = null, stack = false }) {
  const look = (column) => [column.num && "num", column.wide && "wide"].filter(Boolean).join(" ") || null;
  const role = (name) => (stack ? name : null);
  const body = el("tbody", { role: role("rowgroup") });
  const foot = el("tfoot", { role: role("rowgroup") });
  const none = el("p", { class: "empty" }, empty);
  const head = el("tr", { role: role("row") }, columns.map((column) =>
    el("th", { scope: "col", role: role("columnheader"), class: look(column), title: column.title }, column.head)));
  const grid = el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    el("table", { class: stack ? "stack" : null, role: role("table") }, el("caption", { class: "hidden" }, caption),
      el("thead", { role: role("rowgroup") }, head), body, foot));
  const line = (row) => el("tr", { class: open ? "open" : null, role: role("row") }, columns.map((column) => column.row
    ? el("th", { scope: "row", role: role("rowheader"), class: look(column) }, column.cell(row))
    : el("td", { class: look(column), role: role("cell"), "data-label": column.head },
      el("span", {}, column.cell(row)))));
  if (open) {
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      const busy = event.target.closest("a, button") || String(getSelection());
      if (row && !busy) open(row.dataset.key);
    });
  }
  const node = el("div", {}, grid, none);
  return {
    node,
    show(rows, extra = "", total = null) {
      grid.hidden = rows.length === 0;
      none.hidden = rows.length > 0;
      reconcile(body, rows, { key, build: line, extra });
      reconcile(foot, total && rows.length > 1 ? [total] : [], { key: () => "total", build: line, extra });
    },
  };
}
