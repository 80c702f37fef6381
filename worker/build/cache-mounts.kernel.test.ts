import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
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
