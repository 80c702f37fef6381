import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { DurableMarks } from './durable-marks.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-marks-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('an entry that goes while its mark is made leaves no mark: the next of its name may not be on the disk', async () => {
  const measuring = Promise.withResolvers<void>()
  const measured = Promise.withResolvers<number>()
  const marks = new DurableMarks(folder, () => {
    measuring.resolve()
    return measured.promise
  })
  for (const name of ['goes', 'stays']) mkdirSync(join(folder, name))
  for (const name of ['goes', 'stays']) marks.markSoon(name)
  await measuring.promise
  const forgotten = marks.forget('goes')
  measured.resolve(1)
  await forgotten
  rmSync(join(folder, 'goes'), { recursive: true })
  await marks.settled()
  expect(readdirSync(folder).toSorted()).toEqual(['stays', 'stays.whole'])
})

test('one that goes while others are synced is not marked, nor is the next of its name by that sync', async () => {
  const marks = new DurableMarks(folder, async () => 1)
  for (const name of ['goes', 'stays']) mkdirSync(join(folder, name))
  for (const name of ['goes', 'stays']) marks.markSoon(name)
  await marks.forget('goes')
  await marks.settled()
  expect(readdirSync(folder).toSorted()).toEqual(['goes', 'stays', 'stays.whole'])
  marks.markSoon('goes')
  await marks.settled()
  expect(readdirSync(folder)).toContain('goes.whole')
})
