/**
 * Paragraphs of `Name: value` lines with an empty line between them, as dpkg and Python's metadata have them (deb-control(5), RFC 822):
 * a line that begins with a space goes on with the value before it. The first value of a name counts. Pure.
 */
export function* stanzasOf(text: string): Generator<Map<string, string>> {
  let stanza = new Map<string, string>()
  let last: string | undefined
  for (const line of linesOf(text)) {
    if (line.trim() === '') {
      if (stanza.size > 0) yield stanza
      stanza = new Map()
      last = undefined
      continue
    }
    const isMore = line.startsWith(' ') || line.startsWith('\t')
    const colon = line.indexOf(':')
    if (isMore && last !== undefined) stanza.set(last, `${stanza.get(last)}\n${line.trim()}`)
    else if (!isMore && colon > 0) {
      last = line.slice(0, colon).toLowerCase()
      if (!stanza.has(last)) stanza.set(last, line.slice(colon + 1).trim())
      else last = undefined
    }
  }
  if (stanza.size > 0) yield stanza
}

/** Without an array of them all. */
export function* linesOf(text: string): Generator<string> {
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\n', at)
    const stop = end === -1 ? text.length : end
    yield text.slice(at, text[stop - 1] === '\r' && stop > at ? stop - 1 : stop)
    at = stop + 1
  }
}
