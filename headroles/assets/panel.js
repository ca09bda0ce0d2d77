// One delegated listener a component: Gradio patches the DOM in place, so the buttons come and go under it.
const choose = (button) => {
  trigger('select', { index: [Number(button.dataset.layer), Number(button.dataset.head)], value: button.dataset.role });
  // on a phone the head's view lies below the cards, out of sight
  if (window.innerWidth < 768) document.getElementById('view')?.scrollIntoView();
};

element.addEventListener('click', (event) => {
  const head = event.target.closest('[data-layer]');
  if (head) return choose(head);
  const offer = event.target.closest('[data-try]');
  if (offer) trigger('submit', { role: offer.dataset.try });
});

// In the map, arrow keys move between heads, so that Tab passes it in one step.
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
element.addEventListener('keydown', (event) => {
  const cell = event.target.closest('.hr-cell');
  const step = STEPS[event.key];
  if (!cell || !step) return;
  event.preventDefault();
  const [layer, head] = [Number(cell.dataset.layer) + step[0], Number(cell.dataset.head) + step[1]];
  const next = element.querySelector(`.hr-cell[data-layer="${layer}"][data-head="${head}"]`);
  if (!next) return;
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
