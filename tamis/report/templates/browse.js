"use strict";
/* Hides the rows that do not match what was asked for. */
(() => {
  const $ = (id) => document.getElementById(id), rows = [...document.querySelectorAll("#rows tr")];
  const number = (id, otherwise) => ($(id) && $(id).value !== "" ? Number($(id).value) : otherwise);
  function filter() {
    const words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const low = number("low", -Infinity), high = number("high", Infinity), bounded = low > -Infinity || high < Infinity;
    let shown = 0;
    for (const row of rows) {
      const score = row.dataset.score === "" ? NaN : Number(row.dataset.score), text = row.textContent.toLowerCase();
      const fits = ["part", "reason", "source"].every((key) => $(key).value === "" || $(key).value === row.dataset[key]);
      row.hidden = !(fits && (!bounded || (score >= low && score <= high)) && words.every((word) => text.includes(word)));
      shown += !row.hidden;
    }
    $("found").textContent = `${shown} of ${rows.length} rows`;
  }
  for (const control of document.querySelectorAll("#filter input, #filter select")) control.oninput = filter;
  $("filter").onreset = () => setTimeout(filter);
  $("filter").onsubmit = (e) => e.preventDefault();
  filter();
})();
