import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Trash } from './trash.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'slipway-trash-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('what an earlier process left is removed in the background', async () => {
  const failures: unknown[] = []
  const trash = new Trash(join(folder, 'trash'), error => failures.push(error))
  await trash.open()
  for (const name of ['1-a', '2-b']) await mkdir(join(folder, 'trash', name, 'deep'), { recursive: true })
  await trash.sweep()
  await trash.settled()
  expect(await readdir(join(folder, 'trash'))).toEqual([])
  expect(failures).toEqual([])
})

test('a folder leaves its place at once, and is gone soon', async () => {
  const trash = new Trash(join(folder, 'trash'), () => {})
  await trash.open()
  const path = join(folder, 'mine')
  await mkdir(path)
  await writeFile(join(path, 'file'), '')
  await trash.removeSoon(path)
  expect(existsSync(path)).toBe(false)
  await trash.settled()
  expect(await readdir(join(folder, 'trash'))).toEqual([])
})
