import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createSubvolume, removeWithSubvolumes, snapshotSubvolume } from '#worker/host/btrfs.ts'
import { bindMount, unmount } from '#worker/host/mount.ts'

/**
 * What the storage driver needs of OpenZFS's `zfs` and `mount -t zfs`, acted out on subvolumes of a btrfs, with the
 * refusals and sentences of zfs-list.8, zfs-create.8, zfs-snapshot.8, zfs-clone.8, zfs-promote.8, zfs-destroy.8 and
 * mount.zfs.8: names that are taken, parents that are missing, children, dependent clones, datasets in use, space that ran
 * out. It shows that the driver asks in the right order and takes a refusal well; it is no ZFS, and shows nothing of one's
 * own accounting, locking and mounting.
 */
interface Dataset {
  /** The snapshot that it is a clone of. */
  origin?: string
  properties: Record<string, string>
  /** When it was made, in calls; as `createtxg` of real ones. */
  made: number
}

type State = { made: number; datasets: Record<string, Dataset> }

const [store = '', program = '', ...args] = process.argv.slice(2)
const HOME = 'tank/data'
const statePath = join(store, 'state.json')
const state: State = existsSync(statePath)
  ? JSON.parse(readFileSync(statePath, 'utf8'))
  : { made: 0, datasets: { [HOME]: { properties: {}, made: 0 } } }

class Refusal extends Error {}

function refuse(sentence: string): never {
  throw new Refusal(sentence)
}

const place = (name: string) => join(store, encodeURIComponent(name))
const isSnapshot = (name: string) => name.includes('@')
const sorted = (names: string[]) => names.sort((a, b) => get(a).made - get(b).made)
const snapshotsOf = (name: string) => sorted(Object.keys(state.datasets).filter(one => one.startsWith(`${name}@`)))
const below = (name: string) => Object.keys(state.datasets).filter(one => one.startsWith(`${name}/`))
const clonesOf = (snapshot: string) =>
  sorted(Object.keys(state.datasets).filter(name => state.datasets[name]?.origin === snapshot))

function get(name: string): Dataset {
  return state.datasets[name] ?? refuse(`cannot open '${name}': dataset does not exist`)
}

/** The options of a call (`-o` may come several times), and what follows them. */
function parse(words: readonly string[], flags: string, valued: string) {
  const options: [string, string][] = []
  const left = [...words]
  while (left[0]?.startsWith('-')) {
    for (const letter of (left.shift() ?? '').slice(1)) {
      if (valued.includes(letter))
        options.push([letter, left.shift() ?? refuse(`missing argument for '${letter}' option`)])
      else if (flags.includes(letter)) options.push([letter, ''])
      else refuse(`invalid option '${letter}'`)
    }
  }
  const values = (letter: string) => options.filter(([one]) => one === letter).map(([, value]) => value)
  return { has: (letter: string) => values(letter).length > 0, values, rest: left }
}

const properties = (pairs: string[]) => Object.fromEntries(pairs.map(pair => pair.split('=', 2)))

function add(name: string, dataset: Omit<Dataset, 'made'>): void {
  state.datasets[name] = { ...dataset, made: ++state.made }
}

function checkNew(name: string): void {
  if (state.datasets[name]) refuse(`cannot create '${name}': dataset already exists`)
  if (!state.datasets[dirname(name)]) refuse(`cannot create '${name}': parent does not exist`)
  if (existsSync(join(store, 'full'))) refuse(`cannot create '${name}': out of space`)
}

const VERBS: Record<string, (words: readonly string[]) => void | Promise<void>> = {
  list(words) {
    const { values, has, rest } = parse(words, 'Hr', 'otds')
    const target = rest[0] ?? ''
    const types = (values('t')[0] ?? 'filesystem').split(',')
    if (target.startsWith('/')) {
      const isOurs = existsSync(target) && statSync(target).dev === statSync(dirname(store)).dev
      console.log(isOurs ? HOME : refuse(`cannot open '${target}': not a ZFS filesystem`))
      return
    }
    get(target)
    const children = below(target).filter(name => !name.slice(target.length + 1).match(/[/@]/))
    const found = [
      ...(types.includes('filesystem') ? [target, ...(has('r') ? children : [])] : []),
      ...(types.includes('snapshot') ? [target, ...children].flatMap(snapshotsOf) : []),
    ]
    const columns = (values('o')[0] ?? 'name').split(',')
    const value = (name: string, column: string) =>
      column === 'name' ? name : isSnapshot(name) ? clonesOf(name).join(',') : '-'
    for (const name of found) console.log(columns.map(column => value(name, column)).join('\t'))
  },
  create(words) {
    const { values, rest } = parse(words, '', 'o')
    const name = rest[0] ?? ''
    checkNew(name)
    createSubvolume(place(name))
    add(name, { properties: properties(values('o')) })
  },
  snapshot(words) {
    const name = words[0] ?? ''
    const source = name.split('@')[0] ?? ''
    get(source)
    if (state.datasets[name]) refuse(`cannot create snapshot '${name}': dataset already exists`)
    snapshotSubvolume(place(source), place(name))
    add(name, { properties: {} })
  },
  clone(words) {
    const { values, rest } = parse(words, '', 'o')
    const [origin = '', name = ''] = rest
    get(origin)
    checkNew(name)
    snapshotSubvolume(place(origin), place(name))
    add(name, { origin, properties: properties(values('o')) })
  },
  promote([name = '']) {
    const clone = get(name)
    const origin = clone.origin ?? refuse(`cannot promote '${name}': not a cloned filesystem`)
    const parent = origin.split('@')[0] ?? ''
    const moving = snapshotsOf(parent).filter(snapshot => get(snapshot).made <= get(origin).made)
    const moved = (snapshot: string) => `${name}@${snapshot.split('@')[1]}`
    for (const snapshot of moving)
      if (state.datasets[moved(snapshot)]) refuse(`cannot promote '${name}': snapshot name '${snapshot}' conflicts`)
    const before = get(parent).origin
    for (const snapshot of moving) {
      for (const other of clonesOf(snapshot)) get(other).origin = moved(snapshot)
      state.datasets[moved(snapshot)] = get(snapshot)
      delete state.datasets[snapshot]
      execFileSync('mv', ['-T', place(snapshot), place(moved(snapshot))])
    }
    get(parent).origin = moved(origin)
    if (before === undefined) delete clone.origin
    else clone.origin = before
  },
  async destroy(words) {
    const { has, rest } = parse(words, 'r', '')
    const name = rest[0] ?? ''
    if (!state.datasets[name]) refuse(`cannot open '${name}': dataset does not exist`)
    const inside = [...below(name), ...snapshotsOf(name)]
    if (inside.length > 0 && !has('r')) {
      refuse(
        `cannot destroy '${name}': filesystem has children\nuse '-r' to destroy the following datasets:\n${inside.join('\n')}`,
      )
    }
    const all = [...inside, name]
    const outside = all
      .filter(isSnapshot)
      .flatMap(clonesOf)
      .filter(clone => !all.includes(clone))
    if (outside.length > 0) {
      refuse(
        `cannot destroy '${name}': filesystem has dependent clones\nuse '-R' to destroy the following datasets:\n${outside.join('\n')}`,
      )
    }
    for (const one of all) await remove(one)
  },
  get(words) {
    const { rest } = parse(words, 'Hp', 'o')
    const [property, name = ''] = rest
    get(name)
    if (property !== 'usedbydataset') refuse(`bad property list: invalid property '${property}'`)
    const table = execFileSync('btrfs', ['filesystem', 'du', '-s', '--raw', place(name)], { encoding: 'utf8' })
    console.log(table.trim().split('\n').at(-1)?.trim().split(/\s+/)[1])
  },
}

/** As the kernel: mounts go, and what is open keeps the dataset. */
async function remove(name: string): Promise<void> {
  const { dev } = statSync(place(name))
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n').reverse()) {
    const [, , , root, target] = line.split(' ')
    if (root?.endsWith(`/${encodeURIComponent(name)}`) && target) await unmount(target)
  }
  if (isOpen(dev)) refuse(`cannot destroy '${name}': dataset is busy`)
  await removeWithSubvolumes(place(name))
  delete state.datasets[name]
}

function isOpen(dev: number): boolean {
  const isOn = (path: string) => statSync(path, { throwIfNoEntry: false })?.dev === dev
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .some(pid => {
      try {
        return readdirSync(`/proc/${pid}/fd`).some(fd => isOn(`/proc/${pid}/fd/${fd}`))
      } catch {
        return false // It has ended.
      }
    })
}

function mount(words: readonly string[]): void {
  const { values, rest } = parse(words, '', 'to')
  const [name = '', target = ''] = rest
  if (values('t')[0] !== 'zfs') refuse(`mount: only zfs is acted out`)
  if (get(name).properties.mountpoint !== 'legacy') {
    refuse(
      `filesystem '${name}' cannot be mounted using 'mount'.\nUse 'zfs set mountpoint=legacy' or 'zfs mount ${name}'.`,
    )
  }
  bindMount({ source: place(name), target, isReadOnly: false })
}

appendFileSync(join(store, 'calls'), `${[program, ...args].join(' ')}\n`)
try {
  if (program === 'mount') mount(args)
  else await (VERBS[args[0] ?? ''] ?? (() => refuse(`unrecognized command '${args[0]}'`)))(args.slice(1))
  writeFileSync(statePath, JSON.stringify(state))
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  console.error(error.message)
  process.exitCode = 1
}
