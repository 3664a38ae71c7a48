/** Files for the user, made in the page: nobody else sees them. */

/** Give the user a file, as a download. */
export function saveFile(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Give the user a table, as a download. */
export function saveTable(name: string, text: string): void {
  saveFile(name, new Blob([text], { type: 'text/csv' }));
}
