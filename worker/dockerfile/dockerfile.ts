import { DEFAULT_ESCAPE, type Directives, readDirectives } from './directives.ts'
import { dockerfileFault, type Place } from './fault.ts'
import { refuseWrongFlags } from './flags.ts'
import { type Instruction, placeOf, readInstruction } from './instruction.ts'
import { LineReader } from './logical-lines.ts'
import { splitWords } from './words.ts'

export interface StageSource {
  /** In small letters; undefined for a stage without one. */
  name: string | undefined
  /** As it was written. */
  writtenName: string | undefined
  from: Instruction
  /** The image or other stage, unexpanded. */
  base: string
  instructions: Instruction[]
}

export interface Dockerfile extends Directives {
  /** As the errors name it. */
  file: string
  /** ARG instructions before the first FROM: they are known to FROM alone, until a stage asks for them. */
  globals: Instruction[]
  stages: StageSource[]
}

/** Far above what people write. */
const INSTRUCTIONS_LIMIT = 10_000

/**
 * Parses a Dockerfile (Docker's Dockerfile reference). Throws `build.dockerfile-invalid` with file, line and column. Pure.
 */
export function parseDockerfile(text: string, file: string): Dockerfile {
  const lines = linesOf(text)
  const directives = readDirectives(lines, file)
  const dockerfile: Dockerfile = { ...directives, file, globals: [], stages: [] }
  for (const instruction of readInstructions(lines, file, directives.escapeChar)) {
    addInstruction(dockerfile, instruction)
  }
  if (dockerfile.stages.length === 0 && dockerfile.globals.length === 0) {
    throw dockerfileFault({ file, line: 1, column: 1 }, 'The file has no instructions: begin with FROM')
  }
  return dockerfile
}

/** Instructions outside a Dockerfile, as a stage has them. Throws as `parseDockerfile`. Pure. */
export function parseInstructions(text: string, file: string): Instruction[] {
  return [...readInstructions(linesOf(text), file, DEFAULT_ESCAPE)]
}

function linesOf(text: string): string[] {
  const lines = text.replace(/^\uFEFF/, '').split('\n')
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines
}

function* readInstructions(lines: readonly string[], file: string, escapeChar: string): Generator<Instruction> {
  const reader = new LineReader(lines, file, escapeChar)
  for (let count = 1; ; count++) {
    const instruction = readInstruction(reader, file, escapeChar)
    if (!instruction) return
    if (count > INSTRUCTIONS_LIMIT) {
      throw dockerfileFault({ ...instruction, file }, `There are more than ${INSTRUCTIONS_LIMIT} instructions`)
    }
    refuseWrongForm(instruction, file)
    yield instruction
  }
}

/** What is wrong whatever the variables hold. */
function refuseWrongForm(instruction: Instruction, file: string): void {
  const { keyword, text, json } = instruction
  const fault = (why: string, part?: string) => dockerfileFault({ ...placeOf(instruction, part), file }, why)
  refuseWrongFlags(instruction, file)
  const mayBeEmpty = (keyword === 'CMD' || keyword === 'ENTRYPOINT') && json !== undefined
  if (text === '' && !mayBeEmpty) throw fault(`${keyword} has nothing behind it: ${EXAMPLES[keyword] ?? 'say what'}`)
  if (keyword === 'COPY' || keyword === 'ADD') {
    const count = (json ?? splitWords(text)).length
    if (count < 2) throw fault(`${keyword} takes one or more sources and a destination`, text)
  }
  if (keyword === 'ENV' || keyword === 'LABEL') {
    const [first = '', second] = splitWords(text)
    if (!first.includes('=') && second === undefined) throw fault(`${keyword} takes name=value`, text)
  }
  if (keyword === 'ONBUILD') refuseWrongTrigger(instruction, fault)
  if (keyword === 'SHELL' && !json?.length) {
    throw fault('SHELL takes a JSON array, such as SHELL ["/bin/sh", "-c"]', text)
  }
}

const EXAMPLES: Record<string, string> = {
  ...{ ADD: 'write ADD source destination', COPY: 'write COPY source destination', ARG: 'write ARG name=default' },
  ...{ ENV: 'write ENV name=value', LABEL: 'write LABEL name=value', FROM: 'write FROM image', RUN: 'write a command' },
  ...{ EXPOSE: 'write a port such as 80', USER: 'write a name or number', WORKDIR: 'write a folder' },
  ...{ HEALTHCHECK: 'write HEALTHCHECK CMD command, or NONE', VOLUME: 'write a folder', STOPSIGNAL: 'write a signal' },
  ...{ CMD: 'write a command', ENTRYPOINT: 'write a command', ONBUILD: 'write an instruction' },
}

function refuseWrongTrigger({ text }: Instruction, fault: (why: string, part?: string) => Error): void {
  const [keyword = ''] = text.split(/\s/)
  if (!['FROM', 'MAINTAINER', 'ONBUILD'].includes(keyword.toUpperCase())) return
  throw fault(
    `${keyword.toUpperCase()} cannot be in ONBUILD: write it in the Dockerfile that builds on this image`,
    text,
  )
}

function addInstruction(dockerfile: Dockerfile, instruction: Instruction): void {
  const place = { ...instruction, file: dockerfile.file }
  if (instruction.keyword === 'FROM') return void dockerfile.stages.push(stageOf(instruction, place))
  const stage = dockerfile.stages.at(-1)
  if (stage) return void stage.instructions.push(instruction)
  if (instruction.keyword !== 'ARG') throw dockerfileFault(place, 'The first instruction has to be FROM (or ARG)')
  dockerfile.globals.push(instruction)
}

const STAGE_NAME = /^[a-z][a-z0-9_.-]*$/i

function stageOf(from: Instruction, place: Place): StageSource {
  const [base = '', as, name, ...more] = splitWords(from.text)
  const { file } = place
  if (as !== undefined && (as.toUpperCase() !== 'AS' || name === undefined || more.length > 0)) {
    throw dockerfileFault(
      { ...placeOf(from, as), file },
      'FROM takes an image, or an image and a name: FROM image AS name',
    )
  }
  if (name !== undefined && !STAGE_NAME.test(name)) {
    const why = `${JSON.stringify(name)} is no name for a stage: take letters, digits, dots, dashes and underscores, a letter first`
    throw dockerfileFault({ ...placeOf(from, name), file }, why)
  }
  return { name: name?.toLowerCase(), writtenName: name, from, base, instructions: [] }
}
