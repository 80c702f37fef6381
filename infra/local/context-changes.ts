import { execFile } from 'node:child_process'
import { lstatSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { type ApiClient, uploadContext } from './api-client.ts'

const execute = promisify(execFile)

/** A folder as it was sent: uploads that are laid over each other, and by path what differs when a file does. */
export interface SentContext {
  ids: string[]
  files: ReadonlyMap<string, string>
}

/** As many as the API takes (docs/builds.md). */
const UPLOADS = 16
const WHITEOUT = '.wh.'

/**
 * Uploads what changed in a folder since it was sent before, by its files' times, sizes and inodes, as git's index knows them;
 * nothing if nothing did. All of it, uncompressed, where that is less work. The answer's `ids` are a build's `context`.
 */
export async function uploadChanges(api: ApiClient, folder: string, before?: SentContext): Promise<SentContext> {
  const files = statesOf(folder)
  const changes = before && before.ids.length < UPLOADS ? changesOf(before.files, files) : undefined
  if (before && changes && changes.changed.length + changes.gone.length === 0) return { ids: before.ids, files }
  const temporary = await mkdtemp(join(tmpdir(), 'slipway-context-'))
  try {
    const tar = join(temporary, 'context.tar')
    if (!before || !changes || changes.changed.length > files.size / 2) {
      await execute('tar', ['-cf', tar, '-C', folder, '.'])
      return { ids: [await uploadContext(api, tar)], files }
    }
    await packChanges(folder, tar, temporary, changes)
    return { ids: [...before.ids, await uploadContext(api, tar)], files }
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

function statesOf(folder: string): Map<string, string> {
  const states = new Map<string, string>()
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const { mode, size, mtimeMs, ctimeMs, ino } = lstatSync(join(folder, path))
    states.set(path, [mode, size, mtimeMs, ctimeMs, ino].join(' '))
  }
  return states
}

interface Changes {
  changed: string[]
  gone: string[]
}

/** Undefined: a name that means something else in an upload over others. */
function changesOf(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): Changes | undefined {
  const changed = [...now].filter(([path, state]) => before.get(path) !== state).map(([path]) => path)
  if (changed.some(path => basename(path).startsWith(WHITEOUT))) return undefined
  const isGone = (path: string) => !now.has(path) && before.has(path)
  const gone = [...before.keys()].filter(path => isGone(path) && !isGone(dirname(path)))
  return { changed, gone }
}

async function packChanges(folder: string, tar: string, temporary: string, { changed, gone }: Changes): Promise<void> {
  const marks = join(temporary, 'gone')
  const names = gone.map(path => join(dirname(path), `${WHITEOUT}${basename(path)}`))
  await mkdir(marks)
  for (const name of names) {
    await mkdir(join(marks, dirname(name)), { recursive: true })
    await writeFile(join(marks, name), '')
  }
  const listed = async (file: string, paths: readonly string[]) => {
    await writeFile(join(temporary, file), paths.map(path => `./${path}\0`).join(''))
    return ['--null', '--no-recursion', '-T', join(temporary, file)]
  }
  await execute('tar', [
    ...['-cf', tar, '-C', folder, ...(await listed('changed', changed))],
    ...(gone.length > 0 ? ['-C', marks, ...(await listed('marks', names))] : []),
  ])
}
