// Shows the tools that the filter chooses, and opens what a link leads to.
const form = document.querySelector('form.filter');
if (form) {
  const apply = () => {
    const name = form.elements.name.value.trim().toLowerCase();
    for (const row of document.querySelectorAll('tr[data-name]')) {
      const fits = row.dataset.name.toLowerCase().includes(name);
      row.hidden = !fits || (form.elements.fails.checked && !('fails' in row.dataset));
    }
    for (const body of document.querySelectorAll('tbody')) {
      const rows = [...body.querySelectorAll('tr[data-name]')];
      body.hidden = rows.length > 0 && rows.every((row) => row.hidden);
    }
  };
  form.hidden = false;
  form.addEventListener('input', apply);
  form.addEventListener('submit', (event) => event.preventDefault());
}

const unfold = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target && target.closest('details');
  if (folded) {
    folded.open = true;
    target.scrollIntoView();
  }
};
addEventListener('hashchange', unfold);
unfold();
