const drawings = [];
for (const holder of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(document.getElementById(holder.dataset.spec).textContent);
  const options = { mode: "vega-lite", renderer: "svg", actions: false, config: CONFIG };
  const drawing = vegaEmbed(holder, spec, options).catch((error) => {
    holder.textContent = "This chart could not be drawn: " + error.message;
    console.error(error);
  });
  drawings.push(drawing);
}

const FIRST_ROWS = 100;
const WRITE = {
  text: String,
  plain: (value) => String(Number(value.toPrecision(3))),
  loss: (value) => value.toFixed(4),
  count: (value) => value.toLocaleString("en"),
  power: (value) => value.toExponential(2),
};

function drawRuns(table) {
  const columns = JSON.parse(document.getElementById("run-data").textContent);
  const count = columns[0].values.length;
  const value = (column, row) => (column.names ? column.names[column.values[row]] : column.values[row]);
  const cells = (row) => columns.map((column) => {
    const found = value(column, row);
    return found === null ? "" : WRITE[column.kind](found);
  });
  const words = Array.from({ length: count }, (_, row) => cells(row).map((cell) => cell.toLowerCase()));
  const parts = words.map((row) => row.flatMap((cell) => cell.split(/\s+/)));
  const numeric = (column) => column.values.some((found) => typeof found === "number") && !column.names;

  const filter = document.getElementById("run-filter");
  const all = document.getElementById("run-all");
  const status = document.getElementById("run-count");
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  let order = Array.from({ length: count }, (_, row) => row);
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
      cells(row).forEach((cell, place) => {
        const box = line.insertCell();
        box.textContent = cell;
        if (numeric(columns[place])) box.className = "number";
        else if (cell === "diverged" || cell === "failed") box.className = "bad";
      });
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
    const box = document.createElement("th");
    const button = document.createElement("button");
    box.scope = "col";
    box.setAttribute("aria-sort", "none");
    if (numeric(column)) box.className = "number";
    button.type = "button";
    button.textContent = column.name;
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

const runTable = document.getElementById("run-table");
if (runTable) drawRuns(runTable);

// A live page loads itself anew, though not under somebody who reads a tooltip or types. It is as high as it was only when all is
// drawn; a reload before that would lose the place.
const live = document.querySelector(".live");
function reload() {
  const isRead = document.querySelector("#vg-tooltip-element.visible") || document.activeElement?.tagName === "INPUT";
  if (isRead) setTimeout(reload, 1000);
  else location.reload();
}
if (live) Promise.all(drawings).then(() => setTimeout(reload, 1000 * Number(live.dataset.seconds)));
