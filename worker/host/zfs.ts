import { SlipwayError } from '#shared/errors.ts'
import { kernelError } from './kernel-error.ts'
import { type RunResult, runAny } from './run.ts'

/** The two programs of OpenZFS that are used, as PATH or an absolute name finds them. */
export interface ZfsPrograms {
  zfs: string
  mount: string
}

export const ZFS_PROGRAMS: ZfsPrograms = { zfs: 'zfs', mount: 'mount' }

const TIMEOUT_MS = 60_000
/** Freeing many blocks may take long on pools without `async_destroy`. */
const DESTROY_TIMEOUT_MS = 10 * 60_000

/** One is enough, unless somebody else clones what is ours. */
const MAX_PROMOTIONS = 16

/** The program has exit code 1 for all failures and no other way to tell (libzfs_util.c; untranslated by LC_ALL). */
const SAYS = {
  full: /out of space|quota exceeded|No space left on device/,
  missing: /does not exist/,
  busy: /is busy/,
  cloned: /has dependent clones/,
} as const

/**
 * Datasets by the `zfs` program (zfs-create.8, zfs-clone.8, zfs-promote.8, zfs-destroy.8 of OpenZFS 2): its library's
 * interface is not stable, and its kernel interface is private. Errors of all calls: `host.disk-full`,
 * `host.command-failed` with what the program said.
 */
export class Zfs {
  readonly #programs: ZfsPrograms

  constructor(programs: ZfsPrograms = ZFS_PROGRAMS) {
    this.#programs = programs
  }

  /** The dataset that a folder lies on, however it is mounted; fails where that is no ZFS. */
  async datasetAt(folder: string): Promise<string> {
    return (await this.#zfs('list', '-H', '-o', 'name', folder)).trim()
  }

  /** Makes an empty dataset below one that is there. */
  async create(name: string, properties: Record<string, string>): Promise<void> {
    await this.#zfs('create', ...options(properties), name)
  }

  /** A writable dataset that begins as `from` is now; `from` is given the snapshot `label` unless it has it. */
  async clone(from: string, label: string, to: string, properties: Record<string, string>): Promise<void> {
    const snapshot = `${from}@${label}`
    if (!(await this.#contents(from)).some(({ name }) => name === snapshot)) await this.#zfs('snapshot', snapshot)
    await this.#zfs('clone', ...options(properties), snapshot, to)
  }

  /** Mounts a dataset whose `mountpoint` is `legacy`, without device files. */
  async mount(name: string, target: string): Promise<void> {
    const args = ['-t', 'zfs', '-o', 'nodev', name, target]
    checked(`mount ${name}`, await this.#run(this.#programs.mount, args, TIMEOUT_MS))
  }

  /** The datasets directly below one. */
  async children(name: string): Promise<string[]> {
    const printed = await this.#zfs('list', '-H', '-o', 'name', '-t', 'filesystem', '-r', '-d', '1', name)
    return printed.split('\n').filter(line => line.startsWith(`${name}/`))
  }

  async has(name: string): Promise<boolean> {
    return (await this.#contents(name)).length > 0
  }

  /** Bytes that would be free again without this dataset, as far as the last transaction group has them. */
  async usedBy(name: string): Promise<number> {
    return Number(await this.#zfs('get', '-Hp', '-o', 'value', 'usedbydataset', name))
  }

  /**
   * Destroys a dataset that is not mounted, with all below it. Clones elsewhere live on: the snapshots that they come from
   * go over to one of them. One that is not there is no error. False: somebody still has a file of it open, so it stays.
   */
  async destroy(name: string): Promise<boolean> {
    for (let tries = 0; tries < MAX_PROMOTIONS; tries++) {
      const result = await this.#run(this.#programs.zfs, ['destroy', '-r', name], DESTROY_TIMEOUT_MS)
      if (result.exitCode === 0 || SAYS.missing.test(result.stderr)) return true
      if (SAYS.busy.test(result.stderr)) return false
      const heir = SAYS.cloned.test(result.stderr) ? await this.#heir(name) : undefined
      if (heir === undefined) checked(`destroy ${name}`, result)
      else await this.#zfs('promote', heir)
    }
    throw new SlipwayError('host.command-failed', `ZFS could not destroy ${name}: ever new clones of it appear.`)
  }

  /** A clone of the latest snapshot that has any: promoting it takes the earlier snapshots along. */
  async #heir(name: string): Promise<string | undefined> {
    const clones = (await this.#contents(name)).map(({ clones }) => clones.split(',')[0] ?? '')
    return clones.findLast(clone => clone !== '' && clone !== '-')
  }

  /** A dataset and its snapshots, the oldest first; nothing where there is none. */
  async #contents(name: string): Promise<{ name: string; clones: string }[]> {
    const args = [
      'list',
      '-H',
      '-o',
      'name,clones',
      '-t',
      'filesystem,snapshot',
      '-r',
      '-d',
      '1',
      '-s',
      'createtxg',
      name,
    ]
    const result = await this.#run(this.#programs.zfs, args, TIMEOUT_MS)
    if (result.exitCode !== 0 && SAYS.missing.test(result.stderr)) return []
    const lines = checked(`list ${name}`, result).split('\n')
    const entries = lines.map(line => ({ name: line.split('\t')[0] ?? '', clones: line.split('\t')[1] ?? '' }))
    return entries.filter(entry => entry.name === name || entry.name.startsWith(`${name}@`))
  }

  async #zfs(verb: string, ...args: string[]): Promise<string> {
    const doing = `${verb} ${args.at(-1) ?? ''}`
    return checked(doing, await this.#run(this.#programs.zfs, [verb, ...args], TIMEOUT_MS))
  }

  #run(program: string, args: readonly string[], timeoutMs: number): Promise<RunResult> {
    return runAny('env', ['LC_ALL=C', program, ...args], { timeoutMs })
  }
}

function options(properties: Record<string, string>): string[] {
  return Object.entries(properties).flatMap(([key, value]) => ['-o', `${key}=${value}`])
}

function checked(doing: string, { exitCode, stdout, stderr }: RunResult): string {
  if (exitCode === 0) return stdout
  if (SAYS.full.test(stderr)) throw kernelError('ENOSPC', doing)
  const why = stderr.trim().slice(0, 500) || 'it said nothing'
  throw new SlipwayError('host.command-failed', `ZFS could not ${doing}: ${why}`, { facts: { exitCode } })
}
