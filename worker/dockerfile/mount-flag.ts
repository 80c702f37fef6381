import { posix } from 'node:path'
import { suggestion } from '#shared/nearest.ts'
import { choiceOf } from './flags.ts'
import type { Owned, RunMount } from './step.ts'
import { WordError } from './words.ts'

const TYPES = ['bind', 'cache', 'tmpfs', 'secret', 'ssh'] as const
type Type = (typeof TYPES)[number]

const OPTIONS: Record<Type, readonly string[]> = {
  bind: ['type', 'target', 'source', 'from', 'readonly', 'readwrite'],
  cache: ['type', 'id', 'target', 'readonly', 'readwrite', 'sharing', 'from', 'source', 'mode', 'uid', 'gid'],
  tmpfs: ['type', 'target', 'size'],
  secret: ['type', 'id', 'target', 'required', 'mode', 'uid', 'gid', 'env'],
  ssh: ['type', 'id', 'target', 'required', 'mode', 'uid', 'gid'],
}
const OTHER_NAMES: Record<string, string> = {
  dst: 'target',
  destination: 'target',
  src: 'source',
  ro: 'readonly',
  rw: 'readwrite',
}
const SWITCHES = ['readonly', 'readwrite', 'required']

type Given = ReadonlyMap<string, string>

/**
 * One `--mount` of RUN with its variables replaced (Dockerfile reference, "RUN --mount"); `folder` is the working
 * directory, `count` how many mounts of ssh there were before. Throws a WordError. Pure.
 */
export function parseMount(text: string, folder: string, count: number): RunMount {
  const given = readOptions(text)
  const type = choiceOf(given.get('type'), 'type', TYPES)
  for (const name of given.keys()) {
    if (OPTIONS[type].includes(name)) continue
    const help = suggestion(name, OPTIONS[type]).replace(/\?$/, '') || `: there are ${OPTIONS[type].join(', ')}`
    throw new WordError(`A mount of type ${type} has no option ${name}${help}`, name)
  }
  return MOUNTS[type](given, folder, count, text)
}

function readOptions(text: string): Given {
  const given = new Map<string, string>()
  for (const field of fieldsOf(text)) {
    const at = field.indexOf('=')
    const written = (at < 0 ? field : field.slice(0, at)).trim().toLowerCase()
    const name = OTHER_NAMES[written] ?? written
    if (at < 0 && !SWITCHES.includes(name)) {
      throw new WordError(`${JSON.stringify(field)} in --mount has no value: write ${field}=…`, field)
    }
    given.set(name, at < 0 ? 'true' : field.slice(at + 1))
  }
  return given
}

/** As CSV has them: a field in double quotes may hold commas. */
function fieldsOf(text: string): string[] {
  const fields = [...text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)]
  return fields.map(([, quoted, plain = '']) => quoted?.replaceAll('""', '"') ?? plain).filter(Boolean)
}

const MOUNTS: Record<Type, (given: Given, folder: string, count: number, text: string) => RunMount> = {
  bind: (given, folder, _count, text) => ({
    type: 'bind',
    target: required(target(given, folder), 'bind', text),
    source: given.get('source') ?? '/',
    from: given.get('from') || undefined,
    isWritable: isWritable(given, false),
  }),
  cache: (given, folder, _count, text) => {
    const at = required(target(given, folder), 'cache', text)
    return {
      type: 'cache',
      id: given.get('id') || at,
      target: at,
      isWritable: isWritable(given, true),
      sharing: choiceOf(given.get('sharing'), 'sharing', ['shared', 'private', 'locked']),
      from: given.get('from') || undefined,
      source: given.get('source') ?? '/',
      ...owned(given, 0o755),
    }
  },
  tmpfs: (given, folder, _count, text) => ({
    type: 'tmpfs',
    target: required(target(given, folder), 'tmpfs', text),
    sizeBytes: bytesOf(given.get('size')),
  }),
  secret: (given, folder, _count, text) => {
    const at = target(given, folder)
    const id = given.get('id') || (at === undefined ? undefined : posix.basename(at))
    if (id === undefined) throw new WordError('A mount of a secret needs its id: write id=…', text)
    const env = given.get('env') || undefined
    const usual = env === undefined ? `/run/secrets/${posix.basename(id)}` : undefined
    return {
      type: 'secret',
      id,
      target: at ?? usual,
      env,
      isRequired: isSet(given, 'required'),
      ...owned(given, 0o400),
    }
  },
  ssh: (given, folder, count) => ({
    type: 'ssh',
    id: given.get('id') || 'default',
    target: target(given, folder) ?? `/run/buildkit/ssh_agent.${count}`,
    isRequired: isSet(given, 'required'),
    ...owned(given, 0o600),
  }),
}

function target(given: Given, folder: string): string | undefined {
  const text = given.get('target')
  return text ? posix.resolve('/', folder, text) : undefined
}

function required(at: string | undefined, type: string, text: string): string {
  if (at !== undefined && at !== '/') return at
  const why = at === '/' ? 'cannot be over the root folder: write another target' : 'needs a target: write target=/…'
  throw new WordError(`A mount of type ${type} ${why}`, text)
}

function isSet(given: Given, name: string): boolean {
  return choiceOf(given.get(name) ?? 'false', name, ['true', 'false', '1', '0']).match(/^(true|1)$/) !== null
}

function isWritable(given: Given, usual: boolean): boolean {
  if (given.has('readwrite')) return isSet(given, 'readwrite')
  return given.has('readonly') ? !isSet(given, 'readonly') : usual
}

function owned(given: Given, mode: number): Owned {
  return {
    mode: numberOf(given, 'mode', 8, mode),
    uid: numberOf(given, 'uid', 10, 0),
    gid: numberOf(given, 'gid', 10, 0),
  }
}

function numberOf(given: Given, name: string, base: 8 | 10, usual: number): number {
  const text = given.get(name)
  if (text === undefined) return usual
  if ((base === 8 ? /^[0-7]{1,5}$/ : /^\d{1,10}$/).test(text)) return Number.parseInt(text, base)
  throw new WordError(`${name} takes ${base === 8 ? 'an octal mode such as 0600' : 'a number'}, not ${text}`, text)
}

const SIZES: Record<string, number> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 }

function bytesOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const [, count, unit = ''] = /^(\d{1,12}(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text) ?? []
  const bytes = Math.floor(Number(count) * (SIZES[unit.toLowerCase()] ?? 1))
  if (bytes >= 1) return bytes
  throw new WordError(`size takes bytes such as 64m, not ${JSON.stringify(text)}`, text)
}
