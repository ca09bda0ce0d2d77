// One delegated listener a part: Gradio patches the DOM in place, so the buttons come and go under it.
const isAlive = typeof watch === 'function'; // a page saved as a file has nobody to answer
const whole = (selector) => [...document.querySelectorAll(selector)];

// a token in a sentence; one from right to left is held apart, as `core/text/tokens.py` does, else what follows changes places with it
const TURNED = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const inASentence = (token) => TURNED.test(token) ? `\u2068${token}\u2069` : token;
const numbered = (tokens, at) => `“${inASentence(tokens[at])}” (${at + 1})`;

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
  if (button.matches('.hr-fold')) return fold(button);
  if (button.matches('.hr-token')) return showLooks(button);
  if (button.dataset.filter) return filter(button);
  if ('view' in button.dataset) return look(button.dataset.view);
  if ('picking' in button.dataset) return button.setAttribute('aria-pressed', isPicking = !isPicking);
  if ('enlarge' in button.dataset) return enlarge(button);
  if (button.dataset.picked) return usePicked(button.dataset.picked);
  if (button.dataset.out) return takeOut(button.dataset.out, button.dataset.method, prompt);
  if (button.dataset.try) {
    trigger('submit', { try: button.dataset.try, prompt });
    return bringIntoSight(document.getElementById('text'));
  }
  if (prompt !== undefined) {
    trigger('submit', { prompt });
    return bringIntoSight(document.getElementById('text'));
  }
  if (layer === undefined) return;
  trigger('submit', { layer: Number(layer), head: Number(head), role, side });
  bringIntoSight(document.getElementById('view'));
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if ((event.shiftKey || isPicking) && button.matches('.hr-cell')) pick(button);
  else press(button);
});

// ---- the open head is marked wherever it stands: the head's page says which it is
const mark = () => {
  const open = document.querySelector('.hr-view')?.dataset;
  if (!open) return;
  const isOpen = (button) => button.dataset.layer === open.layer && button.dataset.head === open.head;
  for (const button of whole('.hr-head, .hr-chip')) button.setAttribute('aria-pressed', isOpen(button));
  for (const cell of whole('.hr-cell')) {
    cell.setAttribute('aria-selected', isOpen(cell));
    if (!cell.matches(':focus')) cell.tabIndex = isOpen(cell) ? 0 : -1;
  }
};

// ---- cards: what is opened stays open, whatever text comes next
const opened = new Set(); // roles
const fold = (button) => {
  const { role } = button.closest('.hr-card').dataset;
  if (!opened.delete(role)) opened.add(role);
  showOpened();
};
const showOpened = () => {
  for (const card of element.querySelectorAll('.hr-card')) {
    const isOpen = opened.has(card.dataset.role);
    card.classList.toggle('is-open', isOpen);
    card.querySelector('.hr-fold').setAttribute('aria-expanded', isOpen);
    card.querySelector('.hr-more').hidden = !isOpen;
  }
};
// what was asked of a role's heads beyond where they look stands on its card, too
const climb = () => {
  const asked = document.querySelector('.hr-causes')?.dataset;
  for (const rung of whole('.hr-rung[data-rung]')) {
    const found = asked?.out === rung.dataset.out ? asked[rung.dataset.rung] : '';
    rung.firstChild.data = `${rung.dataset.rung} ${found || '?'}`;
    rung.classList.toggle('is-known', Boolean(found));
  }
  for (const line of whole('[data-held]')) {
    const held = asked?.out === line.dataset.held ? asked.told : '';
    if (line.textContent !== held) line.textContent = held;
  }
};

// ---- the sentence: at a token that a role is seen at, arcs to where its heads look, and which heads
const TOLD = 3; // heads of a token that are named
const drawn = (name) => document.createElementNS(document.querySelector('svg').namespaceURI, name);
const arc = (from, to, role, strength) => {
  const path = drawn('path');
  const isBeside = Math.abs(from.top - to.top) < 4;
  const rise = isBeside ? 9 + Math.min(11, Math.abs(from.middle - to.middle) / 14) : 16;
  const end = isBeside ? to.top : to.bottom;
  path.setAttribute('d', `M${from.middle} ${from.top}C${from.middle} ${from.top - rise} ${to.middle} ${end + (isBeside ? -rise : rise)} ${to.middle} ${end}`);
  path.setAttribute('stroke', role.color);
  path.setAttribute('stroke-width', 1 + 3 * strength);
  return path;
};
const chip = ([layer, head, key, , share, otherwise], role, words) => {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', className: 'hr-chip', title: `${otherwise} otherwise`, disabled: !isAlive });
  Object.assign(button.dataset, { layer, head, role: role.role });
  button.style.setProperty('--role', role.color);
  button.textContent = `L${layer}H${head} → ${inASentence(words[key])} ${share}`;
  return button;
};
const showLooks = (token) => {
  const strip = token.closest('.hr-strip');
  const items = [...strip.querySelectorAll('li')];
  const words = items.map((item) => item.querySelector('bdi').textContent);
  const at = items.indexOf(token.closest('li'));
  const edge = strip.getBoundingClientRect();
  const place = (item) => {
    const { left, right, top, bottom } = item.getBoundingClientRect();
    return { middle: (left + right) / 2 - edge.left + strip.scrollLeft, top: top - edge.top + strip.scrollTop, bottom: bottom - edge.top + strip.scrollTop };
  };
  const roles = JSON.parse(token.dataset.looks);
  const keys = new Set(roles.flatMap((role) => role.heads.map(([, , key]) => key)));
  for (const other of strip.querySelectorAll('.hr-token')) other.setAttribute('aria-pressed', other === token);
  items.forEach((item, position) => item.classList.toggle('is-looked-at', keys.has(position)));
  const arcs = strip.querySelector('.hr-arcs');
  const list = strip.querySelector('ol');
  Object.assign(arcs.style, { width: `${list.offsetLeft + list.offsetWidth}px`, height: `${list.offsetTop + list.offsetHeight}px` });
  arcs.replaceChildren(...roles.flatMap((role) => {
    const strongest = new Map();
    for (const [, , key, strength] of role.heads) strongest.set(key, Math.max(strength, strongest.get(key) ?? 0));
    return [...strongest].map(([key, strength]) => arc(place(items[at]), place(items[key]), role, strength));
  }));
  element.querySelector('.hr-looks').replaceChildren(...roles.map((role) => {
    const line = document.createElement('p');
    const more = role.count - Math.min(TOLD, role.heads.length);
    line.append(`${numbered(words, at)}: ${role.name}, `, ...role.heads.slice(0, TOLD).flatMap((head) => [chip(head, role, words), ' ']), more > 0 ? `and ${more} more` : '');
    return line;
  }));
  mark();
};
const settleStrip = () => {
  const tokens = [...element.querySelectorAll('.hr-token')];
  const chosen = tokens.find((token) => token.getAttribute('aria-pressed') === 'true') ?? tokens.at(-1);
  if (chosen) showLooks(chosen);
};
const overToken = (event) => {
  const token = event.target.closest('.hr-token');
  if (token && token.getAttribute('aria-pressed') !== 'true') showLooks(token);
};
element.addEventListener('pointerover', overToken);
element.addEventListener('focusin', overToken);
if (element.querySelector('.hr-answer')) new ResizeObserver(() => requestAnimationFrame(settleStrip)).observe(element);

// ---- a head in a map: its button, and what it looks like there, filled by so many hundredths
const makeCell = (layer, head) => {
  const cell = document.createElement('button');
  Object.assign(cell, { type: 'button', className: 'hr-cell', tabIndex: -1 });
  Object.assign(cell.dataset, { layer, head });
  cell.setAttribute('role', 'gridcell');
  cell.setAttribute('aria-selected', false);
  const shape = drawn('svg');
  shape.setAttribute('viewBox', '0 0 1 1');
  shape.append(drawn('use'));
  cell.append(shape);
  return cell;
};
const dress = (cell, { name, color, told, filling, rests = false, state = '', shapes = 'hr' }) => {
  cell.classList.toggle('is-resting', Boolean(rests));
  Object.assign(cell.dataset, { role: name, state });
  cell.setAttribute('aria-label', `${labelOf(cell)}: ${told}`);
  cell.style.setProperty('--role', color);
  cell.style.setProperty('--here', (filling / 100).toFixed(2));
  cell.querySelector('use').setAttribute('href', `#${shapes}-${name}`);
  return cell;
};
const labelOf = ({ dataset: { layer, head } }) => `L${layer}H${head}`;
const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

// ---- the map: a button for each head, made of seven bytes that say of it what `render/page/model_map.py` packs
const CELL_BYTES = 7;
const NO_SCORE = -(2 ** 15);
const FLAGS = { rests: 1, offline: 2, seen: 4, unusual: 8 };
const buildMap = () => {
  const grid = element.querySelector('.hr-grid[data-cells]');
  if (!grid || (grid.built === grid.dataset.cells && grid.querySelector('.hr-cell'))) return;
  grid.built = grid.dataset.cells;
  const { roles, states, figures, always } = JSON.parse(grid.dataset.known);
  const bytes = bytesOf(grid.dataset.cells);
  const numbers = new DataView(bytes.buffer);
  const rows = [...grid.querySelectorAll('.hr-map-row[data-layer]')];
  const heads = bytes.length / CELL_BYTES / rows.length;
  rows.forEach((row, at) => {
    for (const old of row.querySelectorAll('.hr-cell')) old.remove();
    row.append(...[...Array(heads).keys()].map((head) => {
      const start = CELL_BYTES * (at * heads + head);
      const [which, stateAt, filling, flags, figure] = bytes.subarray(start, start + 5);
      const [name, role, color] = roles[which];
      const score = numbers.getInt16(start + 5, true);
      const scored = score === NO_SCORE ? '–' : (score / 100).toFixed(2);
      const here = flags & FLAGS.offline ? always : `here ${figures[figure - 101] ?? `${figure}%`}, ${states[stateAt]}`;
      const told = states[stateAt] === 'not a role' ? role : `${role} (score ${scored}), ${here}`;
      return dress(makeCell(row.dataset.layer, head), {
        name, color, told, filling, rests: flags & FLAGS.rests, state: flags & FLAGS.seen ? 'seen' : flags & FLAGS.unusual ? 'unusual' : '',
      });
    }));
  });
};

// ---- the map: filters, arrow keys, names
const wanted = new Set(); // roles; they outlive the buttons, which every new text brings anew
const filter = ({ dataset: { filter: role } }) => {
  if (!wanted.delete(role)) wanted.add(role);
  dim();
};
let seenAs = ''; // all, what is seen here, what is unusual here, what has a role
const look = (view) => {
  seenAs = view;
  dim();
};
let layers = ''; // `12-23`, or all
const isShown = ({ dataset: { role, state } }) => (wanted.size === 0 || wanted.has(role))
  && (seenAs === '' || (seenAs === 'known' ? role !== 'other' : state === seenAs));
element.addEventListener('change', (event) => {
  if (!event.target.closest('.hr-layers')) return;
  layers = event.target.value;
  dim();
});
const dim = () => {
  for (const button of element.querySelectorAll('[data-view]')) button.setAttribute('aria-pressed', button.dataset.view === seenAs);
  const choice = element.querySelector('.hr-layers select');
  if (choice) choice.value = [...choice.options].some((option) => option.value === layers) ? layers : '';
  const [first, last] = choice?.value ? choice.value.split('-').map(Number) : [0, Infinity];
  for (const row of element.querySelectorAll('.hr-map-row[data-layer]')) row.hidden = row.dataset.layer < first || row.dataset.layer > last;
  for (const button of element.querySelectorAll('[data-filter]')) button.setAttribute('aria-pressed', wanted.has(button.dataset.filter));
  for (const cell of element.querySelectorAll('.hr-cell')) {
    cell.classList.toggle('is-off', !isShown(cell));
  }
};

// ---- heads that are picked to be taken out together; they outlive the map that they were picked on, not the model
const picked = new Set();
let isPicking = false; // by every press, for fingers
let pickedOn = '';
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
  element.querySelector('[data-picking]').setAttribute('aria-pressed', isPicking);
  bar.hidden = picked.size === 0;
  bar.querySelector('span').textContent = `${[...picked].join(', ')} picked.`;
};
const usePicked = (what) => {
  if (what === 'out') takeOut([...picked].join(','));
  picked.clear();
  showPicked();
};
const takeOut = (out, method, prompt) => {
  trigger('submit', { out, method, prompt });
  document.body.dataset.asked = out;
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
  const bytes = bytesOf(figure.dataset.pattern);
  const tokens = JSON.parse(figure.dataset.tokens);
  const at = (query, key) => (key <= query ? bytes[(query * (query + 1)) / 2 + key] / 255 : 0);
  const pattern = { source: figure.dataset.pattern, tokens, at, count: tokens.length };
  patterns.set(figure, pattern);
  return pattern;
};
const percent = (share) => { // as core/text/phrases.py says it
  if (share > 0 && share <= 0.005) return '<1%';
  if (share >= 0.995 && share < 0.99995) return '>99%';
  return `${Math.round(share * 100)}%`;
};
const told = ({ tokens, at, count }, axis, chosen) => {
  const others = [...Array(count).keys()].map((other) => [other, axis === 'queries' ? at(chosen, other) : at(other, chosen)]);
  const most = others.filter(([, share]) => share >= 0.005).sort((a, b) => b[1] - a[1]).slice(0, 3);
  const list = most.map(([other, share]) => `${numbered(tokens, other)} ${percent(share)}`).join(', ');
  const token = numbered(tokens, chosen);
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
    said.textContent = `${numbered(pattern.tokens, query)} ${share} ${numbered(pattern.tokens, key)}.`;
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
const enlarge = (button) => {
  const figure = button.closest('.hr-figure').querySelector('.hr-pattern');
  const isLarge = figure.classList.toggle('is-large');
  button.setAttribute('aria-pressed', isLarge);
  for (const axis of figure.querySelectorAll('.hr-axis')) {
    axis.labels ??= [...axis.children];
    const all = () => patternOf(figure).tokens.map((token, at) => {
      const label = document.createElement('bdi');
      label.style.setProperty('--at', at + 1);
      label.textContent = token;
      return label;
    });
    axis.replaceChildren(...(isLarge ? all() : axis.labels));
  }
};
const index = (position, start, length, count) => Math.min(count - 1, Math.max(0, Math.floor(((position - start) / length) * count)));
const point = (event) => {
  const figure = event.target.closest('.hr-pattern');
  const on = event.target.closest('[data-axis], .hr-square');
  if (!figure || !on) return;
  const { count } = patternOf(figure);
  const box = figure.querySelector('.hr-square').getBoundingClientRect();
  const query = on.dataset.axis === 'keys' ? null : index(event.clientY, box.top, box.height, count);
  const key = on.dataset.axis === 'queries' ? null : index(event.clientX, box.left, box.width, count);
  show(figure, query, key);
};
element.addEventListener('pointermove', point);
element.addEventListener('pointerdown', point); // a finger that taps moves nothing
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
// an answer that was asked for here is brought into sight once it is there, too: what came above it may have pushed it out again
const showAsked = () => {
  const found = element.querySelector('.hr-causes');
  if (!found || document.body.dataset.asked !== found.dataset.out) return;
  delete document.body.dataset.asked;
  setTimeout(() => found.scrollIntoView(), 100);
};
const settle = () => { showAsked(); buildMap(); mark(); dim(); showPicked(); showOpened(); climb(); settleStrip(); };
if (isAlive) watch('value', settle);
settle();
