import { ValidationCode, validate } from 'dockerfile-utils'
import { SlipwayError } from '#shared/errors.ts'
import { splitWords } from './words.ts'

/** One instruction with its continuation lines joined; nothing is expanded yet. Lines and columns count from 1. */
export interface Instruction {
  keyword: string
  flags: { name: string; value: string }[]
  /** Everything behind keyword and flags. */
  text: string
  /** Set when `text` is a JSON array of strings (the exec form). */
  json: string[] | undefined
  line: number
  column: number
}

export interface StageSource {
  name: string | undefined
  from: Instruction
  /** The image or earlier stage, unexpanded. */
  base: string
  instructions: Instruction[]
}

export interface Dockerfile {
  /** As the errors name it. */
  file: string
  escapeChar: string
  /** ARG instructions before the first FROM: they are known to FROM alone, until a stage asks for them. */
  globals: Instruction[]
  stages: StageSource[]
}

export interface Place {
  file: string
  line: number
  column: number
}

/** The code of every fault that a Dockerfile itself can have; `facts` are its place. */
export function dockerfileFault(
  place: Place,
  why: string,
  code: 'build.dockerfile-invalid' | 'build.instruction-unsupported' = 'build.dockerfile-invalid',
): SlipwayError {
  const { file, line, column } = place
  return new SlipwayError(code, `${file}:${line}:${column}: ${why}.`, { facts: { file, line, column } })
}

/** Far above what people write, and low enough for work that grows with their square. */
const INSTRUCTIONS_LIMIT = 10_000
const FLAGS_LIMIT = 100

/** DiagnosticSeverity of the language server protocol. */
const ERROR = 1
/** Wholly our own judgement, or advice that no build fails for. */
const NOT_FAULTS: readonly number[] = [
  ValidationCode.UNKNOWN_ADD_FLAG,
  ValidationCode.UNKNOWN_COPY_FLAG,
  ValidationCode.UNKNOWN_FROM_FLAG,
  ValidationCode.UNKNOWN_HEALTHCHECK_FLAG,
  ValidationCode.INVALID_SIGNAL,
  // It counts words in quotes as several, and knows no `.`: `interpret` judges the expanded words.
  ValidationCode.INVALID_DESTINATION,
  // Docker warns: the later stage wins.
  ValidationCode.DUPLICATE_BUILD_STAGE_NAME,
]

/**
 * Parses a Dockerfile (Docker's Dockerfile reference, "Format" and "Parser directives"). Throws
 * `build.dockerfile-invalid` with file, line and column, and `build.instruction-unsupported`. Pure.
 */
export function parseDockerfile(text: string, file: string): Dockerfile {
  const escapeChar = escapeCharOf(text)
  const instructions = readInstructions(text, file, escapeChar)
  refuseFaults(text, file, escapeChar)
  const dockerfile: Dockerfile = { file, escapeChar, globals: [], stages: [] }
  for (const instruction of instructions) addInstruction(dockerfile, instruction, { ...instruction, file })
  return dockerfile
}

/** Instructions outside a Dockerfile, as a stage has them. Throws as `parseDockerfile`. Pure. */
export function parseInstructions(text: string, file: string): Instruction[] {
  const instructions = readInstructions(text, file, DEFAULT_ESCAPE)
  refuseFaults(text, file, DEFAULT_ESCAPE, [...NOT_FAULTS, ValidationCode.NO_SOURCE_IMAGE])
  for (const instruction of instructions) refuseUnsupported(instruction, DEFAULT_ESCAPE, { ...instruction, file })
  return instructions
}

const DEFAULT_ESCAPE = '\\'

/** Parser directives are comments before everything else; whatever is none ends them. */
function escapeCharOf(text: string): string {
  for (const line of text.split(/\r?\n/)) {
    if (!/^#\s*[a-z][a-z0-9]*\s*=/i.test(line)) break
    const [, given] = /^#\s*escape\s*=\s*([\\`])\s*$/i.exec(line) ?? []
    if (given !== undefined) return given
  }
  return DEFAULT_ESCAPE
}

/** Before anything else looks at them: so the validator never sees more than is bounded here. */
function readInstructions(text: string, file: string, escapeChar: string): Instruction[] {
  const instructions: Instruction[] = []
  for (const { joined, line, column } of joinedLines(text, escapeChar)) {
    const place = { file, line, column }
    const instruction = readInstruction(joined, place)
    if (instruction.flags.length > FLAGS_LIMIT) throw dockerfileFault(place, `There are more than ${FLAGS_LIMIT} flags`)
    instructions.push(instruction)
    if (instructions.length > INSTRUCTIONS_LIMIT) {
      throw dockerfileFault(place, `There are more than ${INSTRUCTIONS_LIMIT} instructions`)
    }
  }
  return instructions
}

function refuseFaults(text: string, file: string, escapeChar: string, notFaults = NOT_FAULTS): void {
  // The validator takes an escaped escape character at a line's end for a continuation: it sees letters there.
  const lines = text.split('\n').map(line => {
    const { start, end } = escapesAtEnd(line, escapeChar)
    return end - start > 1 ? line.slice(0, start) + 'x'.repeat(end - start) + line.slice(end) : line
  })
  const seen = lines.join('\n')
  const fault = validate(seen).find(({ severity, code }) => severity === ERROR && !notFaults.includes(Number(code)))
  if (!fault) return
  const { line, character } = fault.range.start
  const isUnknown = Number(fault.code) === ValidationCode.UNKNOWN_INSTRUCTION
  const advice = isUnknown ? ': see the Dockerfile reference for what there is' : ''
  throw dockerfileFault({ file, line: line + 1, column: character + 1 }, `${fault.message}${advice}`)
}

/** Where the escape characters stand that a line ends in, but for blanks. Linear, as no regular expression of it is. */
function escapesAtEnd(line: string, escapeChar: string): { start: number; end: number } {
  let end = line.length
  while (end > 0 && ' \t\r'.includes(line[end - 1] ?? '')) end--
  let start = end
  while (start > 0 && line[start - 1] === escapeChar) start--
  return { start, end }
}

/**
 * Instructions with their continuation lines. Comment lines and empty lines inside one are left out; an escape
 * character that another one escapes continues nothing (BuildKit's rule).
 */
function* joinedLines(text: string, escapeChar: string): Generator<{ joined: string; line: number; column: number }> {
  let open: { joined: string; line: number; column: number } | undefined
  for (const [at, raw] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(raw)) continue
    open ??= { joined: '', line: at + 1, column: raw.search(/\S/) + 1 }
    const { start, end } = escapesAtEnd(raw, escapeChar)
    const isContinued = end - start === 1
    open.joined += isContinued ? raw.slice(0, start) : raw
    if (isContinued) continue
    yield open
    open = undefined
  }
  if (open && open.joined.trim() !== '') yield open
}

function readInstruction(joined: string, place: Place): Instruction {
  const [, keyword = '', behind = ''] = /^\s*(\S+)\s*(.*)$/s.exec(joined) ?? []
  const flags: Instruction['flags'] = []
  let text = behind.trim()
  while (flags.length <= FLAGS_LIMIT) {
    const flag = /^--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)/.exec(text)
    if (!flag || !/^(ADD|COPY|FROM|RUN|HEALTHCHECK)$/i.test(keyword)) break
    flags.push({ name: flag[1] ?? '', value: flag[2] ?? 'true' })
    text = text.slice(flag[0].length)
  }
  return {
    keyword: keyword.toUpperCase(),
    flags,
    text,
    json: jsonStrings(text),
    line: place.line,
    column: place.column,
  }
}

function jsonStrings(text: string): string[] | undefined {
  if (!text.startsWith('[')) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) && value.every(item => typeof item === 'string') ? value : undefined
  } catch {
    return undefined // Not JSON: the shell form, as Docker reads it.
  }
}

function refuseUnsupported({ keyword, text }: Instruction, escapeChar: string, place: Place): void {
  if (['HEALTHCHECK', 'ONBUILD'].includes(keyword)) {
    throw dockerfileFault(place, `${keyword} is not supported yet: leave it out`, 'build.instruction-unsupported')
  }
  const isHereDocument = (word: string) => /^\d*<<-?["']?\w/.test(word)
  if (['RUN', 'COPY', 'ADD'].includes(keyword) && splitWords(text, escapeChar).some(isHereDocument)) {
    throw dockerfileFault(place, 'Here-documents are not supported yet: use a file', 'build.instruction-unsupported')
  }
}

function addInstruction(dockerfile: Dockerfile, instruction: Instruction, place: Place): void {
  refuseUnsupported(instruction, dockerfile.escapeChar, place)
  if (instruction.keyword === 'FROM') return void dockerfile.stages.push(stageOf(instruction))
  const stage = dockerfile.stages.at(-1)
  if (stage) stage.instructions.push(instruction)
  else dockerfile.globals.push(instruction)
}

function stageOf(from: Instruction): StageSource {
  const [base = '', , name] = splitWords(from.text)
  return { name: name?.toLowerCase(), from, base, instructions: [] }
}
