for (const holder of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(document.getElementById(holder.dataset.spec).textContent);
  const options = { mode: "vega-lite", renderer: "svg", actions: false, config: CONFIG };
  vegaEmbed(holder, spec, options).catch((error) => {
    holder.textContent = "This chart could not be drawn: " + error.message;
    console.error(error);
  });
}
