// One delegated listener a part: Gradio patches the DOM in place, so the buttons come and go under it.
const whole = (selector) => [...document.querySelectorAll(selector)];

// the head's page may lie out of sight of the button that opens it: on a phone, and from the cards
const bringIntoSight = (view) => {
  const top = view?.getBoundingClientRect().top;
  if (top >= 0 && top < window.innerHeight * 0.7) return;
  const isStill = matchMedia('(prefers-reduced-motion: reduce)').matches;
  view?.scrollIntoView({ behavior: isStill ? 'auto' : 'smooth' });
};

// ---- buttons: a head, a role's suggested prompt, an example
const press = (button) => {
  const { layer, head, role, side, prompt } = button.dataset;
  if (button.dataset.filter) return filter(button);
  if (button.dataset.picked) return usePicked(button.dataset.picked);
  if (button.dataset.out) return takeOut(button.dataset.out, button.dataset.method);
  if (button.dataset.try) return trigger('submit', { try: button.dataset.try, prompt });
  if (prompt !== undefined) return trigger('submit', { prompt });
  if (layer === undefined) return;
  trigger('submit', { layer: Number(layer), head: Number(head), role, side });
  bringIntoSight(document.getElementById('view'));
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (event.shiftKey && button.matches('.hr-cell')) pick(button);
  else press(button);
});

// ---- the open head is marked wherever it stands: the head's page says which it is
const mark = () => {
  const open = document.querySelector('.hr-view')?.dataset;
  if (!open) return;
  const isOpen = (button) => button.dataset.layer === open.layer && button.dataset.head === open.head;
  for (const button of whole('.hr-head')) button.setAttribute('aria-pressed', isOpen(button));
  for (const cell of whole('.hr-cell')) {
    cell.setAttribute('aria-selected', isOpen(cell));
    if (!cell.matches(':focus')) cell.tabIndex = isOpen(cell) ? 0 : -1;
  }
};

// ---- the map: filters, arrow keys, names
const wanted = new Set(); // roles; they outlive the buttons, which every new text brings anew
const filter = ({ dataset: { filter: role } }) => {
  if (!wanted.delete(role)) wanted.add(role);
  dim();
};
const dim = () => {
  for (const button of element.querySelectorAll('.hr-filter')) button.setAttribute('aria-pressed', wanted.has(button.dataset.filter));
  for (const cell of element.querySelectorAll('.hr-cell')) {
    cell.classList.toggle('is-off', wanted.size > 0 && !wanted.has(cell.dataset.role));
  }
};

// ---- heads that are picked to be taken out together; they outlive the map that they were picked on, not the model
const picked = new Set();
let pickedOn = '';
const labelOf = ({ dataset: { layer, head } }) => `L${layer}H${head}`;
const pick = (cell) => {
  if (!picked.delete(labelOf(cell))) picked.add(labelOf(cell));
  showPicked();
};
const showPicked = () => {
  const bar = element.querySelector('.hr-picked');
  if (!bar) return;
  const model = element.querySelector('.hr-grid').getAttribute('aria-label');
  if (model !== pickedOn) picked.clear();
  pickedOn = model;
  for (const cell of element.querySelectorAll('.hr-cell')) cell.classList.toggle('is-picked', picked.has(labelOf(cell)));
  bar.hidden = picked.size === 0;
  bar.querySelector('span').textContent = `${[...picked].join(', ')} picked.`;
};
const usePicked = (what) => {
  if (what === 'out') takeOut([...picked].join(','));
  picked.clear();
  showPicked();
};
const takeOut = (out, method) => {
  trigger('submit', { out, method });
  bringIntoSight(document.getElementById('causes'));
};

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const stepInMap = (cell, [down, right]) => {
  const column = [...element.querySelectorAll(`.hr-cell[data-head="${Number(cell.dataset.head) + right}"]`)];
  // not by the layer's number: layers without a pattern have no cells
  const next = right ? column.find((other) => other.dataset.layer === cell.dataset.layer) : column[column.indexOf(cell) + down];
  if (!next) return;
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
};
const name = (event) => {
  const cell = event.target.closest('.hr-cell');
  if (cell) element.querySelector('.hr-name').textContent = cell.getAttribute('aria-label');
};
element.addEventListener('pointerover', name);
element.addEventListener('focusin', name);

// ---- the heatmap: a row or a column as bars
const patterns = new WeakMap(); // figure -> its cells, as long as it shows the same ones
const patternOf = (figure) => {
  const known = patterns.get(figure);
  if (known?.source === figure.dataset.pattern) return known;
  const bytes = Uint8Array.from(atob(figure.dataset.pattern), (character) => character.charCodeAt(0));
  const tokens = JSON.parse(figure.dataset.tokens);
  const at = (query, key) => (key <= query ? bytes[(query * (query + 1)) / 2 + key] / 255 : 0);
  const pattern = { source: figure.dataset.pattern, tokens, at, count: tokens.length };
  patterns.set(figure, pattern);
  return pattern;
};
const percent = (share) => { // as core/words.py says it
  if (share > 0 && share <= 0.005) return '<1%';
  if (share >= 0.995 && share < 0.99995) return '>99%';
  return `${Math.round(share * 100)}%`;
};
const told = ({ tokens, at, count }, axis, chosen) => {
  const others = [...Array(count).keys()].map((other) => [other, axis === 'queries' ? at(chosen, other) : at(other, chosen)]);
  const most = others.filter(([, share]) => share >= 0.005).sort((a, b) => b[1] - a[1]).slice(0, 3);
  const list = most.map(([other, share]) => `“${tokens[other]}” (${other + 1}) ${percent(share)}`).join(', ');
  const token = `“${tokens[chosen]}” (${chosen + 1})`;
  return axis === 'queries' ? `${token} looks most at ${list}.` : list ? `${token} is looked at most by ${list}.`
    : `Nothing looks at ${token}.`;
};
const show = (figure, query, key) => {
  const pattern = patternOf(figure);
  const { count, at } = pattern;
  const positions = [...Array(count).keys()];
  const bars = (of, path) => figure.querySelector(of).setAttribute('d', path);
  bars('.hr-key-bars path', query === null ? '' : positions.map((k) => `M${k + 0.1} 1v${-at(query, k)}h.8v${at(query, k)}z`).join(''));
  bars('.hr-query-bars path', key === null ? '' : positions.map((q) => `M0 ${q + 0.1}h${at(q, key)}v.8h${-at(q, key)}z`).join(''));
  bars('.hr-cross', (query === null ? '' : `M0 ${query}h${count}v1h${-count}z`) + (key === null ? '' : `M${key} 0v${count}h1v${-count}z`));
  const said = figure.closest('.hr-figure').querySelector('.hr-said');
  if (query !== null && key !== null) {
    const share = key > query ? 'cannot look ahead to' : `gives ${percent(at(query, key))} of its attention to`;
    said.textContent = `“${pattern.tokens[query]}” (${query + 1}) ${share} “${pattern.tokens[key]}” (${key + 1}).`;
  } else {
    said.textContent = query !== null ? told(pattern, 'queries', query) : told(pattern, 'keys', key);
  }
  for (const [axis, chosen] of [['queries', query], ['keys', key]]) {
    const slider = figure.querySelector(`[data-axis=${axis}]`);
    slider.style.setProperty('--chosen', chosen === null ? 0 : chosen + 1);
    for (const label of slider.children) label.classList.toggle('is-chosen', Number(label.style.getPropertyValue('--at')) === chosen + 1);
    if (chosen === null) continue;
    slider.setAttribute('aria-valuenow', chosen + 1);
    slider.setAttribute('aria-valuetext', told(pattern, axis, chosen));
  }
};
const index = (position, start, length, count) => Math.min(count - 1, Math.max(0, Math.floor(((position - start) / length) * count)));
element.addEventListener('pointermove', (event) => {
  const figure = event.target.closest('.hr-pattern');
  const on = event.target.closest('[data-axis], .hr-square');
  if (!figure || !on) return;
  const { count } = patternOf(figure);
  const box = figure.querySelector('.hr-square').getBoundingClientRect();
  const query = on.dataset.axis === 'keys' ? null : index(event.clientY, box.top, box.height, count);
  const key = on.dataset.axis === 'queries' ? null : index(event.clientX, box.left, box.width, count);
  show(figure, query, key);
});
const SLIDES = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
const slide = (slider, step) => {
  const figure = slider.closest('.hr-pattern');
  const { count } = patternOf(figure);
  const chosen = Math.min(count, Math.max(1, Number(slider.getAttribute('aria-valuenow')) + step)) - 1;
  show(figure, slider.dataset.axis === 'queries' ? chosen : null, slider.dataset.axis === 'keys' ? chosen : null);
};
element.addEventListener('focusin', (event) => {
  const slider = event.target.closest('[data-axis]');
  if (slider) slide(slider, 0);
});

element.addEventListener('keydown', (event) => {
  const cell = event.target.closest('.hr-cell');
  const slider = event.target.closest('[data-axis]');
  if (cell && event.key in STEPS) stepInMap(cell, STEPS[event.key]);
  else if (cell && event.key === 'x') pick(cell);
  else if (slider && event.key in SLIDES) slide(slider, SLIDES[event.key]);
  else return;
  event.preventDefault();
});

// ---- after every change of this part; a page saved as a file has no `watch`
const settle = () => { mark(); dim(); showPicked(); };
if (typeof watch === 'function') watch('value', settle);
settle();
