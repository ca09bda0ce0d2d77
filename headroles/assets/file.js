// Saves the file that stands in this component, as if its link had been pressed, and lets go of it.
watch('value', async () => {
  const link = element.querySelector('a[download]');
  if (!link) return;
  const file = await (await fetch(link.href)).blob(); // a data: address may be too long for a link
  const saved = document.createElement('a');
  saved.href = URL.createObjectURL(file);
  saved.download = link.download;
  saved.click();
  setTimeout(() => URL.revokeObjectURL(saved.href), 10_000);
});
