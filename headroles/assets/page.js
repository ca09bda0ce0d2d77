// The row of links and downloads. The server writes the place into data-query; here it becomes the page's address.
const OF_THE_BROWSER = ['__theme', 'embed']; // carried along, but no part of the place
const current = () => new URLSearchParams(location.search);
const query = () => element.querySelector('[data-query]').dataset.query;
const arrival = location.search;
const FIRST_TAB = 'explore';
let tab = FIRST_TAB;
let step = ''; // of the training run; empty for its last
let isGoingBack = false;
const contents = () => `${query()}${tab === FIRST_TAB ? '' : `&tab=${tab}`}${tab === 'training' && step ? `&step=${step}` : ''}`;
let written = contents(); // what the page shows before anybody did anything stays out of the address
const open = () => document.body.classList.remove('hr-opening');
const readStep = () => {
  if (current().get('tab') === 'training') step = /^\d{1,12}$/.exec(current().get('step'))?.[0] ?? '';
};
readStep();

document.body.classList.toggle('hr-sizes-fields', CSS.supports('field-sizing', 'content'));
document.body.classList.toggle('hr-embed', current().get('embed') === '1');
document.body.classList.toggle('hr-one-tab', !current().has('tab')); // a frame of a comparison needs a way back to it
if ([...current().keys()].some((name) => !OF_THE_BROWSER.includes(name) && !name.startsWith('_'))) {
  document.body.classList.add('hr-opening'); // until what the link names is there, or cannot be had
  setTimeout(open, 5_000);
  setTimeout(() => {
    new MutationObserver(() => document.querySelector('#message .hr-message') && open())
      .observe(document.getElementById('message'), { childList: true, subtree: true });
    trigger('submit', { query: arrival });
  }, 0);
}

const whole = (extra) => {
  const parameters = new URLSearchParams(contents());
  for (const [name, value] of Object.entries(extra)) if (value) parameters.set(name, value);
  return `${location.origin}${location.pathname}?${parameters}`;
};

// What was typed since the last question outlives its answer; and what was typed and not yet explored outlives a reload: when a
// server comes back, Gradio loads the page again.
const box = (name) => document.querySelector(`#${name} :is(textarea, input)`);
const sentence = () => box('prompt');
const typed = {}; // by box: the text, and when
window.addEventListener('beforeunload', () => {
  const text = sentence().value;
  if (text !== new URLSearchParams(query()).get('prompt')) history.replaceState({ typed: text }, '');
});
if (history.state?.typed !== undefined) typed.prompt = { text: history.state.typed, at: Infinity };
document.addEventListener('input', ({ target }) => {
  const name = target.closest?.('#prompt, #other-prompt')?.id;
  if (name) typed[name] = { text: target.value, at: performance.now() };
});
const typeAgain = () => {
  for (const [name, { text, at }] of Object.entries(typed)) {
    typed[name].at = Math.min(at, performance.now()); // from before a reload it is until the first answer, no longer
    if (at < (window.headrolesAsked ?? 0) || box(name).value === text) continue;
    box(name).value = text;
    box(name).dispatchEvent(new Event('input', { bubbles: true }));
  }
};
history.replaceState(null, '');
if (!document.body.classList.contains('hr-opening')) setTimeout(typeAgain, 0);

// While something else is picked or typed, the result below is still of what it was.
const showAge = () => {
  const here = new URLSearchParams(query());
  const model = document.querySelector('#model input')?.value;
  if (model === undefined || !sentence()) return;
  const isOther = model !== here.get('model') && !model.startsWith(`${here.get('model')} (`);
  const isOld = isOther || sentence().value !== here.get('prompt');
  document.body.classList.toggle('hr-old', isOld);
  element.querySelector('.hr-stale').textContent = isOld ? `Below is still the answer ${isOther ? `of ${here.get('model')}` : 'to the last sentence'}; Explore brings the new one.` : '';
};
document.addEventListener('input', ({ target }) => target.closest?.('#ask') && showAge());
// the line on the model follows a pick, which no event of the browser's own tells; it may not be there yet
const watchModel = () => {
  const about = document.getElementById('about');
  if (!about) return setTimeout(watchModel, 100);
  new MutationObserver(showAge).observe(about, { childList: true, subtree: true, characterData: true });
};
watchModel();

const write = (isSmall = false) => {
  const wasGoingBack = isGoingBack;
  isGoingBack = false;
  element.querySelector('.hr-back').href = whole({ __theme: current().get('__theme') });
  if (contents() === written) return;
  written = contents();
  const address = whole({ __theme: current().get('__theme'), embed: current().get('embed') });
  if (address === location.href) return;
  // in a frame, a step back would be one of the page around it
  const isQuiet = isSmall || wasGoingBack || window.top !== window || !current().has('model');
  history[isQuiet ? 'replaceState' : 'pushState'](null, '', address);
};
write();
watch('value', () => {
  tab = element.querySelector('[data-tab]').dataset.tab || tab;
  open();
  setTimeout(typeAgain, 0);
  setTimeout(showAge, 0);
  write();
});
// A tab that the visitor turned to, or, after the answer that turned the page, the page by itself.
document.addEventListener('turn', ({ detail }) => setTimeout(() => {
  tab = detail;
  write();
}, 0));
// A slider on its way is no place to go back to.
document.addEventListener('step', ({ detail }) => {
  step = detail;
  if (!isGoingBack) write(true);
});
window.addEventListener('popstate', () => {
  isGoingBack = true;
  readStep();
  trigger('submit', { query: location.search });
});

// Gradio's own notices (the server is gone) are a button with a button in it, which screen readers cannot take apart.
setTimeout(() => {
  const notices = document.querySelector('.toast-wrap');
  if (!notices) return;
  new MutationObserver(() => {
    for (const header of notices.querySelectorAll('.toast-header')) for (const name of ['role', 'tabindex']) header.removeAttribute(name);
  }).observe(notices, { childList: true });
}, 0);

const say = (text) => { element.querySelector('.hr-copied').textContent = text; };

const copy = async (kind) => {
  const theme = current().get('__theme');
  const link = whole({ __theme: theme });
  const source = whole({ embed: '1', __theme: theme }).replaceAll('&', '&amp;').replaceAll('"', '&quot;');
  const text = kind === 'link' ? link
    : `<iframe src="${source}" width="640" height="900" style="border:0" title="headroles: attention heads by role"></iframe>`;
  try {
    await navigator.clipboard.writeText(text);
    say(kind === 'link' ? 'Link copied.' : 'Embed code copied.');
  } catch { // a frame or an old browser may not let us
    say('');
    const field = document.createElement('input');
    field.readOnly = true;
    field.value = text;
    field.setAttribute('aria-label', 'Copy this text');
    element.querySelector('.hr-copied').append(field);
    field.select();
  }
};

const turnTheme = () => {
  const isDark = document.body.classList.toggle('dark');
  const parameters = current();
  parameters.set('__theme', isDark ? 'dark' : 'light');
  history.replaceState(null, '', `${location.pathname}?${parameters}`);
  say(isDark ? 'Dark.' : 'Light.');
};

document.addEventListener('click', async ({ target }) => {
  const button = target.closest?.('[data-copy-cite]');
  if (!button) return;
  const said = button.previousElementSibling;
  const link = whole({});
  if (!said.textContent.includes(link)) {
    said.textContent = 'bibtex' in said.dataset
      ? said.textContent.replace(/(,\n  url = .*)?\n}$/, () => `,\n  url = {${link}}\n}`)
      : `${said.textContent} ${link}`;
  }
  try {
    await navigator.clipboard.writeText(said.textContent);
    button.nextElementSibling.textContent = 'Copied.';
  } catch { // a frame or an old browser may not let us: it stands there, to be marked
    button.nextElementSibling.textContent = 'It cannot be copied from here; mark the text above.';
  }
});

element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.copy) copy(button.dataset.copy);
  if ('theme' in button.dataset) turnTheme();
  if (button.dataset.download) trigger('select', { download: button.dataset.download }); // the menu stays, for the next one
});
