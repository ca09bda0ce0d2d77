// The examples name the page's own address.
for (const code of element.querySelectorAll('code')) {
  code.textContent = code.textContent.replaceAll('{url}', (location.origin + location.pathname).replace(/\/$/, ''));
}
