import { suggestion } from '#shared/nearest.ts'
import { dockerfileFault } from './fault.ts'
import { announcedIn, type Heredoc } from './heredoc.ts'
import { type LineReader, type LogicalLine, type Piece, placeAt } from './logical-lines.ts'

/** One instruction with its continuation lines joined; nothing is expanded yet. Lines and columns count from 1. */
export interface Instruction {
  /** In capitals. */
  keyword: string
  /** The keyword as it was written. */
  written: string
  flags: Flag[]
  /** Everything behind keyword and flags. */
  text: string
  /** Set when `text` is a JSON array of strings (the exec form). */
  json: string[] | undefined
  heredocs: Heredoc[]
  line: number
  column: number
  source: Source
}

export interface Flag {
  name: string
  /** Undefined where none was written. */
  value: string | undefined
}

/** What faults and warnings need to know of how an instruction was written. */
export interface Source {
  joined: string
  pieces: Piece[]
  comment: string[]
  hasEmptyContinuation: boolean
}

export const KEYWORDS = [
  ...['ADD', 'ARG', 'CMD', 'COPY', 'ENTRYPOINT', 'ENV', 'EXPOSE', 'FROM', 'HEALTHCHECK', 'LABEL', 'MAINTAINER'],
  ...['ONBUILD', 'RUN', 'SHELL', 'STOPSIGNAL', 'USER', 'VOLUME', 'WORKDIR'],
]
const WITH_HEREDOCS = ['ADD', 'COPY', 'RUN']
/** Low enough for work that grows with their square. */
const FLAGS_LIMIT = 100

/** The next instruction; undefined at the end of the file. Throws `build.dockerfile-invalid`. */
export function readInstruction(reader: LineReader, file: string, escapeChar: string): Instruction | undefined {
  const logical = reader.logicalLine()
  if (!logical) return undefined
  const { text: joined, line, column } = logical
  const { written, rest } = keywordOf(joined)
  const keyword = written.toUpperCase()
  const place = { file, line, column }
  if (!KEYWORDS.includes(keyword)) {
    const help = suggestion(keyword, KEYWORDS) || ': the Dockerfile reference lists what there is'
    throw dockerfileFault(place, `Unknown instruction: ${written}${help}`.replace(/\?$/, ''))
  }
  const { flags, text } = splitFlags(rest, escapeChar)
  if (flags.length > FLAGS_LIMIT) throw dockerfileFault(place, `There are more than ${FLAGS_LIMIT} flags`)
  const json = takesJson(keyword) ? jsonStrings(text, place) : undefined
  const heredocs = json === undefined ? heredocsOf(reader, keyword, text, { line, column }) : []
  const source = sourceOf(logical)
  return { keyword, written, flags, text, json, heredocs, line, column, source }
}

function sourceOf({ text, pieces, comment, hasEmptyContinuation }: LogicalLine): Source {
  return { joined: text, pieces, comment, hasEmptyContinuation }
}

function keywordOf(joined: string): { written: string; rest: string } {
  const text = joined.trim()
  const end = text.search(/\s/)
  return end < 0 ? { written: text, rest: '' } : { written: text.slice(0, end), rest: text.slice(end).trim() }
}

/** The place of `part`, which the instruction has as it is, right behind `behind`; of the instruction itself where it has not. */
export function placeOf(
  { line, column, source }: Pick<Instruction, 'line' | 'column' | 'source'>,
  part: string | undefined,
  behind = '',
): { line: number; column: number } {
  const offset = part === undefined || part === '' ? -1 : source.joined.indexOf(behind + part)
  return offset < 0 ? { line, column } : placeAt(source.pieces, offset + behind.length)
}

/** Words that begin with `--`, before everything else; quotes keep blanks in a value. `--` alone ends them. */
function splitFlags(rest: string, escapeChar: string): { flags: Flag[]; text: string } {
  const flags: Flag[] = []
  let at = 0
  while (flags.length <= FLAGS_LIMIT && rest.startsWith('--', at)) {
    const { word, end } = flagWord(rest, at, escapeChar)
    at = end
    while (at < rest.length && /\s/.test(rest[at] ?? '')) at++
    if (word === '--') break
    const equals = word.indexOf('=')
    flags.push(
      equals < 0
        ? { name: word.slice(2), value: undefined }
        : { name: word.slice(2, equals), value: word.slice(equals + 1) },
    )
  }
  return { flags, text: rest.slice(at) }
}

function flagWord(text: string, from: number, escapeChar: string): { word: string; end: number } {
  let word = ''
  let quote = ''
  let at = from
  for (; at < text.length; at++) {
    const char = text[at] ?? ''
    if (char === escapeChar && at + 1 < text.length) word += text[++at]
    else if (quote === '' && /\s/.test(char)) break
    else if (char === quote) quote = ''
    else if (quote === '' && (char === '"' || char === "'")) quote = char
    else word += char
  }
  return { word, end: at }
}

const takesJson = (keyword: string) =>
  ['ADD', 'CMD', 'COPY', 'ENTRYPOINT', 'HEALTHCHECK', 'RUN', 'SHELL', 'VOLUME'].includes(keyword)

/** An array of JSON whose items are no strings is a fault; what is no JSON is the shell form, as Docker reads it. */
export function jsonStrings(text: string, place: { file: string; line: number; column: number }): string[] | undefined {
  if (!text.startsWith('[')) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!Array.isArray(value)) return undefined
  if (value.every(item => typeof item === 'string')) return value
  throw dockerfileFault(place, 'An array here may hold strings alone: write each item in double quotes')
}

function heredocsOf(
  reader: LineReader,
  keyword: string,
  text: string,
  place: { line: number; column: number },
): Heredoc[] {
  const inner = keyword === 'ONBUILD' ? keywordOf(text).written.toUpperCase() : keyword
  if (!WITH_HEREDOCS.includes(inner)) return []
  if (keyword === 'ONBUILD' && keywordOf(text).rest.startsWith('[')) return []
  return announcedIn(text).map(found => reader.heredoc(found, place))
}
