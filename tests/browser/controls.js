// Everything on each page that can be operated, by selector: the test "every control of each page is in the table" fails when
// a page has one that is not here, and the last test fails when one that is here was not driven by any other.

// On every page.
export const SHELL = [
  "#skip", "a.brand", "nav a[data-page=overview]", "nav a[data-page=requests]", "nav a[data-page=models]",
  "nav a[data-page=budgets]", "nav a[data-page=residency]", "nav a[data-page=compare]", "nav a[data-page=playground]",
  "#pause", "#forget", "#problem button", "#token-input", "#token-cancel", "#token-form button.main",
  "#confirm button[value=no]", "#confirm-yes",
];

export const CONTROLS = {
  overview: ["input[name=span][value=hour]", "input[name=span][value=today]", "input[name=span][value=week]",
    "input[name=span][value=month]", "#trend-numbers > summary", "#group-by", ".scroll"],
  requests: ["#route", "#span", "#in", "#find", "#search", "tbody a", "tr.open", "#newest", "#older", ".scroll"],
  request: ["#back", "dd a", "#save-evidence", "#record > summary", "#record > pre", ".scroll"],
  models: [".scroll"],
  budgets: ["[id^=rotate-]", "[id^=revoke-]", "#all-keys", "#key-name", "#key-team", "#key-user", "#key-window", "#key-limit", "#key-expires",
    "#key-some", "[id^=key-model-]", "#key-create", "#key-secret", "#key-copy", "#key-stored", ".scroll"],
  residency: ["#days", ".scroll"],
  compare: [".card h2 a"],
  experiment: ["#back", "#over", "details > summary", "[id^=slice-]", "button[aria-label^=Undo]", "#marking", "#more-pairs", "#to-vote", "#export",
    "article a", ".said", ".scroll"],
  vote: ["#back", "#voter", "#keys", "details > summary", "#answer-a", "#answer-b", "#vote-a", "#vote-tie", "#vote-b"],
  playground: ["#prompt", "#system", "details > summary", "#left", "#right", "#class", "#most", "#ask", "#stop", "#left-answer",
    "#right-answer", "dd a", ".scroll"],
};

export const OPERABLE = "a[href], button, input, select, textarea, summary, tr.open, [tabindex='0']";

// Runs in the page: reports each control that somebody operates, under the selector of the table that it has. A region that
// scrolls is operated by being reached with the keyboard.
function watch(shell, controls, operable) {
  globalThis.shownPage = () => {
    const [name, id] = location.hash.replace(/^#\/?/, "").split("?")[0].split("/");
    return { requests: id && "request", compare: id && "experiment", shadow: "experiment" }[name] || name || "overview";
  };
  const report = (event) => {
    const target = event.target.closest?.(operable);
    if (!target || target.matches("[tabindex='0']") !== (event.type === "focusin")) return;
    const name = globalThis.shownPage();
    const seen = [...shell.map((selector) => ["shell", selector]), ...(controls[name] ?? []).map((selector) => [name, selector])];
    for (const [where, selector] of seen) {
      // A click into a row that is no link of its own opens it.
      const row = event.type === "click" && event.target.closest("tr.open");
      if (target.matches(selector) || (row && row.matches(selector))) globalThis.driven(`${where}: ${selector}`);
    }
  };
  for (const type of ["click", "input", "change", "focusin"]) addEventListener(type, report, { capture: true });
}

// The same as a script for the page.
export const WATCH = `(${watch})(...${JSON.stringify([SHELL, CONTROLS, OPERABLE])})`;

// All that the table has, as they are reported.
export const ALL = [...SHELL.map((selector) => `shell: ${selector}`),
  ...Object.entries(CONTROLS).flatMap(([name, list]) => list.map((selector) => `${name}: ${selector}`))];
