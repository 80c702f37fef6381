import { dockerfileFault } from './fault.ts'
import type { Heredoc } from './heredoc.ts'

/** Where a part of a joined line stood in the file. */
export interface Piece {
  /** Its offset in the joined text. */
  at: number
  line: number
  column: number
}

/** One instruction's text, its continuation lines joined. */
export interface LogicalLine {
  text: string
  pieces: Piece[]
  line: number
  column: number
  /** The comment on the lines right above. */
  comment: string[]
  hasEmptyContinuation: boolean
}

/** The place of an offset in the joined text. */
export function placeAt(pieces: readonly Piece[], offset: number): { line: number; column: number } {
  const piece = pieces.findLast(({ at }) => at <= offset)
  if (!piece) throw new RangeError('A line has a first piece.')
  return { line: piece.line, column: piece.column + offset - piece.at }
}

/**
 * Goes through a Dockerfile's lines once, as the reference joins them ("Format"): comment lines and empty ones inside an
 * instruction are left out, and an escape character that another one escapes continues nothing (BuildKit's rule).
 */
export class LineReader {
  #next = 0
  readonly #lines: readonly string[]
  readonly #file: string
  readonly #escapeChar: string

  /** `lines` without their newlines; a carriage return at their end is none of their text. */
  constructor(lines: readonly string[], file: string, escapeChar: string) {
    this.#lines = lines
    this.#file = file
    this.#escapeChar = escapeChar
  }

  /** The next instruction; undefined at the end. */
  logicalLine(): LogicalLine | undefined {
    const comment = this.#skipToText()
    if (this.#next >= this.#lines.length) return undefined
    const first = this.#lines[this.#next] ?? ''
    const indent = first.length - first.trimStart().length
    const open: LogicalLine = {
      ...{ text: '', pieces: [], comment, hasEmptyContinuation: false },
      ...{ line: this.#next + 1, column: indent + 1 },
    }
    for (let from = indent, isContinued = true; isContinued && this.#next < this.#lines.length; from = 0) {
      const raw = withoutReturn(this.#lines[this.#next] ?? '')
      const isFirst = open.pieces.length === 0
      this.#next++
      if (!isFirst && /^\s*#/.test(raw)) continue
      if (!isFirst && raw.trim() === '') {
        open.hasEmptyContinuation = true
        continue
      }
      isContinued = this.#append(open, raw, from)
    }
    return open
  }

  /** The lines of a here-document up to its name. Throws with the place of its instruction when it does not end. */
  heredoc(announced: Omit<Heredoc, 'text'>, opener: { line: number; column: number }): Heredoc {
    const from = this.#next
    while (this.#next < this.#lines.length) {
      const line = withoutReturn(this.#lines[this.#next++] ?? '')
      if ((announced.stripsTabs ? line.replace(/^\t+/, '') : line) !== announced.name) continue
      const body = this.#lines.slice(from, this.#next - 1)
      return { ...announced, text: body.map(inside => `${inside}\n`).join('') }
    }
    const why = `The here-document ${announced.name} does not end: a line with ${announced.name} alone has to follow`
    throw dockerfileFault({ ...opener, file: this.#file }, why)
  }

  #skipToText(): string[] {
    let comment: string[] = []
    for (; this.#next < this.#lines.length; this.#next++) {
      const text = (this.#lines[this.#next] ?? '').trim()
      if (text.startsWith('#')) comment.push(text.slice(1).trim())
      else if (text === '') comment = []
      else break
    }
    return comment
  }

  /** Whether the instruction goes on. */
  #append(open: LogicalLine, raw: string, from: number): boolean {
    const { start, end } = escapesAtEnd(raw, this.#escapeChar)
    const isContinued = end - start === 1
    open.pieces.push({ at: open.text.length, line: this.#next, column: from + 1 })
    open.text += raw.slice(from, isContinued ? start : undefined)
    return isContinued
  }
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line
}

/** Where the escape characters stand that a line ends in, but for blanks. Linear, as no regular expression of it is. */
function escapesAtEnd(line: string, escapeChar: string): { start: number; end: number } {
  let end = line.length
  while (end > 0 && ' \t'.includes(line[end - 1] ?? '')) end--
  let start = end
  while (start > 0 && line[start - 1] === escapeChar) start--
  return { start, end }
}
