// Put at the beginning of a page: uses it as a reader would, and tells the frame around it what is wrong.
const complaints = [];
addEventListener('error', (event) => complaints.push(`error: ${event.message}`));
addEventListener('load', () => use().catch((error) => complaints.push(`probe: ${error.message}`)).then(tell));

const all = (selector) => [...document.querySelectorAll(selector)];
const isShown = (element) => element.getClientRects().length > 0;
const expect = (is, what) => is || complaints.push(what);
const isSite = location.pathname.includes('/site/');

async function use() {
  const width = new URLSearchParams(location.search).get('width');
  expect(innerWidth === Number(width), `the frame is ${innerWidth} pixels wide, not ${width}`);
  const now = document.documentElement;
  expect(now.scrollWidth <= now.clientWidth, `the page is ${now.scrollWidth} pixels wide, of ${now.clientWidth}`);
  expect(isSite || all('article').length > 0, 'no cause is shown');
  expect(all('article').every((cause) => isShown(cause) || cause.closest('details')), 'a cause is hidden');
  await isAccessible('at first');
  const form = document.querySelector('form.filter');
  if (isSite || form) await copy();
  if (isSite) useSite(form);
  else if (form) await useReport(form);
  expect(now.scrollWidth <= now.clientWidth, 'an unfolded cell makes the page too wide');
  for (const folded of all('details')) folded.open = true;
  expect(now.scrollWidth <= now.clientWidth, 'unfolded, the page is too wide');
  await isAccessible('unfolded');
}

async function isAccessible(when) {
  const { violations } = await axe.run(document, { resultTypes: ['violations'] });
  for (const { id, help, nodes } of violations) {
    complaints.push(`${when}: ${id}: ${help}: ${nodes.length} times, first ${nodes[0].html.slice(0, 200)}`);
  }
}

async function copy() {
  const buttons = all('.command button');
  expect(buttons.length === all('.command').length, 'a command has no button');
  if (!buttons.length) return;
  buttons[0].click();
  const isTold = () => buttons[0].textContent !== 'Copy';
  for (let tries = 0; !isTold() && tries < 50; tries += 1) await new Promise((done) => setTimeout(done, 20));
  expect(isTold(), 'the button does not tell that it copied');
}

function useSite(form) {
  const skip = document.querySelector('a.skip');
  skip.focus();
  expect(document.activeElement === skip && skip.getBoundingClientRect().left >= 0, 'the skip link is not shown');
  for (const link of all('a[href^="#"], a[href*=".html#"]')) {
    const target = new URL(link.href);
    const isHere = target.pathname === location.pathname;
    const id = decodeURIComponent(target.hash.slice(1));
    expect(!isHere || document.getElementById(id), `a link leads to nothing: ${link.getAttribute('href')}`);
  }
  if (!form) return;
  const rows = all('tr[data-name]');
  const change = () => form.dispatchEvent(new Event('input', { bubbles: true }));
  form.elements.name.value = rows[0].dataset.name;
  change();
  expect(isShown(rows[0]), 'the filter hides what was asked for');
  form.elements.name.value = 'no such tool';
  change();
  expect(!rows.some(isShown), 'the filter shows what was not asked for');
  form.elements.name.value = '';
  form.elements.fails.checked = true;
  change();
  expect(rows.some(isShown) && !rows.every(isShown), 'the filter does not tell failures from others');
  form.elements.fails.checked = false;
  change();
  expect(rows.every(isShown), 'the filter still hides something');
}

async function useReport(form) {
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
}

function tell() {
  parent.postMessage(complaints.join('; ').replace(/[<>&"]/g, ' ') || 'none', '*');
}
