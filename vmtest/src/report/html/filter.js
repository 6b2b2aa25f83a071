// Shows what the filter chooses, and opens the cell that a link leads to.
const form = document.querySelector('.filter');
const chosen = (name) => form.elements[name]?.value;
const fits = (element, ...names) => names.every((name) => !chosen(name) || element.dataset[name] === chosen(name));

function apply() {
  for (const cell of document.querySelectorAll('details[data-outcome]')) {
    cell.hidden = !fits(cell, 'outcome', 'kernel', 'tracer', 'architecture');
  }
  for (const column of document.querySelectorAll('th[data-kernel], td[data-kernel]')) {
    column.hidden = !fits(column, 'kernel', 'architecture');
  }
  for (const group of document.querySelectorAll('th[scope=colgroup]')) {
    const columns = [...document.querySelectorAll('th[data-kernel]')];
    const { architecture } = group.dataset;
    const shown = columns.filter((column) => !column.hidden && column.dataset.architecture === architecture);
    group.hidden = !shown.length;
    group.colSpan = shown.length || 1;
  }
  for (const row of document.querySelectorAll('tr[data-tracer]')) {
    row.hidden = !fits(row, 'tracer');
  }
  for (const square of document.querySelectorAll('a.cell')) {
    square.style.opacity = !chosen('outcome') || square.classList.contains(chosen('outcome')) ? '' : '0.15';
  }
}

function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) {
    target.open = true;
    target.scrollIntoView();
  }
}

form.hidden = false;
form.addEventListener('change', apply);
addEventListener('hashchange', open);
open();
