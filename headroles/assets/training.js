// The training tab; runs after panel.js, with whose cells it draws the map, dressed anew at every recorded step.
const HEAD_BYTES = 4; // a head at a point: role, and filling and score in hundredths, as `render/surveys/training.py` packs them
const PACE = 350; // milliseconds a point
const isStill = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
const slider = () => element.querySelector('[type=range]');
const figure = (hundredths) => (hundredths / 100).toFixed(2);

const readRun = () => {
  const grid = element.querySelector('.hr-grid[data-run]');
  if (!grid) return null;
  if (grid.run?.source === grid.dataset.run && grid.querySelector('.hr-cell')) return grid.run;
  const bytes = bytesOf(grid.dataset.run);
  const known = JSON.parse(grid.dataset.known);
  const rows = [...grid.querySelectorAll('[data-layer].hr-map-row')];
  const heads = bytes.length / HEAD_BYTES / known.steps.length / rows.length;
  for (const row of rows) {
    for (const old of row.querySelectorAll('.hr-cell')) old.remove();
    row.append(...[...Array(heads).keys()].map((head) => makeCell(row.dataset.layer, head)));
  }
  grid.run = { ...known, source: grid.dataset.run, bytes, numbers: new DataView(bytes.buffer), cells: [...grid.querySelectorAll('.hr-cell')] };
  return grid.run;
};

const showStep = (run, at) => {
  const step = run.steps[at].toLocaleString('en');
  run.cells.forEach((cell, head) => {
    const start = HEAD_BYTES * (at * run.cells.length + head);
    const [name, role, color] = run.roles[run.bytes[start]];
    const score = run.numbers.getInt16(start + 2, true);
    const scored = score === NO_SCORE ? '' : ` (score ${figure(score)})`;
    dress(cell, { name, color, told: `${role}${scored}, at step ${step}`, filling: run.bytes[start + 1], shapes: 'hr-run' });
  });
  element.querySelectorAll('.hr-at-step [data-role]').forEach((row, role) => {
    const [layer, head, score, count] = run.best[role][at];
    [`L${layer}H${head}`, figure(score), count].forEach((text, column) => { row.cells[column + 1].textContent = text; });
  });
  element.querySelectorAll('.hr-at-step [data-loss]').forEach((row, loss) => { row.cells[2].textContent = figure(run.losses[loss][at]); });
  for (const line of element.querySelectorAll('.hr-now')) for (const end of ['x1', 'x2']) line.setAttribute(end, run.across[at]);
  element.querySelector('.hr-step-told').textContent = step;
  slider().setAttribute('aria-valuetext', `step ${step}`);
};

// ---- the step in the address: told to page.js, which writes it without the server, and read when a page opens or goes back
let sought = null; // the step that an address names, and whose; until the run is there
const readAddress = () => {
  const address = new URLSearchParams(location.search);
  const step = /^\d{1,12}$/.exec(address.get('step'))?.[0];
  sought = address.get('tab') === 'training' ? { model: address.get('model'), step } : null;
};
const seek = (run) => {
  const shown = element.querySelector('.hr-training').dataset.model;
  if (!sought || (sought.model && sought.model !== shown)) return false;
  const isNearer = (step, other) => Math.abs(step - sought.step) < Math.abs(other - sought.step);
  const found = sought.step ? run.steps.reduce((best, step, at) => (isNearer(step, run.steps[best]) ? at : best), 0) : run.steps.length - 1;
  sought = null;
  slider().value = found;
  return true;
};
const tellStep = (run) => {
  const at = Number(slider().value);
  document.dispatchEvent(new CustomEvent('step', { detail: at === run.steps.length - 1 ? '' : String(run.steps[at]) }));
};
let telling = 0;
const tellSoon = (run) => { // browsers refuse an address that changes too often
  clearTimeout(telling);
  telling = setTimeout(() => {
    telling = 0;
    tellStep(run);
  }, 200);
};
const tellNow = () => { // before something leads away from here
  if (!telling) return;
  clearTimeout(telling);
  telling = 0;
  tellStep(readRun());
};
element.addEventListener('click', tellNow, true);
document.addEventListener('turn', tellNow);
readAddress();
window.addEventListener('popstate', () => {
  clearTimeout(telling);
  telling = 0;
  readAddress();
  const run = readRun();
  if (!run || !seek(run)) return;
  stop();
  showStep(run, Number(slider().value));
});

// ---- to play: point after point, or one a press where less motion is asked for
let playing = 0;
const playButton = () => element.querySelector('[data-play]');
const stop = () => {
  clearInterval(playing);
  playing = 0;
  if (playButton()) playButton().textContent = isStill() ? 'Next step' : 'Play';
};
const advance = () => {
  const run = readRun();
  if (!run) return stop();
  const last = run.steps.length - 1;
  slider().value = Number(slider().value) + 1;
  showStep(run, Number(slider().value));
  tellSoon(run);
  if (Number(slider().value) === last) stop();
};
const play = () => {
  if (playing) return stop();
  if (Number(slider().value) === Number(slider().max)) slider().value = -1;
  if (isStill()) return advance();
  playing = setInterval(advance, PACE);
  playButton().textContent = 'Pause';
  advance();
};
element.addEventListener('click', ({ target }) => target.closest('[data-play]') && play());
element.addEventListener('input', ({ target }) => {
  if (!target.matches('[type=range]')) return;
  stop();
  showStep(readRun(), Number(target.value));
  tellSoon(readRun());
});

const settleRun = () => {
  const run = readRun();
  stop();
  if (!run) return;
  seek(run);
  showStep(run, Number(slider().value));
  tellStep(run);
  mark();
};
watch('value', settleRun);
settleRun();

// ---- drawn when it is looked at, and anew when the page shows another model
let asked = '';
const ask = () => {
  if (!element.checkVisibility()) return;
  const model = new URLSearchParams(document.querySelector('[data-query]').dataset.query).get('model');
  const shown = element.querySelector('.hr-training');
  if (shown) shown.hidden = shown.dataset.model !== model;
  if (shown?.dataset.model === model || asked === model) return;
  asked = model;
  trigger('select');
};
document.addEventListener('turn', () => setTimeout(() => {
  asked = ''; // what was refused may be asked for again
  ask();
}, 0));
new MutationObserver(ask).observe(document.getElementById('tools'), { subtree: true, childList: true, attributes: true });
setTimeout(ask, 0);
