import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FileChange } from '#shared/domain/container.ts'
import { allInFolder } from '#test/support/own-folder.ts'
import { mountOverlay, unmount } from '../host/mount.ts'
import { changesOf } from './changes.ts'

/** What `changesOf` finds in an upper folder is what differs between the mounted views before and after. */

let folder: string
allInFolder('changes', own => {
  folder = own
})

interface World {
  rootfs: string
  upper: string
  lower: string[]
}

async function inWorld(layers: number, fill: (layer: string, at: number) => void, work: (world: World) => unknown) {
  const own = mkdtempSync(join(folder, 'x-'))
  const make = (name: string) => {
    mkdirSync(join(own, name))
    return join(own, name)
  }
  const lower = Array.from({ length: layers }, (_, at) => make(`lower${at}`))
  lower.forEach(fill)
  const world = { rootfs: make('rootfs'), upper: make('upper'), lower }
  mountOverlay({ lower, upper: world.upper, work: make('work'), target: world.rootfs })
  try {
    await work(world)
  } finally {
    await unmount(world.rootfs)
    rmSync(own, { recursive: true })
  }
}

const changesIn = ({ upper, lower }: World) => [...changesOf(upper, lower)]

test('added, changed and deleted, with the folders that they are in', async () => {
  const fill = (layer: string, at: number) => {
    mkdirSync(join(layer, 'etc'))
    writeFileSync(join(layer, 'etc', `of${at}`), 'x')
    writeFileSync(join(layer, 'etc', 'both'), 'x')
    mkdirSync(join(layer, 'gone'))
    writeFileSync(join(layer, 'gone', 'inside'), 'x')
  }
  await inWorld(2, fill, world => {
    expect(changesIn(world)).toEqual([])
    writeFileSync(join(world.rootfs, 'etc/of1'), 'y')
    writeFileSync(join(world.rootfs, 'etc/new'), 'y')
    rmSync(join(world.rootfs, 'etc/both'))
    rmSync(join(world.rootfs, 'gone'), { recursive: true })
    mkdirSync(join(world.rootfs, 'made/deep'), { recursive: true })
    expect(changesIn(world)).toEqual([
      { kind: 'changed', path: '/etc' },
      { kind: 'deleted', path: '/etc/both' },
      { kind: 'added', path: '/etc/new' },
      { kind: 'changed', path: '/etc/of1' },
      { kind: 'deleted', path: '/gone' },
      { kind: 'added', path: '/made' },
      { kind: 'added', path: '/made/deep' },
    ])
  })
})

test('a file changed in a folder whose own times are as before still names the folder', async () => {
  const fill = (layer: string) => {
    mkdirSync(join(layer, 'a/b'), { recursive: true })
    writeFileSync(join(layer, 'a/b/file'), 'x')
  }
  await inWorld(1, fill, world => {
    writeFileSync(join(world.rootfs, 'a/b/file'), 'y')
    const kinds = changesIn(world).map(({ kind, path }) => `${kind} ${path}`)
    expect(kinds).toEqual(['changed /a', 'changed /a/b', 'changed /a/b/file'])
  })
})

test('a folder that was removed and made anew names what is gone', async () => {
  const fill = (layer: string) => {
    mkdirSync(join(layer, 'a'))
    for (const name of ['kept', 'gone']) writeFileSync(join(layer, 'a', name), 'x')
  }
  await inWorld(1, fill, world => {
    rmSync(join(world.rootfs, 'a'), { recursive: true })
    mkdirSync(join(world.rootfs, 'a'))
    writeFileSync(join(world.rootfs, 'a/kept'), 'y')
    const kinds = changesIn(world).map(({ kind, path }) => `${kind} ${path}`)
    expect(kinds).toEqual(['changed /a', 'deleted /a/gone', 'changed /a/kept'])
  })
})

test('a folder that became a link while it was looked at is not followed', async () => {
  const outside = mkdtempSync(join(folder, 'outside-'))
  writeFileSync(join(outside, 'secret'), 'x')
  await inWorld(
    1,
    () => {},
    world => {
      for (const name of ['a', 'b']) mkdirSync(join(world.rootfs, name))
      const changes = changesOf(world.upper, world.lower)
      const found = [changes.next().value]
      rmSync(join(world.upper, 'b'), { recursive: true })
      symlinkSync(outside, join(world.upper, 'b'))
      for (const change of changes) found.push(change)
      expect(found).not.toContainEqual(expect.objectContaining({ path: expect.stringContaining('secret') }))
    },
  )
})

const NAMES = ['a', 'b', 'c']
const path = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 }).map(names => names.join('/'))
const action = fc.record({ kind: fc.constantFrom('write', 'mkdir', 'remove', 'chmod', 'link', 'move'), path, to: path })
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never

/** What cannot be done there is left undone. */
function act(root: string, { kind, path: where, to }: Action, at: number): void {
  const target = join(root, where)
  try {
    if (kind === 'write') writeFileSync(target, `content ${at}`)
    if (kind === 'mkdir') mkdirSync(target)
    if (kind === 'remove') rmSync(target, { recursive: true })
    if (kind === 'chmod') chmodSync(target, 0o700 + (at % 8))
    if (kind === 'link') symlinkSync(`to ${at}`, target)
    if (kind === 'move') renameSync(target, join(root, to))
    if (kind === 'write') utimesSync(target, at, at)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
  }
}

function actAll(root: string, actions: Action[], begin: number): void {
  for (const [at, one] of actions.entries()) act(root, one, begin + at)
}

/** What a person sees of each path. */
function view(root: string): Map<string, { isFolder: boolean; facts: string }> {
  const seen = new Map<string, { isFolder: boolean; facts: string }>()
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const at = join(entry.parentPath, entry.name)
    const { mode } = lstatSync(at)
    const content = entry.isFile() ? readFileSync(at, 'utf8') : ''
    seen.set(at.slice(root.length), { isFolder: entry.isDirectory(), facts: `${mode} ${content}` })
  }
  return seen
}

function expectTrue(found: FileChange[], before: ReturnType<typeof view>, after: ReturnType<typeof view>): void {
  const of = (kind: FileChange['kind']) =>
    new Set(found.filter(change => change.kind === kind).map(change => change.path))
  const isShown = (where: string) => {
    const parent = where.slice(0, where.lastIndexOf('/'))
    return parent === '' || after.get(parent)?.isFolder === true
  }
  expect(new Set(found.map(change => change.path)).size).toBe(found.length)
  expect(of('added')).toEqual(new Set(after.keys()).difference(new Set(before.keys())))
  expect(of('deleted')).toEqual(new Set([...before.keys()].filter(where => !after.has(where) && isShown(where))))
  const both = [...before.keys()].filter(where => after.has(where))
  expect(of('changed').difference(new Set(both))).toEqual(new Set())
  const isDifferent = (where: string) => before.get(where)?.facts !== after.get(where)?.facts
  expect(new Set(both.filter(isDifferent)).difference(of('changed'))).toEqual(new Set())
  for (const { path: where } of found) {
    const parent = where.slice(0, where.lastIndexOf('/'))
    if (parent !== '') expect(found.map(change => change.path)).toContain(parent)
  }
}

test('whatever is done, the changes are those between the views', async () => {
  const work = fc.array(action, { maxLength: 15 })
  await fc.assert(
    fc.asyncProperty(work, work, work, async (first, second, third) => {
      const fill = (layer: string, at: number) => actAll(layer, [first, second][at] ?? [], 0)
      await inWorld(2, fill, world => {
        const before = view(world.rootfs)
        actAll(world.rootfs, third, 100)
        expectTrue(changesIn(world), before, view(world.rootfs))
      })
    }),
    { numRuns: 300 },
  )
}, 120_000)
