const byId = (id) => document.getElementById(id);
// The page's policy lets no script make styles or evaluate text: Vega brings none of its own, and its expressions are interpreted.
const plain = { actions: false, ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true } };
const options = { mode: "vega-lite", renderer: "svg", ...plain, config: {{ theme | data }} };
for (const card of document.querySelectorAll("[data-hue]")) card.style.setProperty("--hue", card.dataset.hue);
const drawings = [...document.querySelectorAll(".chart")].map((holder) =>
  vegaEmbed(holder, JSON.parse(byId(holder.dataset.spec).textContent), options).catch((error) => {
    holder.textContent = "This chart could not be drawn: " + error.message;
    console.error(error);
  }));

const FIRST_ROWS = 100;
const WRITE = {
  text: String,
  plain: (value) => String(Number(value.toPrecision(3))),
  loss: (value) => value.toFixed(4),
  count: (value) => value.toLocaleString("en"),
  power: (value) => value.toExponential(2),
};

function drawRuns(table) {
  const columns = JSON.parse(byId("run-data").textContent);
  const order = [...columns[0].values.keys()];
  const count = order.length;
  const value = (column, row) => (column.names ? column.names[column.values[row]] : column.values[row]);
  const cell = (column, row) => (value(column, row) === null ? "" : WRITE[column.kind](value(column, row)));
  const words = order.map((row) => columns.map((column) => cell(column, row).toLowerCase()));
  const parts = words.map((row) => row.flatMap((cell) => cell.split(/\s+/)));
  const numeric = (column) => column.values.some((found) => typeof found === "number") && !column.names;

  const [filter, all, status] = ["run-filter", "run-all", "run-count"].map(byId);
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  let everything = false;

  // A whole number is a whole cell, so that 64 finds the width and not every 0.0064.
  const has = (row, word) =>
    /^\d+$/.test(word) ? words[row].includes(word) : parts[row].some((found) => found.startsWith(word));

  function draw() {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = order.filter((row) => wanted.every((word) => has(row, word)));
    const shown = everything ? matching : matching.slice(0, FIRST_ROWS);
    body.replaceChildren(...shown.map((row) => {
      const line = document.createElement("tr");
      for (const column of columns) {
        const text = cell(column, row);
        const tone = text === "diverged" || text === "failed" ? "bad" : "";
        Object.assign(line.insertCell(), { textContent: text, className: numeric(column) ? "number" : tone });
      }
      return line;
    }));
    const of = wanted.length ? ` of ${count.toLocaleString("en")}` : "";
    const some = shown.length < matching.length ? `, the first ${shown.length} shown` : "";
    status.textContent = `${matching.length.toLocaleString("en")}${of} runs${some}`;
    all.hidden = matching.length <= FIRST_ROWS || everything;
  }

  function sort(column, box) {
    const sign = box.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.cells) other.setAttribute("aria-sort", "none");
    box.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    order.sort((one, other) => {
      const [a, b] = [value(column, one), value(column, other)];
      if (a === b) return one - other;
      if (a === null || b === null) return a === null ? 1 : -1;
      return sign * (a < b ? -1 : 1);
    });
    draw();
  }

  for (const column of columns) {
    const box = Object.assign(document.createElement("th"), { scope: "col", className: numeric(column) ? "number" : "" });
    box.setAttribute("aria-sort", "none");
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: column.name });
    button.addEventListener("click", () => sort(column, box));
    box.append(button);
    head.append(box);
  }
  filter.addEventListener("input", draw);
  all.addEventListener("click", () => { everything = true; draw(); });
  for (const hidden of document.querySelectorAll("#runs [hidden]")) hidden.hidden = false;
  document.querySelector("#runs .absent").remove();
  draw();
}

if (byId("run-table")) drawRuns(byId("run-table"));

// A live page loads itself anew, though not under somebody who reads a tooltip or types. It is as high as it was only when all is
// drawn; a reload before that would lose the place.
const live = document.querySelector(".live");
function reload() {
  const isRead = document.querySelector("#vg-tooltip-element.visible") || document.activeElement?.tagName === "INPUT";
  if (isRead) setTimeout(reload, 1000);
  else location.reload();
}
if (live) Promise.all(drawings).then(() => setTimeout(reload, 1000 * Number(live.dataset.seconds)));
