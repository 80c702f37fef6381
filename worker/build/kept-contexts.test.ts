import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import type { ContextId } from '#shared/domain/ids.ts'
import { findSources } from './copy-sources.ts'
import { digestSources, type KnownDigests } from './digest-sources.ts'
import { type KeptContexts, openKeptContexts } from './kept-contexts.ts'

const root = mkdtempSync(join(tmpdir(), 'slipway-kept-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const ids = (...names: string[]) => names as ContextId[]
const fresh = () => mkdtempSync(join(root, 'build-'))
const keptFolder = join(root, 'kept')
let kept: KeptContexts
let laid: string[]
beforeEach(async () => {
  kept = await openKeptContexts(keptFolder)
  laid = []
})

/** An upload with a file of its own name and one that each replaces, both with the same size and time. */
const lay = async (id: ContextId, folder: string) => {
  laid.push(id)
  for (const name of [id, 'shared']) {
    rmSync(join(folder, name), { force: true })
    writeFileSync(join(folder, name), id)
    utimesSync(join(folder, name), 1, 1)
  }
}

const never = new AbortController().signal

async function brought(...names: string[]): Promise<{ folder: string; digests: KnownDigests }> {
  const folder = fresh()
  return { folder, digests: await kept.bring(ids(...names), folder, lay, never) }
}

const digestOf = (folder: string, known?: KnownDigests) =>
  digestSources(findSources({ path: folder, name: 'here' }, ['.']), new AbortController().signal, { known })

test('the same uploads are laid once, and more of them over what is kept', async () => {
  const first = await brought('a')
  const again = await brought('a')
  const more = await brought('a', 'b')
  expect(laid).toEqual(['a', 'b'])
  expect(readdirSync(again.folder)).toEqual(readdirSync(first.folder))
  expect(readdirSync(more.folder).sort()).toEqual(['a', 'b', 'shared'])
  expect([again, more].map(({ folder }) => readFileSync(join(folder, 'shared'), 'utf8'))).toEqual(['a', 'b'])
})

test('what a build takes away is there for the next one', async () => {
  const { folder } = await brought('a')
  rmSync(join(folder, 'a'))
  expect(readdirSync((await brought('a')).folder).sort()).toEqual(['a', 'shared'])
})

test('what is known of files never hides that one is another, however often an inode is used again', async () => {
  const names = ['a']
  for (let round = 0; round < 5; round++) {
    const { folder, digests } = await brought(...names)
    expect(await digestOf(folder, digests)).toBe(await digestOf(folder))
    rmSync(folder, { recursive: true })
    names.push(`b${round}`)
  }
  expect(laid).toEqual(names.slice(0, 5))
})

test('digests that are known are taken', async () => {
  const { folder, digests } = await brought('a')
  const digest = await digestOf(folder, digests)
  expect(digests.size).toBeGreaterThan(0)
  for (const known of digests.values()) known.digest = Buffer.alloc(32)
  expect(await digestOf(folder, digests)).not.toBe(digest)
})

test.each(['birthtimeMs', 'mtimeMs', 'size'] as const)('digests of a file with another %s are not', async what => {
  const { folder, digests } = await brought('a')
  const digest = await digestOf(folder, digests)
  for (const known of digests.values()) Object.assign(known, { digest: Buffer.alloc(32), [what]: known[what] - 1 })
  expect(await digestOf(folder, digests)).toBe(digest)
})

test('an upload that cannot be laid is an error, and nothing of it is kept', async () => {
  await brought('a')
  const layHalf = async (id: string, folder: string) => {
    writeFileSync(join(folder, 'half'), id)
    throw new Error('broken')
  }
  const failing = kept.bring(ids('a', 'b'), fresh(), layHalf, never)
  await expect(failing).rejects.toThrow('broken')
  expect(readdirSync((await brought('a')).folder).sort()).toEqual(['a', 'shared'])
  expect(laid).toEqual(['a', 'a'])
})

test('two builds at once have their own', async () => {
  await brought('a')
  const both = await Promise.all([brought('a', 'b'), brought('a', 'c')])
  expect(both.map(({ folder }) => readdirSync(folder).sort())).toEqual([
    ['a', 'b', 'shared'],
    ['a', 'c', 'shared'],
  ])
})

test('four are kept, those that were used last; the keeper of the disk removes others', async () => {
  for (const id of ['a', 'b', 'c', 'd', 'e']) await brought(id)
  const listed = await kept.list()
  expect(listed).toHaveLength(4)
  expect(readdirSync(keptFolder).sort()).toEqual(listed.map(({ key }) => key).sort())
  for (const { key } of listed) expect(await kept.remove(key)).toBe(true)
  expect(readdirSync(keptFolder)).toEqual([])
  expect(await kept.remove('0'.repeat(64))).toBe(false)
})

test('where files cannot be linked they are laid, and none is kept', async () => {
  const memory = mkdtempSync('/dev/shm/slipway-kept-')
  try {
    if (statSync(memory).dev === statSync(root).dev) return console.log('skipped: there is one file system alone')
    kept = await openKeptContexts(join(memory, 'kept'))
    for (let round = 0; round < 2; round++) expect(readdirSync((await brought('a')).folder)).toHaveLength(2)
    expect(laid).toEqual(['a', 'a'])
    expect(await kept.list()).toEqual([])
  } finally {
    rmSync(memory, { recursive: true })
  }
})
