import { suggestion } from '#shared/nearest.ts'
import { dockerfileFault } from './fault.ts'
import { type Instruction, placeOf } from './instruction.ts'
import { WordError } from './words.ts'

/** What a flag takes: a text, a text as often as it is written, or nothing, `true` or `false`. */
type Kind = 'text' | 'list' | 'switch'

const OF_FILES = { chown: 'text', chmod: 'text', link: 'switch', exclude: 'list' } as const
const FLAGS: Record<string, Record<string, Kind>> = {
  ADD: { ...OF_FILES, checksum: 'text', 'keep-git-dir': 'switch', unpack: 'switch' },
  COPY: { ...OF_FILES, from: 'text', parents: 'switch' },
  FROM: { platform: 'text' },
  RUN: { mount: 'list', network: 'text', security: 'text' },
  HEALTHCHECK: {
    ...{ interval: 'text', timeout: 'text', 'start-period': 'text', 'start-interval': 'text', retries: 'text' },
  },
}

/** Throws `build.dockerfile-invalid` for a flag that the instruction has not, or not so. Pure. */
export function refuseWrongFlags(instruction: Instruction, file: string): void {
  const known = FLAGS[instruction.keyword] ?? {}
  const seen = new Set<string>()
  for (const { name, value } of instruction.flags) {
    const fault = (why: string) => dockerfileFault({ ...placeOf(instruction, `--${name}`), file }, why)
    const kind = Object.hasOwn(known, name) ? known[name] : undefined
    if (kind === undefined) throw fault(unknownFlag(instruction.keyword, name, Object.keys(known)))
    if (seen.has(name) && kind !== 'list') throw fault(`--${name} is there twice: leave one out`)
    if (kind === 'switch' && !['true', 'false', undefined].includes(value)) {
      throw fault(`--${name} takes true or false, not ${JSON.stringify(value)}`)
    }
    if (kind !== 'switch' && !value) throw fault(`--${name} needs a value: write --${name}=…`)
    seen.add(name)
  }
}

function unknownFlag(keyword: string, name: string, known: string[]): string {
  if (known.length === 0) return `${keyword} has no flags, and --${name} is one`
  const others = known.map(other => `--${other}`)
  const help = suggestion(`--${name}`, others).replace(/\?$/, '') || `: there are ${others.join(', ')}`
  return `${keyword} has no flag --${name}${help}`
}

/** The value of a flag that takes one; undefined where it is not there. */
export function flagOf({ flags }: Instruction, name: string): string | undefined {
  return flags.find(flag => flag.name === name)?.value
}

export function flagsOf({ flags }: Instruction, name: string): string[] {
  return flags.flatMap(flag => (flag.name === name && flag.value !== undefined ? [flag.value] : []))
}

/** Whether a switch is on; `usual` where it is not there. */
export function isOn({ flags }: Instruction, name: string, usual = false): boolean {
  const found = flags.find(flag => flag.name === name)
  return found === undefined ? usual : found.value !== 'false'
}

/** One of `choices`; the first where the flag is not there. Throws a WordError for another. */
export function choiceOf<T extends string>(value: string | undefined, name: string, choices: readonly [T, ...T[]]): T {
  if (value === undefined) return choices[0]
  const found = choices.find(choice => choice === value)
  if (found !== undefined) return found
  throw new WordError(`${name} takes ${choices.join(', ')}, not ${JSON.stringify(value)}`, value)
}
