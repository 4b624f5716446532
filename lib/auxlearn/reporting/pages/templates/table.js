
// Sorting and filtering for the table of runs. Without it the table is whole, in the order of the study.
(function () {
  "use strict";
  var table = document.querySelector("table.runs");
  if (!table) return;
  var body = table.tBodies[0];
  var rows = Array.prototype.slice.call(body.rows);
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);

  function value(row, column) {
    var cell = row.cells[column];
    var text = cell.hasAttribute("data-value") ? cell.getAttribute("data-value") : cell.textContent.trim();
    return { text: text, number: text === "" ? NaN : Number(text) };
  }
  function compare(a, b) {
    var x = isNaN(a.number), y = isNaN(b.number);
    if (!x && !y) return a.number - b.number;
    return a.text.localeCompare(b.text, "en", { numeric: true });
  }
  function sort(column, down) {
    var keyed = rows.map(function (row, i) { return { row: row, value: value(row, column), place: i }; });
    keyed.sort(function (a, b) {
      // What has no value stays last whichever way; equals keep the study's order.
      var x = a.value.text === "", y = b.value.text === "";
      if (x || y) return x - y || a.place - b.place;
      return (down ? -1 : 1) * compare(a.value, b.value) || a.place - b.place;
    });
    keyed.forEach(function (item) { body.appendChild(item.row); });
    heads.forEach(function (head, i) {
      head.setAttribute("aria-sort", i === column ? (down ? "descending" : "ascending") : "none");
    });
  }
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", function () { sort(column, head.getAttribute("aria-sort") === "ascending"); });
  });

  var form = document.getElementById("filter");
  var field = document.getElementById("filter-text");
  var choice = document.getElementById("filter-status");
  var count = document.getElementById("filter-count");
  function filter() {
    var words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    var shown = 0;
    rows.forEach(function (row) {
      var text = (row.textContent + " " + row.getAttribute("data-words")).toLowerCase();
      var fits = words.every(function (word) { return text.indexOf(word) >= 0; });
      row.hidden = !fits || (choice.value !== "" && row.getAttribute("data-status") !== choice.value);
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = shown + " of " + rows.length + " " + (table.getAttribute("data-what") || "runs");
  }
  field.addEventListener("input", filter);
  choice.addEventListener("change", filter);
  form.hidden = false;
  filter();
})();
