// The training tab; runs after panel.js, with whose cells it draws the map, dressed anew at every recorded step.
const HEAD_BYTES = 4; // a head at a point: role, and filling and score in hundredths, as `render/training.py` packs them
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
});

const settleRun = () => {
  const run = readRun();
  stop();
  if (!run) return;
  showStep(run, Number(slider().value));
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
