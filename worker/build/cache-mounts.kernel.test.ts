import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openCacheMounts } from './cache-mounts.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-cache-mounts-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const never = new AbortController().signal
const nothing = async () => {}
const mount = (sharing: 'shared' | 'private' | 'locked', id = 'x') => ({ id, sharing, mode: 0o750, uid: 5, gid: 6 })

test('a shared one is one folder for all, as it was asked for, and filled once', async () => {
  const mounts = await openCacheMounts(folder)
  const fill = async (path: string) => writeFileSync(join(path, 'f'), 'x')
  await using one = await mounts.take(mount('shared'), { fill }, never)
  rmSync(join(one.path, 'f'))
  await using other = await mounts.take(mount('shared'), { fill }, never)
  expect(other.path).toBe(one.path)
  expect(readdirSync(one.path)).toEqual([])
  const { mode, uid, gid } = statSync(one.path)
  expect([mode & 0o7777, uid, gid]).toEqual([0o750, 5, 6])
})

test('private ones are apart while both are used, and found again afterwards', async () => {
  const mounts = await openCacheMounts(folder)
  const one = await mounts.take(mount('private'), { fill: nothing }, never)
  const other = await mounts.take(mount('private'), { fill: nothing }, never)
  expect(other.path).not.toBe(one.path)
  await one[Symbol.asyncDispose]()
  await using again = await mounts.take(mount('private'), { fill: nothing }, never)
  expect(again.path).toBe(one.path)
  await other[Symbol.asyncDispose]()
})

test('a locked one is one after the other; who gives up lets the next one in', async () => {
  const mounts = await openCacheMounts(folder)
  const one = await mounts.take(mount('locked'), { fill: nothing }, never)
  const giving = new AbortController()
  const second = mounts.take(mount('locked'), { fill: nothing }, giving.signal)
  const third = mounts.take(mount('locked'), { fill: nothing }, never)
  let isIn = false
  void third.then(() => (isIn = true))
  giving.abort(new Error('canceled'))
  await expect(second).rejects.toThrow('canceled')
  expect(isIn).toBe(false)
  await one[Symbol.asyncDispose]()
  await (await third)[Symbol.asyncDispose]()
})

test('what nobody uses can be removed, and is listed with its bytes', async () => {
  const mounts = await openCacheMounts(folder)
  const one = await mounts.take(mount('shared'), { fill: nothing }, never)
  const [listed] = await mounts.list()
  expect(listed?.bytes).toBeGreaterThan(0)
  expect(await mounts.remove(listed?.key ?? '')).toBe(true)
  expect(readdirSync(folder)).toHaveLength(1)
  await one[Symbol.asyncDispose]()
  await mounts.remove(listed?.key ?? '')
  expect(readdirSync(folder)).toEqual([])
  expect(await mounts.remove('0'.repeat(64))).toBe(false)
})

test('a folder is read while no step uses it; one that comes does not wait, and what was read then is nothing', async () => {
  const mounts = await openCacheMounts(folder)
  const one = await mounts.take(mount('locked'), { fill: nothing }, never)
  const unread = async () => expect.unreachable()
  expect(await mounts.readUnused(one.name, unread)).toBe('inUse')
  await one[Symbol.asyncDispose]()
  expect(await mounts.readUnused(one.name, async path => readdirSync(path))).toEqual([])
  const begun = Promise.withResolvers<void>()
  const goOn = Promise.withResolvers<void>()
  let isTold = false
  const reading = mounts.readUnused(one.name, async (_path, over) => {
    begun.resolve()
    await goOn.promise
    isTold = over.aborted
    return 'half'
  })
  await begun.promise
  expect(await mounts.remove(one.name)).toBe(true)
  expect(readdirSync(folder)).toEqual([one.name])
  await using _ = await mounts.take(mount('locked'), { fill: nothing }, never)
  goOn.resolve()
  expect(await reading).toBe('inUse')
  expect(isTold).toBe(true)
})

test('a reader that fails says why, unless a step came', async () => {
  const mounts = await openCacheMounts(folder)
  await expect(mounts.readUnused('nothing', async path => readdirSync(path))).rejects.toThrow('ENOENT')
})

const restoring = (calls: string[], isThere = true) => ({
  fill: async (path: string) => writeFileSync(join(path, 'filled'), ''),
  restore: async (name: string, path: string) => {
    calls.push(name)
    writeFileSync(join(path, 'restored'), '')
    return isThere
  },
})

test('a folder that is not there or empty begins with what is restored, another stays', async () => {
  const mounts = await openCacheMounts(folder)
  const calls: string[] = []
  const first = await mounts.take(mount('shared'), restoring(calls), never)
  expect(readdirSync(first.path)).toEqual(['restored'])
  await first[Symbol.asyncDispose]()
  const second = await mounts.take(mount('shared'), restoring(calls), never)
  expect(calls).toEqual([first.name])
  rmSync(join(second.path, 'restored'))
  // A step sees the empty folder: no other takes its place.
  const beside = await mounts.take(mount('shared'), restoring(calls), never)
  expect(readdirSync(beside.path)).toEqual([])
  await beside[Symbol.asyncDispose]()
  await second[Symbol.asyncDispose]()
  await using third = await mounts.take(mount('shared'), restoring(calls), never)
  expect(readdirSync(third.path)).toEqual(['restored'])
  expect(calls).toEqual([first.name, first.name])
})

test('where nothing can be restored it is filled as if nobody had asked, without what came by then', async () => {
  const mounts = await openCacheMounts(folder)
  await using one = await mounts.take(mount('shared'), restoring([], false), never)
  expect(readdirSync(one.path)).toEqual(['filled'])
  const { mode, uid, gid } = statSync(one.path)
  expect([mode & 0o7777, uid, gid]).toEqual([0o750, 5, 6])
})

test('two that come at once restore once; one that gives up leaves it to the other', async () => {
  const mounts = await openCacheMounts(folder)
  const calls: string[] = []
  const both = [1, 2].map(() => mounts.take(mount('shared'), restoring(calls), never))
  for (const taken of await Promise.all(both)) await taken[Symbol.asyncDispose]()
  expect(calls).toHaveLength(1)
  const failing = mounts.take(
    mount('shared', 'y'),
    { fill: nothing, restore: () => Promise.reject(new Error('canceled')) },
    never,
  )
  const other = mounts.take(mount('shared', 'y'), restoring(calls), never)
  await expect(failing).rejects.toThrow('canceled')
  await using taken = await other
  expect(readdirSync(taken.path)).toEqual(['restored'])
  expect(readdirSync(folder).filter(name => name.endsWith('.part'))).toEqual([])
})

test('what a crash left half made is removed', async () => {
  const half = `${'0'.repeat(64)}-0.12345.part`
  mkdirSync(join(folder, half))
  writeFileSync(join(folder, half, 'f'), 'half')
  await openCacheMounts(folder)
  expect(readdirSync(folder)).toEqual([])
})
