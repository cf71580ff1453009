/**
 * Configured text in the form of header lists: UTF-8, a character a byte. What is configured is compared with, and written
 * among, values of that form, where `é` is two characters.
 */
export function wireText(text: string): string {
  for (let index = 0; index < text.length; index++)
    if (text.charCodeAt(index) > 0x7f) return Buffer.from(text, 'utf8').toString('latin1');
  return text;
}
