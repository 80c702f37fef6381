import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest'
import type { ContextId } from '#shared/domain/ids.ts'
import { readMounts } from '#worker/host/mount-table.ts'
import { findSources } from './copy-sources.ts'
import { digestSources, type KnownDigests, rememberedDigest } from './digest-sources.ts'
import { type BroughtContext, type KeptContexts, openKeptContexts } from './kept-contexts.ts'

const root = mkdtempSync('/var/tmp/slipway-kept-')
afterAll(() => rmSync(root, { recursive: true, force: true }))

const ids = (...names: string[]) => names as ContextId[]
const fresh = () => mkdtempSync(join(mkdtempSync(join(root, 'build-')), 'context-'))
const keptFolder = join(root, 'kept')
let kept: KeptContexts
let laid: string[]
let open: AsyncDisposableStack
beforeEach(async () => {
  kept = await openKeptContexts(keptFolder, Date.now)
  laid = []
  open = new AsyncDisposableStack()
})
afterEach(async () => {
  await open.disposeAsync()
  expect((await readMounts()).filter(({ target }) => target.startsWith(root))).toEqual([])
})

/** An upload with a file of its own name and one that each replaces, both with the same size and time. */
const lay = async (id: ContextId, folder: string) => {
  laid.push(id)
  for (const name of [id, 'shared']) {
    rmSync(join(folder, name), { force: true })
    writeFileSync(join(folder, name), id)
    utimesSync(join(folder, name), 1, 1)
  }
  return 100
}

interface Brought {
  folder: string
  digests: KnownDigests
  end(): Promise<void>
}

/** There until `end`, or the end of the test. */
async function reading(...names: string[]): Promise<Brought> {
  const folder = fresh()
  const context: BroughtContext = await kept.bring(ids(...names), folder, lay)
  let ended: Promise<void> | undefined
  const end = () => {
    ended ??= Promise.resolve(context[Symbol.asyncDispose]())
    return ended
  }
  open.defer(end)
  return { folder, digests: context.digests, end }
}

/** What a build saw that is over. */
async function seen(...names: string[]): Promise<string[]> {
  const { folder, end } = await reading(...names)
  const files = readdirSync(folder)
    .sort()
    .map(name => `${name}=${readFileSync(join(folder, name), 'utf8')}`)
  await end()
  return files
}

const digestOf = (folder: string, known?: KnownDigests) =>
  digestSources(findSources({ path: folder, name: 'here' }, ['.']), new AbortController().signal, {
    known: known?.files,
  })

test('the same uploads are laid once, and more of them over what is kept', async () => {
  expect(await seen('a')).toEqual(['a=a', 'shared=a'])
  expect(await seen('a')).toEqual(['a=a', 'shared=a'])
  expect(await seen('a', 'b')).toEqual(['a=a', 'b=b', 'shared=b'])
  expect(laid).toEqual(['a', 'b'])
  expect(await seen('a')).toEqual(['a=a', 'shared=a'])
  expect(laid).toEqual(['a', 'b', 'a'])
})

test('what a build has outside its folder is told', async () => {
  const bytesOf = async (...names: string[]) => {
    await using context = await kept.bring(ids(...names), fresh(), lay)
    return context.bytes
  }
  expect([await bytesOf('a'), await bytesOf('a'), await bytesOf('a', 'b')]).toEqual([100, 100, 200])
})

test('what a build takes away, writes and makes is its own', async () => {
  const one = await reading('a')
  const other = await reading('a')
  rmSync(join(one.folder, 'a'))
  writeFileSync(join(one.folder, 'shared'), 'mine')
  writeFileSync(join(one.folder, 'new'), 'new')
  expect(readFileSync(join(other.folder, 'shared'), 'utf8')).toBe('a')
  await one.end()
  expect(await seen('a')).toEqual(['a=a', 'shared=a'])
  expect(laid).toEqual(['a'])
})

test('the folder itself has the mode and the time of what was laid', async () => {
  const layOpen = async (id: ContextId, folder: string) => {
    await lay(id, folder)
    chmodSync(folder, 0o751)
    utimesSync(folder, 5, 5)
    return 0
  }
  for (let round = 0; round < 2; round++) {
    const folder = fresh()
    await using _ = await kept.bring(ids('a'), folder, layOpen)
    const { mode, mtimeMs } = statSync(folder)
    expect([(mode & 0o7777).toString(8), mtimeMs]).toEqual(['751', 5000])
  }
})

test('what is known of files never hides that one is another, however often an inode is used again', async () => {
  const names = ['a']
  for (let round = 0; round < 5; round++) {
    const { folder, digests, end } = await reading(...names)
    expect(await digestOf(folder, digests)).toBe(await digestOf(folder))
    await end()
    names.push(`b${round}`)
  }
  expect(laid).toEqual(names.slice(0, 5))
})

test('digests that are known are taken', async () => {
  const { folder, digests } = await reading('a')
  const digest = await digestOf(folder, digests)
  expect(digests.files.size).toBeGreaterThan(0)
  for (const known of digests.files.values()) known.digest = Buffer.alloc(32)
  expect(await digestOf(folder, digests)).not.toBe(digest)
})

test.each(['birthtimeMs', 'mtimeMs', 'size'] as const)('digests of a file with another %s are not', async what => {
  const { folder, digests } = await reading('a')
  const digest = await digestOf(folder, digests)
  for (const known of digests.files.values())
    Object.assign(known, { digest: Buffer.alloc(32), [what]: known[what] - 1 })
  expect(await digestOf(folder, digests)).toBe(digest)
})

test('a digest of sources is remembered for as long as nothing is laid over them', async () => {
  let reads = 0
  const digest = async (...names: string[]) => {
    const { digests, folder, end } = await reading(...names)
    const found = await rememberedDigest(digests, ['.'], () => {
      reads++
      return digestOf(folder, digests)
    })
    await end()
    return found
  }
  expect(await digest('a')).toBe(await digest('a'))
  expect(reads).toBe(1)
  expect(await digest('a', 'b')).not.toBe(await digest('a'))
  expect(reads).toBe(3)
})

test('an upload that cannot be laid is an error, and nothing of it is kept', async () => {
  await seen('a')
  const layHalf = async (id: string, folder: string) => {
    writeFileSync(join(folder, 'half'), id)
    throw new Error('broken')
  }
  await expect(kept.bring(ids('a', 'b'), fresh(), layHalf)).rejects.toThrow('broken')
  expect(await seen('a')).toEqual(['a=a', 'shared=a'])
  expect(laid).toEqual(['a', 'a'])
  const { folder } = await reading('a')
  await expect(kept.bring(ids('a', 'b'), fresh(), layHalf)).rejects.toThrow('broken')
  expect(readdirSync(folder).sort()).toEqual(['a', 'shared'])
})

test('builds that run at once have their own, and what one of them reads stands still', async () => {
  const first = await reading('a')
  const both = await Promise.all([reading('a', 'b'), reading('a', 'c')])
  expect(both.map(({ folder }) => readdirSync(folder).sort())).toEqual([
    ['a', 'b', 'shared'],
    ['a', 'c', 'shared'],
  ])
  expect(readFileSync(join(first.folder, 'shared'), 'utf8')).toBe('a')
  expect(laid.sort()).toEqual(['a', 'b', 'c'])
})

test('four are kept, those that were used last; the keeper of the disk removes others', async () => {
  for (const id of ['a', 'b', 'c', 'd', 'e']) await seen(id)
  const listed = await kept.list()
  expect(listed).toHaveLength(4)
  expect(readdirSync(keptFolder).sort()).toEqual(listed.map(({ key }) => key).sort())
  for (const { key } of listed) expect(await kept.remove(key)).toBe(true)
  expect(readdirSync(keptFolder)).toEqual([])
  expect(await kept.remove('0'.repeat(64))).toBe(false)
})

test('what is removed under a build is there until that ends', async () => {
  const { folder, end } = await reading('a')
  for (const { key } of await kept.list()) await kept.remove(key)
  expect(readFileSync(join(folder, 'shared'), 'utf8')).toBe('a')
  await end()
  expect(readdirSync(keptFolder)).toEqual([])
  expect(await seen('a')).toEqual(['a=a', 'shared=a'])
  expect(laid).toEqual(['a', 'a'])
})

test('where files cannot be moved they are laid, and none is kept', async () => {
  const memory = mkdtempSync('/dev/shm/slipway-kept-')
  try {
    if (statSync(memory).dev === statSync(root).dev) return console.log('skipped: there is one file system alone')
    kept = await openKeptContexts(join(memory, 'kept'), Date.now)
    for (let round = 0; round < 2; round++) expect(await seen('a')).toEqual(['a=a', 'shared=a'])
    expect(laid).toEqual(['a', 'a'])
    expect(await kept.list()).toEqual([])
  } finally {
    rmSync(memory, { recursive: true })
  }
})
