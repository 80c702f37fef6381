/**
 * Names of files are bytes, in any encoding or none. They are held as Latin-1 text, one character a byte, as tars are
 * read and written: nothing is lost, and text functions work on them.
 */
export function latin1(text: string): string {
  return Buffer.from(text).toString('latin1')
}

/** For a call of the file system. */
export function bytesOf(path: string): Buffer {
  return Buffer.from(path, 'latin1')
}

/** As a person may read it. */
export function readable(path: string): string {
  return bytesOf(path).toString()
}
