import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { readDurableJson, removeDurable, sweepHalfWritten, writeDurableJson } from './durable-file.ts'

const schema = z.object({ name: z.string() })
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'slipway-durable-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('what was written is read, replaced and removed, with nothing left beside it', async () => {
  const path = join(folder, 'a.json')
  expect(await readDurableJson(path, schema)).toBeUndefined()
  await writeDurableJson(path, { name: 'one' })
  await Promise.all([writeDurableJson(path, { name: 'two' }), writeDurableJson(path, { name: 'two' })])
  expect(await readDurableJson(path, schema)).toEqual({ name: 'two' })
  expect(await readdir(folder)).toEqual(['a.json'])
  await removeDurable(path)
  await removeDurable(path)
  expect(await readdir(folder)).toEqual([])
})

test('what a process that was killed while it wrote left is swept, and nothing else', async () => {
  const own = join(folder, 'own')
  await sweepHalfWritten(own)
  await mkdir(own)
  for (const name of ['c.json', 'c.json.4210304027', 'c.json.bak', '7']) await writeFile(join(own, name), '{')
  await sweepHalfWritten(own)
  expect((await readdir(own)).toSorted()).toEqual(['7', 'c.json', 'c.json.bak'])
})

test.each(['', '{', '{"name":1}'])('a file that holds %j is refused', async text => {
  const path = join(folder, 'b.json')
  await writeFile(path, text)
  await expect(readDurableJson(path, schema)).rejects.toMatchObject({ code: 'internal' })
})

test('a full disk and a missing folder are said so', async () => {
  await expect(writeDurableJson(join(folder, 'no/such.json'), {})).rejects.toMatchObject({
    code: 'host.kernel-refused',
    facts: { errno: 'ENOENT' },
  })
})
