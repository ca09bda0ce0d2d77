// The atlas tab: drawn once, when it is looked at.
let asked = false;
const ask = () => {
  if (asked || element.querySelector('.hr-atlas') || !element.checkVisibility()) return;
  asked = true;
  trigger('select');
};
document.addEventListener('turn', () => setTimeout(() => {
  asked = false; // what was refused may be asked for again
  ask();
}, 0));
new MutationObserver(ask).observe(document.getElementById('tools'), { subtree: true, childList: true, attributes: true });
setTimeout(ask, 0);
