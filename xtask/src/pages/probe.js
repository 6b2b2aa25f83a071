// Put at the beginning of a page: uses it as a reader would, and tells the frame around it what is wrong.
const complaints = [];
addEventListener('error', (event) => complaints.push(`error: ${event.message}`));
addEventListener('load', () => use().catch((error) => complaints.push(`probe: ${error.message}`)).then(tell));

const all = (selector) => [...document.querySelectorAll(selector)];
const isShown = (element) => element.getClientRects().length > 0;
const expect = (is, what) => is || complaints.push(what);

async function use() {
  const width = new URLSearchParams(location.search).get('width');
  expect(innerWidth === Number(width), `the frame is ${innerWidth} pixels wide, not ${width}`);
  const { scrollWidth, clientWidth } = document.documentElement;
  expect(scrollWidth <= clientWidth, `the page is ${scrollWidth} pixels wide, of ${clientWidth}`);
  expect(all('article').length > 0, 'no cause is shown');
  expect(all('article').every(isShown), 'a cause is hidden');
  const form = document.querySelector('form.filter');
  if (!form) return;
  expect(isShown(form), 'the filter is hidden');
  for (const select of form.querySelectorAll('select')) {
    expect(select.options.length > 2, `nothing to choose from: ${select.name}`);
    for (const option of select.options) {
      select.value = option.value;
      select.dispatchEvent(new Event('change', { bubbles: true }));
      const cells = all('details[data-outcome]');
      const fitting = cells.filter((cell) => !option.value || cell.dataset[select.name] === option.value);
      expect(fitting.length > 0, `${select.name} ${option.value} is of no cell`);
      expect(cells.filter(isShown).length === fitting.length, `${select.name} ${option.value}: other cells are shown`);
      expect(fitting.every(isShown), `${select.name} ${option.value}: a cell is hidden`);
    }
    select.value = '';
    select.dispatchEvent(new Event('change', { bubbles: true }));
  }
  for (const link of [document.querySelector('article a'), document.querySelector('table a')]) {
    const cell = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    expect(!cell.open, `unfolded before it was asked for: ${cell.id}`);
    const moved = new Promise((done) => addEventListener('hashchange', done, { once: true }));
    link.click();
    await moved;
    expect(cell.open, `a link does not unfold ${cell.id}`);
  }
  const now = document.documentElement;
  expect(now.scrollWidth <= now.clientWidth, 'an unfolded cell makes the page too wide');
}

function tell() {
  parent.postMessage(complaints.join('; ').replace(/[<>&"]/g, ' ') || 'none', '*');
}
