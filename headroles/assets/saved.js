// A page saved as a file. The sheets know dark by a class, as Gradio does; here the reader's system decides, and may change its mind.
const dark = matchMedia('(prefers-color-scheme: dark)');
const follow = () => document.documentElement.classList.toggle('dark', dark.matches);
dark.addEventListener('change', follow);
follow();
